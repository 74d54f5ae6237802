"""Volumes whose values are not Hounsfield units, or whose geometry is impossible."""

import struct

import nibabel
import numpy as np
import pytest
from volume_maker import AFFINE, SHAPE, file_order, nifti, patch, phantom, refused, save

from covid_bert.errors import (
    GeometryError,
    InvalidValuesError,
    NotComputedTomographyError,
)

# ---------------------------------------------------------------- values


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_values_that_are_not_numbers(tmp_path, bad, suffix):
    array = phantom().astype(np.float32)
    array[3, 4, 5] = bad
    refused(InvalidValuesError, save(tmp_path / f"ct{suffix}", file_order(array), AFFINE))


@pytest.mark.parametrize("value", [0, -1000, -2000])
def test_constant_volumes(tmp_path, value):
    refused(InvalidValuesError, nifti(tmp_path / "ct.nii", np.full((20, 20, 20), value, np.int16)))


def test_volumes_of_padding_alone(tmp_path):
    array = np.full((20, 20, 20), -2000, np.int16)
    array[5:9] = -3000
    refused(InvalidValuesError, nifti(tmp_path / "ct.nii", array))


def not_ct(kind):
    array = phantom().astype(np.float64)
    rng = np.random.default_rng(0)
    tissue = array > -500
    return {
        "stored offset": array + 1024,
        "stored offset and padding": np.where(np.arange(SHAPE[2]) < 4, -2000, array + 1024),
        "labels": (array < -500).astype(np.uint8) * 2,
        "grey": np.clip((array + 1150) / 1500 * 255, 0, 255).round(),
        "normalised": np.clip((array + 1000) / 2000, 0, 1),
        "mr": np.where(tissue, rng.gamma(4, 150, SHAPE), rng.gamma(1, 10, SHAPE)).round(),
        "mr z-scored": (np.where(tissue, 600.0, 10.0) - 300) / 250 + rng.normal(0, 0.1, SHAPE),
        "phase": rng.uniform(-4096, 4095, SHAPE).round(),
        "pet": np.where(tissue, rng.gamma(2, 0.7, SHAPE), 0.01),
        "offset taken twice": array - 1024,
    }[kind]


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("stored offset", "1024"),
        ("stored offset and padding", "1024"),
        ("labels", "label map"),
        ("grey", "8-bit"),
        ("normalised", "normalised"),
        ("mr", "MR"),
        ("mr z-scored", "MR"),
        ("phase", "MR"),
        ("pet", "PET"),
        ("offset taken twice", "Hounsfield"),
    ],
)
def test_values_that_are_not_hounsfield_units(tmp_path, kind, hint):
    path = nifti(tmp_path / "image.nii.gz", file_order(not_ct(kind)).astype(np.float32))
    assert hint in refused(NotComputedTomographyError, path).hint


# ---------------------------------------------------------------- geometry


@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan, np.inf, 80.0, 1e-5])
def test_impossible_spacing_in_nifti(tmp_path, spacing):
    image = nibabel.Nifti1Image(file_order(phantom()), None)
    image.set_qform(AFFINE, 1)
    image.set_sform(None, 0)
    nibabel.save(image, tmp_path / "ct.nii")
    refused(GeometryError, patch(tmp_path / "ct.nii", 80, struct.pack("<f", spacing)))


@pytest.mark.parametrize("wrong", ["singular", "nan", "zero", "large", "flat angle", "skewed columns"])
def test_impossible_sform(tmp_path, wrong):
    path = nifti(tmp_path / "ct.nii", file_order(phantom()))
    affine = AFFINE.copy()
    if wrong == "singular":
        affine[:, 1] = affine[:, 0]
    elif wrong == "skewed columns":
        affine[0, 2] = 0.8
    elif wrong == "flat angle":
        affine[1, 2] = 12.0
    else:
        affine[1, 1] = {"nan": np.nan, "zero": 0.0, "large": 60.0}[wrong]
    refused(GeometryError, patch(path, 280, affine[:3].astype("<f4").tobytes()))


def test_metres_that_are_millimetres(tmp_path):
    refused(GeometryError, nifti(tmp_path / "ct.nii", file_order(phantom()), xyzt_units=1))


def test_impossible_geometry_in_nrrd_and_metaimage(tmp_path):
    nrrd = save(tmp_path / "ct.nrrd", file_order(phantom()), AFFINE).read_bytes()
    directions = nrrd[nrrd.index(b"space directions:") :].split(b"\n")[0]
    for wrong in (b"(0,0,0) (0,1,0) (0,0,1)", b"(1,0,0) (2,0,0) (0,0,1)", b"(90,0,0) (0,1,0) (0,0,1)"):
        (tmp_path / "wrong.nrrd").write_bytes(nrrd.replace(directions, b"space directions: " + wrong))
        refused(GeometryError, tmp_path / "wrong.nrrd")
    meta = save(tmp_path / "ct.mha", file_order(phantom()), AFFINE).read_bytes()
    spacing = meta[meta.index(b"ElementSpacing") :].split(b"\n")[0]
    for wrong in (b"0 1 1", b"nan 1 1", b"1 1 70"):
        (tmp_path / "wrong.mha").write_bytes(meta.replace(spacing, b"ElementSpacing = " + wrong))
        refused(GeometryError, tmp_path / "wrong.mha")
