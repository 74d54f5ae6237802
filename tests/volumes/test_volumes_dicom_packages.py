"""Real DICOM files that come with pydicom, pynetdicom and nibabel: read to the right values, or refused in words."""

import gzip
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.data import get_charset_files, get_testdata_file
from volume_maker import refused

from covid_bert.errors import (
    CovidBertError,
    InputError,
    MixedSeriesError,
    NotComputedTomographyError,
    TooFewSlicesError,
    UnreadableFileError,
)
from covid_bert.volumes import read
from covid_bert.volumes.dicom_decoding import Decoder
from covid_bert.volumes.dicom_files import is_dicom
from covid_bert.volumes.dicom_headers import read_headers
from covid_bert.volumes.dicom_patient import patients_of
from covid_bert.volumes.dicom_pixels import slice_values
from needed import require_module

OF_PYDICOM = Path(get_testdata_file("CT_small.dcm")).parent
OF_NIBABEL = Path(nibabel.__file__).parent
FOLDERS = [OF_PYDICOM, OF_NIBABEL / "tests" / "data", OF_NIBABEL / "nicom" / "tests" / "data"]


def real_files():
    """All files of these packages that are, or claim to be, DICOM."""
    others = [Path(require_module("pynetdicom", "pip install pynetdicom").__file__).parent / "tests" / "dicom_files"]
    for folder in [*FOLDERS, *others]:
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in ("", ".dcm"))
    yield from (Path(path) for path in get_charset_files("*.dcm"))


def words_of(path):
    """What a file says of its patient, as far as pydicom can tell."""
    try:
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        return {str(dataset.get(keyword) or "").casefold() for keyword in ("PatientName", "PatientID")} - {""}
    except Exception:
        return set()


def test_each_file_alone_is_refused_in_words():
    """None of them is a chest CT; a single slice is none either."""
    kinds = {}
    for path in real_files():
        with pytest.raises(CovidBertError) as caught:
            read(path)
        error = caught.value
        assert isinstance(error, InputError), path.name
        assert len(error.message) > 10, path.name
        assert len(error.hint) > 5, path.name
        named = f"{error}".replace(path.name, "").casefold()
        assert not any(len(word) > 3 and word in named for word in words_of(path)), path.name
        kinds.setdefault(type(error), set()).add(path.name)
    assert {"CT_small.dcm", "CTImageStorage.dcm", "JPEG2000.dcm"} <= {
        name for names in kinds.values() for name in names
    }
    assert "CT_small.dcm" in kinds[TooFewSlicesError]
    assert {"MR_small.dcm", "rtplan.dcm", "test-SR.dcm", "ExplVR_BigEndNoMeta.dcm"} <= kinds[NotComputedTomographyError]
    assert sum(map(len, kinds.values())) > 100


def test_values_are_those_that_pydicom_gives():
    """Every greyscale file, CT or not: in its own syntax, byte order, and sign."""
    same, decoder = set(), Decoder()
    for path in real_files():
        if not is_dicom(path):
            continue
        try:
            headers = read_headers(path)
        except UnreadableFileError:
            continue
        if len(headers) != 1 or headers[0].frames > 1 or not headers[0].rows or headers[0].samples > 1:
            continue
        try:
            _, stored = decoder.decode(headers[0])
        except UnreadableFileError:
            continue
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = headers[0].transfer_syntax
        expected = dataset.pixel_array
        unused = expected.dtype.itemsize * 8 - dataset.BitsStored
        np.testing.assert_array_equal(stored, (expected << unused) >> unused, err_msg=path.name)
        same.add(path.name)
    # Little and big endian, implicit, deflated, RLE, JPEG-LS, JPEG 2000.
    assert {
        *("CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "image_dfl.dcm", "MR_small_RLE.dcm"),
        *("MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "693_J2KI.dcm"),
    } <= same


def test_a_real_slice_in_hounsfield_units():
    path = OF_PYDICOM / "CT_small.dcm"
    dataset = pydicom.dcmread(path)
    (header,) = read_headers(path)
    expected = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    # Its padding value is that of the air outside the field of view.
    np.testing.assert_array_equal(slice_values(header, Decoder()), np.where(expected < -1024, -1024, expected))


def test_a_medium_with_a_directory_and_several_patients_asks_for_one():
    """Real CT, CR and MR of three patients, with DICOMDIRs of every kind, one of them in big endian."""
    medium = OF_PYDICOM / "dicomdirtests"
    with pytest.raises((TooFewSlicesError, MixedSeriesError)) as caught:
        read(medium)
    assert len(caught.value.details["series"]) >= 2
    assert refused(TooFewSlicesError, medium / "77654033" / "CT2").details["slices"] == 4
    assert "CR" in refused(NotComputedTomographyError, medium / "77654033" / "CR1").message
    assert "MR" in refused(NotComputedTomographyError, medium / "98892003" / "MR700").message
    assert len(patients_of(medium)) >= 2


def test_a_series_of_real_slices_is_read_with_private_attributes_and_odd_texts(tmp_path):
    """Twelve copies of a real slice, with its private attributes and its own character set, moved and renumbered."""
    dataset = pydicom.dcmread(OF_PYDICOM / "CT_small.dcm")
    assert any(element.tag.is_private for element in dataset)
    for index in range(12):
        dataset.ImagePositionPatient = [-158.1, -179.0, -75.7 + 5 * index]
        dataset.SOPInstanceUID = f"{dataset.SeriesInstanceUID}.{index + 1}"
        dataset.save_as(tmp_path / f"{index}.dcm")
    volume = read(tmp_path)
    assert volume.shape == (12, 128, 128)
    first = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    np.testing.assert_array_equal(volume.array, np.tile(np.maximum(first, -1024), (12, 1, 1)))


def test_compressed_files_of_another_kind_beside_a_study_are_left_aside(tmp_path, sample_data):
    study = shutil.copytree(sample_data / "lung_dx_a0001", tmp_path / "study")
    plain = read(study)
    for name in ("MR_small.dcm", "rtdose.dcm", "reportsi.dcm", "SC_rgb.dcm", "CT_small.dcm", "DICOMDIR"):
        found = next(OF_PYDICOM.rglob(name), None)
        if found is not None:
            shutil.copy(found, study / f"other-{name}")
    packed = OF_NIBABEL / "nicom" / "tests" / "data" / "siemens_dwi_0.dcm.gz"
    (study / "dwi").write_bytes(gzip.decompress(packed.read_bytes()))
    volume = read(study)
    np.testing.assert_array_equal(volume.array, plain.array)
    assert len(volume.warnings) > len(plain.warnings)
