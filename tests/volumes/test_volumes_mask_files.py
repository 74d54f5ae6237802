"""Masks come back exactly as they were written, and foreign ones are refused."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest

from covid_bert.errors import GeometryError, InvalidValuesError, NotFoundError, UnreadableFileError
from covid_bert.phantom import make, write, write_dicom
from covid_bert.volumes import read, read_map, read_mask, write_map, write_mask


@pytest.fixture(scope="module")
def phantom():
    return make(shape=(24, 40, 48), spacing=(10.0, 8.0, 7.0), seed=5)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_mask_and_map_round_trip(phantom, tmp_path, suffix: str) -> None:
    volume = read(write(phantom, tmp_path / "chest.nii.gz"))
    mask = phantom.lungs.array
    assert np.array_equal(read_mask(write_mask(mask, volume, tmp_path / f"mask{suffix}"), volume), mask)
    values = (mask * 100).astype(np.uint8)
    assert np.array_equal(read_map(write_map(values, volume, tmp_path / f"map{suffix}"), volume), values)


def test_mask_with_its_axes_in_any_order_is_the_same_mask(phantom, tmp_path) -> None:
    volume = read(write(phantom, tmp_path / "chest.nii.gz"))
    path = write_mask(phantom.lungs.array, volume, tmp_path / "mask.nii.gz")
    image = nibabel.load(path)
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            turned = image.as_reoriented(np.column_stack((order, flips)))
            nibabel.save(turned, tmp_path / "turned.nii.gz")
            assert np.array_equal(read_mask(tmp_path / "turned.nii.gz", volume), phantom.lungs.array)


def test_mask_of_a_tilted_series_comes_back(phantom, tmp_path) -> None:
    write(phantom, tmp_path / "chest.nii.gz")
    image = nibabel.load(tmp_path / "chest.nii.gz")
    affine = image.affine.copy()
    affine[:3, 2] += affine[:3, 1] * 0.4
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "tilted.nii.gz")
    volume = read(tmp_path / "tilted.nii.gz")
    assert volume.native.shear_rows_per_slice
    rng = np.random.default_rng(0)
    mask = np.zeros(volume.shape, np.uint8)
    mask[5:15, 12:30, 10:30] = rng.integers(0, 3, (10, 18, 20))
    written = write_mask(mask, volume, tmp_path / "mask.nii.gz")
    back = write_mask(read_mask(written, volume), volume, tmp_path / "again.nii.gz")
    assert np.array_equal(np.asarray(nibabel.load(back).dataobj), np.asarray(nibabel.load(written).dataobj))


def test_foreign_and_damaged_masks_are_refused(phantom, tmp_path) -> None:
    volume = read(write(phantom, tmp_path / "chest.nii.gz"))
    image = nibabel.load(write_mask(phantom.lungs.array, volume, tmp_path / "mask.nii.gz"))
    array = np.asarray(image.dataobj)
    moved = image.affine.copy()
    moved[0, 3] += 5
    cases = {
        "moved": (nibabel.Nifti1Image(array, moved), GeometryError),
        "smaller": (nibabel.Nifti1Image(array[:-1], image.affine), GeometryError),
        "flat": (nibabel.Nifti1Image(array[..., 0], image.affine), GeometryError),
        "probabilities": (nibabel.Nifti1Image(array * np.float32(0.3), image.affine), InvalidValuesError),
    }
    for name, (case, error) in cases.items():
        nibabel.save(case, tmp_path / f"{name}.nii.gz")
        with pytest.raises(error) as caught:
            read_mask(tmp_path / f"{name}.nii.gz", volume)
        assert caught.value.hint
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "mask.nii.gz").read_bytes()[:200])
    with pytest.raises(UnreadableFileError):
        read_mask(tmp_path / "cut.nii.gz", volume)
    with pytest.raises(NotFoundError):
        read_mask(tmp_path / "missing.nrrd", volume)


def test_mask_of_a_dicom_series_returns_as_nrrd(phantom, tmp_path) -> None:
    write_dicom(phantom, tmp_path / "series")
    volume = read(tmp_path / "series")
    path = write_mask(phantom.lungs.array, volume, tmp_path / "mask.nrrd")
    assert np.array_equal(read_mask(path, volume), phantom.lungs.array)
