"""NIfTI, NRRD and MetaImage: what is accepted."""

import itk
import nibabel
import numpy as np
import pytest
from volume_maker import AFFINE, SHAPE, file_order, nifti, phantom, save

from covid_bert.volumes import read


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64, ">i2"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_number_types_become_int16_where_values_are_whole(tmp_path, dtype, suffix):
    volume = read(nifti(tmp_path / f"ct{suffix}", file_order(phantom()).astype(dtype)))
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, phantom())
    assert volume.source.file_format == "nifti"
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1


def test_fractions_stay_float32(tmp_path):
    volume = read(nifti(tmp_path / "ct.nii", file_order(phantom() + 0.25)))
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, phantom() + 0.25)


def test_slope_and_intercept_are_applied(tmp_path):
    image = nibabel.Nifti1Image(file_order(phantom() + 1024).astype(np.uint16), AFFINE)
    image.header.set_slope_inter(1.0, -1024.0)
    # nibabel would rescale the array once more: the stored values are written as they are.
    path = tmp_path / "ct.nii"
    with path.open("wb") as stream:
        image.header["vox_offset"] = 352
        image.header["magic"] = b"n+1"
        image.header.write_to(stream)
        stream.write(b"\0" * (352 - stream.tell()))
        stream.write(image.get_fdata().astype(np.uint16).tobytes(order="F"))
    volume = read(path)
    np.testing.assert_array_equal(volume.array, phantom())
    assert volume.array.dtype == np.int16


def test_padding_below_the_scale_becomes_minus_1024(tmp_path):
    array = phantom()
    array[:, :3] = -2048
    array[:, 3] = -3024
    volume = read(nifti(tmp_path / "ct.nii", file_order(array)))
    assert volume.array.min() == -1024
    assert (volume.array[:, :4] == -1024).all()
    np.testing.assert_array_equal(volume.array[:, 4:], array[:, 4:])


@pytest.mark.parametrize("masked_to", [-1024, 0])
def test_masked_clipped_and_recalibrated_ct_is_accepted(tmp_path, masked_to):
    array = phantom()
    lungs = array < -500
    lungs[:, ::5] = False  # vessels remain
    array[~lungs & (np.arange(SHAPE[2]) > 5)] = masked_to
    read(nifti(tmp_path / "masked.nii", file_order(array)))
    recalibrated = np.round(np.clip(phantom(), -1250, 150) / 6) * 6
    read(nifti(tmp_path / "recalibrated.nii", file_order(recalibrated).astype(np.float32)))


def test_trailing_axes_of_length_one_are_dropped(tmp_path):
    volume = read(nifti(tmp_path / "ct.nii", file_order(phantom())[..., None, None]))
    np.testing.assert_array_equal(volume.array, phantom())
    image = itk.image_from_array(np.ascontiguousarray(phantom()[None]))
    itk.imwrite(image, str(tmp_path / "ct.nrrd"))
    np.testing.assert_array_equal(read(tmp_path / "ct.nrrd").array, phantom())


@pytest.mark.parametrize(("code", "factor"), [(1, 1000.0), (3, 0.001), (0, 1.0)])
def test_units_of_metre_and_micron_become_millimetres(tmp_path, code, factor):
    volume = read(
        nifti(tmp_path / "ct.nii", file_order(phantom()), np.diag([1, 1, 1, factor]) @ AFFINE / factor, xyzt_units=code)
    )
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-5)


def test_sform_wins_and_contradiction_is_reported(tmp_path):
    image = nibabel.Nifti1Image(file_order(phantom()), AFFINE)
    image.set_qform(np.diag([-1.0, 1.0, 1.0, 1.0]) @ AFFINE, 1)
    image.set_sform(AFFINE, 1)
    nibabel.save(image, tmp_path / "ct.nii")
    volume = read(tmp_path / "ct.nii")
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
    assert any("disagree" in warning for warning in volume.warnings)

    image.set_sform(None, 0)
    nibabel.save(image, tmp_path / "q.nii")
    volume = read(tmp_path / "q.nii")
    np.testing.assert_array_equal(volume.array, phantom()[:, :, ::-1])
    assert volume.warnings == ()


def test_unknown_orientation_is_accepted_with_a_warning_as_itk_reads_it(tmp_path):
    path = nifti(tmp_path / "ct.nii", file_order(phantom()), None, pixdim=[1, 0.9, 0.7, 2.5, 0, 0, 0, 0])
    volume = read(path)
    assert any("left and right" in warning.lower() for warning in volume.warnings)
    np.testing.assert_array_equal(volume.array, itk.array_from_image(itk.imread(str(path))))
    assert volume.spacing == pytest.approx((2.5, 0.7, 0.9))


def test_nrrd_without_anatomical_space_is_accepted_with_a_warning(tmp_path):
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 26 20 12\nspacings: 0.9 0.7 2.5\nendian: little\nencoding: raw\n\n"
    )
    (tmp_path / "ct.nrrd").write_bytes(header.encode() + phantom().tobytes())
    volume = read(tmp_path / "ct.nrrd")
    np.testing.assert_array_equal(volume.array, phantom())
    assert any("left and right" in warning for warning in volume.warnings)


@pytest.mark.parametrize("name", ["ct.mhd", "ct.nhdr", "packed.mha", "packed.nrrd"])
def test_detached_and_compressed_files(tmp_path, name):
    volume = read(save(tmp_path / name, file_order(phantom()), AFFINE))
    np.testing.assert_array_equal(volume.array, phantom())
    assert volume.warnings == ()


def test_nifti2_is_read(tmp_path):
    nibabel.save(nibabel.Nifti2Image(file_order(phantom()), AFFINE), tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / "ct.nii.gz").array, phantom())


def test_identifier_depends_on_values_geometry_and_stored_axes_alone(tmp_path):
    first = read(nifti(tmp_path / "a.nii", file_order(phantom())))
    again = read(save(tmp_path / "b.nrrd", file_order(phantom()), AFFINE))
    turned = read(
        save(
            tmp_path / "turned.nrrd",
            file_order(phantom())[::-1],
            AFFINE @ np.array([[-1, 0, 0, 25], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
        )
    )
    other = read(nifti(tmp_path / "c.nii", file_order(phantom(seed=4))))
    np.testing.assert_array_equal(turned.array, first.array)
    assert first.identifier == again.identifier
    assert len({first.identifier, turned.identifier, other.identifier}) == 3
