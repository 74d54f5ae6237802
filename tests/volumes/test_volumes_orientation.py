"""Left and right, head and foot: every file orientation comes to one geometry, and masks go back exactly."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from volume_maker import (
    BEAD,
    ORIENTATIONS,
    SHAPE,
    SPACING,
    canonical_affine,
    labels,
    load,
    phantom,
    save,
    stored,
    stored_affine,
)

from covid_bert.volumes import Unit, read, write_map, write_mask


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_all_48_orientations_read_alike_and_masks_return(tmp_path, axes, flips, suffix):
    array, affine, mask = phantom(), canonical_affine(), labels(phantom())
    native_affine = stored_affine(affine, SHAPE, axes, flips)
    volume = read(save(tmp_path / f"ct{suffix}", stored(array, axes, flips), native_affine))

    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    assert volume.array.dtype == np.int16
    assert volume.array.flags.c_contiguous
    assert volume.unit is Unit.HOUNSFIELD
    assert volume.spacing == pytest.approx(SPACING, abs=1e-4)
    # The patient's right half is the one with the lower column index, which in RAS has the larger first coordinate.
    assert (volume.affine @ [BEAD[2], BEAD[1], BEAD[0], 1])[0] > (volume.affine @ [20, BEAD[1], BEAD[0], 1])[0]
    assert (volume.array[0] == 110).any() or (volume.array[:1, :, : SHAPE[2] // 2] > 85).sum() > 10

    written, written_affine = load(write_mask(mask, volume, tmp_path / f"mask{suffix}"))
    np.testing.assert_array_equal(written, stored(mask, axes, flips))
    np.testing.assert_allclose(written_affine, native_affine, atol=1e-4)


def test_formats_cross(tmp_path):
    """A mask of a NIfTI study written as NRRD or MetaImage lies at the same place in the patient."""
    axes, flips = (2, 0, 1), (True, False, True)
    native_affine = stored_affine(canonical_affine(), SHAPE, axes, flips)
    volume = read(save(tmp_path / "ct.nii", stored(phantom(), axes, flips), native_affine))
    for suffix in (".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha"):
        written, affine = load(write_mask(labels(phantom()), volume, tmp_path / f"mask{suffix}"))
        np.testing.assert_array_equal(written, stored(labels(phantom()), axes, flips))
        np.testing.assert_allclose(affine, native_affine, atol=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("oblique")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    orientation=st.sampled_from(ORIENTATIONS),
    suffix=st.sampled_from([".nii", ".nrrd", ".mha"]),
)
def test_oblique_volumes_keep_every_voxel_in_place(folder, angles, orientation, suffix):
    rotation = np.eye(4)
    rotation[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    array = stored(phantom(), *orientation)
    affine = rotation @ stored_affine(canonical_affine(), SHAPE, *orientation)
    volume = read(save(folder / f"ct{suffix}", array, affine))

    in_file = np.unravel_index(np.argmax(array), array.shape)
    slice_, row, column = np.unravel_index(np.argmax(volume.array), volume.array.shape)
    np.testing.assert_allclose(volume.affine @ [column, row, slice_, 1], affine @ [*in_file, 1], atol=1e-2)
    assert volume.voxel_milliliters == pytest.approx(np.prod(SPACING) / 1000, rel=1e-4)

    mask = (volume.array > 0).astype(np.uint8)
    written, written_affine = load(write_mask(mask, volume, folder / f"mask{suffix}"))
    np.testing.assert_array_equal(written, array > 0)
    np.testing.assert_allclose(written_affine, affine, atol=1e-3)


@given(angle=st.floats(-40, 40), axis=st.sampled_from("xyz"), orientation=st.sampled_from(ORIENTATIONS))
@settings(max_examples=15, deadline=None)
def test_slightly_oblique_volumes_point_left_back_and_up(folder, angle, axis, orientation):
    rotation = np.eye(4)
    rotation[:3, :3] = Rotation.from_euler(axis, angle, degrees=True).as_matrix()
    affine = rotation @ stored_affine(canonical_affine(), SHAPE, *orientation)
    volume = read(save(folder / "slight.nii", stored(phantom(), *orientation), affine))
    np.testing.assert_array_equal(volume.array, phantom())
    assert np.all(np.diag(volume.affine)[:3] * [-1, -1, 1] > 0)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("degrees", [20, -27])
def test_tilted_affines_are_resampled_and_masks_return_exactly(tmp_path, suffix, degrees):
    # A ball, so that its centre of mass tells where it is.
    shape = (16, 48, 40)
    array = phantom(shape)
    z, y, x = np.ogrid[:16, :48, :40]
    ball = (2 * (z - 8)) ** 2 + (y - 24) ** 2 + (x - 12) ** 2 < 36
    array[ball] = 600
    affine = canonical_affine((2.0, 1.0, 1.0))
    affine[1, 2] = 2.0 * np.tan(np.radians(degrees))
    volume = read(save(tmp_path / f"ct{suffix}", array.transpose(2, 1, 0), affine))

    assert volume.shape[1] > shape[1]
    assert any("tilt" in warning for warning in volume.warnings)
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    found = np.argwhere(volume.array > 400).mean(axis=0)[::-1]
    expected = np.argwhere(ball).mean(axis=0)[::-1]
    np.testing.assert_allclose(volume.affine @ [*found, 1], affine @ [*expected, 1], atol=0.2)
    assert volume.array[0, -1].max() <= -1000 or volume.array[0, 0].max() <= -1000

    written, written_affine = load(write_mask((volume.array > 250).astype(np.uint8), volume, tmp_path / f"m{suffix}"))
    native_ball = ball.transpose(2, 1, 0)
    assert written.shape == native_ball.shape
    np.testing.assert_allclose(written_affine, affine, atol=1e-4)
    overlap = 2 * (written.astype(bool) & native_ball).sum() / (written.sum() + native_ball.sum())
    assert overlap > 0.95

    values = (volume.array.astype(np.float32) + 1024) / 2048
    smooth, _ = load(write_map(values, volume, tmp_path / f"map{suffix}"))
    assert np.corrcoef(smooth.ravel(), array.transpose(2, 1, 0).ravel())[0, 1] > 0.97


def test_every_label_voxel_on_tilted_slices_survives_a_second_reading(tmp_path):
    """Writing what was read back from the upright grid changes nothing any more."""
    affine = canonical_affine((2.0, 1.0, 1.0))
    affine[1, 2] = 0.7
    array = phantom((16, 48, 40))
    volume = read(save(tmp_path / "ct.nii", array.transpose(2, 1, 0), affine))
    every_row = np.broadcast_to(np.arange(volume.shape[1], dtype=np.uint8)[None, :, None], volume.shape)
    written, _ = load(write_mask(every_row, volume, tmp_path / "rows.nii"))
    for index in range(16):
        # Row r of tilted slice z lies 0.7 * z / 1.0 rows further along the upright grid, which starts that much before.
        shift = volume.native.shear_rows_per_slice * index
        start = np.linalg.solve(volume.affine, affine)[1, 3]
        np.testing.assert_array_equal(written[0, :, index], np.rint(np.arange(48) + shift + start))
