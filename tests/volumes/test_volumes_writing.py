"""Writing masks and maps: values, names, atomic replacement, refusals."""

import json

import itk
import nibabel
import numpy as np
import pytest
from volume_maker import SHAPE, assert_clean, canonical_affine, labels, load, phantom, save

from covid_bert.errors import GeometryError, OutputError, ParameterError
from covid_bert.volumes import read, write_map, write_mask


@pytest.fixture
def volume(tmp_path):
    return read(save(tmp_path / "ct.nii.gz", phantom().transpose(2, 1, 0), canonical_affine()))


def test_nifti_carries_both_forms_and_names(volume, tmp_path):
    path = write_mask(labels(phantom()), volume, tmp_path / "m.nii.gz", names={"right lung": 1, "left lung": 2})
    header = nibabel.load(path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_sform(), header.get_qform(), atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"
    assert json.loads(header.extensions[0].get_content()) == {"labels": {"right lung": 1, "left lung": 2}}
    assert header.get_data_dtype() == np.uint8


def test_nrrd_carries_slicer_segment_names(volume, tmp_path):
    path = write_mask(labels(phantom()), volume, tmp_path / "m.seg.nrrd", names={"right lung": 1, "left lung": 2})
    image = itk.imread(str(path))  # the dictionary lives only as long as its image
    dictionary = image.GetMetaDataDictionary()
    assert dictionary["Segment1_Name"] == "left lung"
    assert dictionary["Segment1_LabelValue"] == "2"


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_maps_keep_their_values(volume, tmp_path, suffix):
    values = np.random.default_rng(0).random(SHAPE)
    written, affine = load(write_map(values, volume, tmp_path / f"map{suffix}"))
    np.testing.assert_array_equal(written, values.astype(np.float32).transpose(2, 1, 0))
    np.testing.assert_allclose(affine, canonical_affine(), atol=1e-4)
    levels = (values * 255).astype(np.uint8)
    written, _ = load(write_map(levels, volume, tmp_path / f"levels{suffix}"))
    np.testing.assert_array_equal(written, levels.transpose(2, 1, 0))


def test_boolean_and_integer_masks(volume, tmp_path):
    inside = phantom() > 0
    for mask in (inside, inside.astype(np.int64)):
        written, _ = load(write_mask(mask, volume, str(tmp_path / "m.nii")))
        np.testing.assert_array_equal(written, inside.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("mask", "name"),
    [
        (np.zeros(SHAPE, np.float32), "m.nii"),
        (np.full(SHAPE, 256, np.int32), "m.nii"),
        (np.full(SHAPE, -1, np.int8), "m.nii"),
        (np.zeros(SHAPE[::-1], np.uint8), "m.nii"),
        (np.zeros(SHAPE, np.uint8), "m.png"),
    ],
)
def test_wrong_masks_and_names(volume, tmp_path, mask, name):
    with pytest.raises(ParameterError) as caught:
        write_mask(mask, volume, tmp_path / name)
    assert_clean(caught.value)


@pytest.mark.parametrize("name", ["missing/patient.nii.gz", "missing/patient.nrrd"])
def test_a_folder_that_takes_nothing_is_no_fault_of_the_parameters(volume, tmp_path, name):
    with pytest.raises(OutputError) as caught:
        write_mask(np.zeros(SHAPE, np.uint8), volume, tmp_path / name)
    assert_clean(caught.value)
    assert "patient" not in str(caught.value)


def test_integer_maps_are_refused(volume, tmp_path):
    with pytest.raises(ParameterError):
        write_map(np.zeros(SHAPE, np.int16), volume, tmp_path / "m.nii")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(volume, tmp_path, monkeypatch):
    path = write_mask(labels(phantom()), volume, tmp_path / "m.nii.gz")
    before = path.read_bytes()

    def full_disk(image, target):
        target.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(nibabel, "save", full_disk)
    with pytest.raises(OutputError):
        write_mask(np.zeros(SHAPE, np.uint8), volume, path)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ct.nii.gz", "m.nii.gz"]


def test_metaimage_cannot_hold_a_tilt(tmp_path):
    affine = canonical_affine((2.0, 1.0, 1.0))
    affine[1, 2] = 0.7
    tilted = read(save(tmp_path / "ct.nii", phantom((16, 48, 40)).transpose(2, 1, 0), affine))
    with pytest.raises(GeometryError) as caught:
        write_mask(np.zeros(tilted.shape, np.uint8), tilted, tmp_path / "m.mha")
    assert_clean(caught.value)
    header = nibabel.load(write_mask(np.zeros(tilted.shape, np.uint8), tilted, tmp_path / "m.nii")).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
