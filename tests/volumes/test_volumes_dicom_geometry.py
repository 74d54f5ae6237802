"""DICOM series: order and geometry of the slices, and a clear refusal of what is no regular stack."""

import numpy as np
import pytest
from dicom_maker import make_series, setting
from pydicom.uid import generate_uid
from scipy.spatial.transform import Rotation
from volume_maker import canonical_affine, labels, load, phantom, refused

from covid_bert.errors import (
    DuplicateSlicesError,
    GeometryError,
    MissingSlicesError,
    TooFewSlicesError,
    UnequalSlicesError,
)
from covid_bert.volumes import read, write_mask

ARRAY = phantom()


# ---------------------------------------------------------------- order and geometry


def test_a_series_is_read_in_hounsfield_units(tmp_path):
    make_series(tmp_path / "ct", ARRAY)
    volume = read(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, canonical_affine(origin=(30.0, 12.0, -140.0)))
    assert volume.array.dtype == np.int16
    assert volume.source.file_format == "dicom"
    assert volume.source.series_instance_uid
    assert len(volume.source.sop_instance_uids) == len(set(volume.source.sop_instance_uids)) == 12
    assert volume.warnings == ()


def test_file_names_and_instance_numbers_do_not_matter(tmp_path):
    order = np.random.default_rng(1).permutation(12)
    first_uid = {}

    def shuffle(dataset, index):
        dataset.InstanceNumber = int(order[index])
        first_uid.setdefault("uid", dataset.SOPInstanceUID)

    make_series(tmp_path / "ct", ARRAY, names=[f"{11 - value:02d}" for value in order], edit=shuffle)
    volume = read(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.source.sop_instance_uids[0] == first_uid["uid"]


def test_descending_slices_and_subfolders(tmp_path):
    make_series(tmp_path / "ct" / "a" / "b", ARRAY[::-1], origin=(-30, -12, -112.5), step=(0, 0, -2.5))
    volume = read(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, canonical_affine())


@pytest.mark.parametrize(
    ("orientation", "moved"),
    [
        # Rows to the right and columns to the front: a patient on the belly, shown unturned.
        ((-1, 0, 0, 0, -1, 0), lambda array: array[:, ::-1, ::-1]),
        # Sagittal: rows to the back, columns to the foot; slices from left to right.
        ((0, 1, 0, 0, 0, -1), lambda array: array.transpose(2, 0, 1)[::-1, ::-1, :]),
        # Coronal: rows to the left, columns to the foot; slices from front to back.
        ((1, 0, 0, 0, 0, -1), lambda array: array.transpose(1, 0, 2)[:, ::-1, :]),
    ],
)
def test_other_planes_come_to_the_same_geometry(tmp_path, orientation, moved):
    array = phantom((14, 22, 18))
    stack = moved(array)
    make_series(tmp_path / "ct", stack, orientation=orientation, spacing=(1, 1, 1), origin=(0, 0, 0))
    volume = read(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, array)
    mask = labels(array)
    written, affine = load(write_mask(mask, volume, tmp_path / "mask.nii.gz"))
    # The written axes are (columns, rows, slices along the normal).
    normal = np.cross(orientation[:3], orientation[3:])
    np.testing.assert_array_equal(written.transpose(2, 1, 0), moved(mask))
    np.testing.assert_allclose(affine[:3, 2], normal * [-1, -1, 1], atol=1e-6)
    np.testing.assert_allclose(affine[:3, 0], np.multiply(orientation[:3], [-1, -1, 1]), atol=1e-6)


def test_oblique_series_agree_with_an_independent_reader(tmp_path):
    rotation = Rotation.from_euler("xyz", [18, -9, 25], degrees=True).as_matrix()
    orientation = (*rotation[:, 0], *rotation[:, 1])
    files = make_series(tmp_path / "ct", ARRAY, orientation=orientation)
    volume = read(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, ARRAY)
    import itk

    image = itk.imread([str(file) for file in files])
    for index in ((0, 0, 0), (25, 0, 0), (0, 19, 0), (3, 7, 11)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], lps * [-1, -1, 1], atol=1e-3)


@pytest.mark.parametrize("degrees", [15, -22])
def test_gantry_tilt_is_taken_out_and_masks_lie_on_the_tilted_slices(tmp_path, degrees):
    array = phantom((14, 40, 36))
    tilt = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    make_series(tmp_path / "ct", array, orientation=(*tilt[:, 0], *tilt[:, 1]), step=(0, 0, 3.0), spacing=(3, 1, 1))
    volume = read(tmp_path / "ct")
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    assert volume.spacing[0] == pytest.approx(3 * np.cos(np.radians(degrees)), abs=1e-6)
    assert volume.shape[1] > 40
    assert any("tilt" in warning for warning in volume.warnings)

    written, affine = load(write_mask((volume.array < -500).astype(np.uint8), volume, tmp_path / "mask.nii.gz"))
    assert written.shape == (36, 40, 14)
    np.testing.assert_allclose(affine[:3, 2], [0, 0, 3], atol=1e-5)
    np.testing.assert_allclose(affine[:3, 1], tilt[:, 1] * [-1, -1, 1], atol=1e-5)
    agreement = np.mean(written.transpose(2, 1, 0).astype(bool) == (array < -500))
    assert agreement > 0.98


def test_slices_that_lean_sideways_are_refused(tmp_path):
    make_series(tmp_path / "ct", ARRAY, step=(0.8, 0, 2.5))
    refused(GeometryError, tmp_path / "ct")


def test_jitter_of_positions_is_tolerated(tmp_path):
    jitter = np.random.default_rng(0).uniform(-0.04, 0.04, 12)

    def shake(dataset, index):
        dataset.ImagePositionPatient[2] += jitter[index]

    make_series(tmp_path / "ct", ARRAY, edit=shake)
    assert read(tmp_path / "ct").spacing[0] == pytest.approx(2.5, abs=0.01)


# ---------------------------------------------------------------- missing, duplicate, unequal


def test_missing_slices_are_counted_and_located(tmp_path):
    make_series(tmp_path / "ct", ARRAY, skip=(4, 5, 9))
    error = refused(MissingSlicesError, tmp_path / "ct")
    assert error.details["missing"] == 3
    assert error.details["gaps_mm"] == [[-132.5, -125.0], [-120.0, -115.0]]
    assert "-132.5" in error.message


def test_two_phases_in_one_series(tmp_path):
    uid = generate_uid()

    def one_series(dataset, index):
        dataset.StudyInstanceUID = dataset.SeriesInstanceUID = uid

    make_series(tmp_path / "phases", ARRAY, edit=one_series)
    make_series(tmp_path / "phases", phantom(seed=9), edit=one_series, names=[f"second{index}" for index in range(12)])
    error = refused(DuplicateSlicesError, tmp_path / "phases")
    assert "phases" in error.hint
    assert error.details["duplicates"] == 12


def move_slice_7(dataset, index):
    if index == 7:
        dataset.ImagePositionPatient[2] += 0.9


def grow_steps(dataset, index):
    dataset.ImagePositionPatient[2] += 0.08 * index**2 / 2


def shrink_slice_2(dataset, index):
    if index == 2:
        dataset.Rows = 10
        dataset.PixelData = dataset.PixelData[: 10 * 26 * 2]


def turn_slice_2(dataset, index):
    if index == 2:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0.995, 0.0998]


def zoom_slice_2(dataset, index):
    if index == 2:
        dataset.PixelSpacing = [0.8, 0.9]


def shift_slice_2(dataset, index):
    if index == 2:
        dataset.ImagePositionPatient[0] += 5


@pytest.mark.parametrize("edit", [move_slice_7, grow_steps, shrink_slice_2, turn_slice_2, zoom_slice_2, shift_slice_2])
def test_unequal_slices(tmp_path, edit):
    make_series(tmp_path / "ct", ARRAY, edit=edit)
    refused(UnequalSlicesError, tmp_path / "ct")


def test_two_regimes_of_spacing_within_the_tolerance_of_one_step(tmp_path):
    def two_regimes(dataset, index):
        dataset.ImagePositionPatient[2] = index * 0.5 + 0.09 * max(0, index - 12)

    make_series(tmp_path / "ct", phantom((24, 20, 26)), edit=two_regimes)
    refused(UnequalSlicesError, tmp_path / "ct")


def test_too_few_slices(tmp_path):
    files = make_series(tmp_path / "ct", ARRAY[:7])
    refused(TooFewSlicesError, tmp_path / "ct")
    refused(TooFewSlicesError, files[0])


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
@pytest.mark.parametrize("damage", ["absent", "empty", "short", "one slice"])
def test_missing_geometry(tmp_path, keyword, damage):
    def spoil(dataset, index):
        if damage in ("absent", "one slice") and (damage == "absent" or index == 5):
            delattr(dataset, keyword)
        elif damage == "empty":
            setattr(dataset, keyword, None)
        elif damage == "short":
            setattr(dataset, keyword, dataset[keyword].value[0])

    make_series(tmp_path / "ct", ARRAY, edit=spoil)
    assert keyword in refused(GeometryError, tmp_path / "ct").message


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelSpacing", [0, 0.7]),
        ("PixelSpacing", [-0.7, 0.7]),
        ("PixelSpacing", [70, 70]),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImageOrientationPatient", [0, 0, 0, 0, 1, 0]),
    ],
)
def test_impossible_geometry(tmp_path, keyword, value):
    make_series(tmp_path / "ct", ARRAY, edit=setting(keyword, value))
    refused(GeometryError, tmp_path / "ct")
