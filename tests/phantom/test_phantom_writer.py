"""What is written is what independent libraries read back: values, geometry and identifiers."""

from __future__ import annotations

import itk
import nibabel
import numpy as np
import pydicom
import pytest

from covid_bert.errors import ParameterError
from covid_bert.phantom import make, write, write_dicom
from covid_bert.volumes import read
from covid_bert.volumes.orientation import to_canonical

TURNED = np.array([[0.0, -0.96, 0.28], [0.0, -0.28, -0.96], [1.0, 0.0, 0.0]])


@pytest.fixture(scope="module", params=["canonical", "turned"])
def phantom(request):
    direction = None if request.param == "canonical" else TURNED
    return make(shape=(24, 36, 30), spacing=(11.0, 8.0, 10.0), direction=direction, seed=1, lesions="covid-like")


def itk_affine(image) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("part", ["volume", "lungs", "lesions", "airways", "vessels"])
def test_files(phantom, tmp_path, suffix, part):
    path = write(phantom, tmp_path / f"{part}{suffix}", part)
    if suffix.startswith(".nii"):
        image = nibabel.load(path)
        array, affine = np.asarray(image.dataobj), image.affine
        assert image.header.get_xyzt_units()[0] == "mm"
    else:
        image = itk.imread(str(path))
        array, affine = itk.array_from_image(image).transpose(2, 1, 0), itk_affine(image)
    assert np.allclose(affine, phantom.volume.native.affine, atol=1e-3)
    canonical, canonical_affine = to_canonical(array, affine)
    expected = phantom.volume.array if part == "volume" else getattr(phantom, part)
    assert np.array_equal(canonical, getattr(expected, "array", expected))
    assert np.allclose(canonical_affine, phantom.volume.affine, atol=1e-3)


def test_dicom_series(phantom, tmp_path):
    paths = write_dicom(phantom, tmp_path / "study")
    slices = [pydicom.dcmread(path) for path in paths]
    assert len(slices) == phantom.volume.native.shape[2]
    assert len({item.SOPInstanceUID for item in slices}) == len(slices)
    assert len({item.SeriesInstanceUID for item in slices}) == 1
    first = slices[0]
    assert first.SOPClassUID.name == "CT Image Storage"
    assert first.PatientIdentityRemoved == "YES"
    affine = np.eye(4)
    rows, columns = np.array(first.ImageOrientationPatient, dtype=float).reshape(2, 3)
    affine[:3, 0] = rows * float(first.PixelSpacing[1])
    affine[:3, 1] = columns * float(first.PixelSpacing[0])
    positions = np.array([item.ImagePositionPatient for item in slices], dtype=float)
    affine[:3, 2] = positions[1] - positions[0]
    affine[:3, 3] = positions[0]
    array = np.stack([item.pixel_array.T.astype(int) + int(item.RescaleIntercept) for item in slices], axis=2)
    canonical, canonical_affine = to_canonical(array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    assert np.array_equal(canonical, phantom.volume.array)
    assert np.allclose(canonical_affine, phantom.volume.affine, atol=1e-3)


def test_dicom_is_reproducible_and_patients_differ(phantom, tmp_path):
    first, again = (write_dicom(phantom, tmp_path / name)[3].read_bytes() for name in ("a", "b"))
    assert first == again
    other = pydicom.dcmread(write_dicom(phantom, tmp_path / "c", patient_id="SOMEBODY")[3])
    assert other.PatientID == "SOMEBODY"
    assert other.StudyInstanceUID != pydicom.dcmread(tmp_path / "a" / "slice-0004.dcm").StudyInstanceUID


def test_unknown_suffix_or_part(phantom, tmp_path):
    with pytest.raises(ParameterError, match="suffix"):
        write(phantom, tmp_path / "image.png")
    with pytest.raises(ParameterError, match="part"):
        write(phantom, tmp_path / "image.nrrd", "liver")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["study", "image.nii.gz", "image.nrrd", "image.mha"])
def test_own_reader_returns_the_volume(phantom, tmp_path, name):
    path = tmp_path / name
    if name == "study":
        write_dicom(phantom, path)
    else:
        write(phantom, path)
    volume = read(path)
    assert np.array_equal(volume.array, phantom.volume.array)
    assert np.allclose(volume.affine, phantom.volume.affine, atol=1e-3)
    assert volume.unit is phantom.volume.unit
