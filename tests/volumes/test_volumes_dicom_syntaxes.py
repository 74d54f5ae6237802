"""Real slices in every transfer syntax: read to the same values, or refused with a sentence that names the syntax."""

import shutil
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from dicom_maker import compress, make_series, set_pixels
from pydicom.encaps import encapsulate, generate_pixel_data_frame
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from volume_maker import phantom, refused

from covid_bert.errors import UnreadableFileError
from covid_bert.volumes import read
from covid_bert.volumes.codestreams import stated_size

SAMPLE = Path(__file__).resolve().parents[2] / "sample-data" / "lung_dx_a0001"
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LOSSLESS = ("JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless")
ARRAY = phantom()
NOT_READ = (
    "1.2.840.10008.1.2.4.201",  # HTJ2K
    "1.2.840.10008.1.2.4.94",  # JPIP: the pixels lie elsewhere
    "1.2.840.10008.1.2.4.102",  # MPEG-4
    "1.2.840.10008.1.2.8.1",  # deflated frames
    "1.2.840.113619.5.2",  # GE's own
    "1.2.3.Doe^Jane",
)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Nine slices of a real chest CT, reduced to every second pixel, uncompressed; and their stored values."""
    folder = tmp_path_factory.mktemp("real")
    stored = []
    # The numbers of the files go from head to foot or back; volumes go from foot to head.
    paths = sorted(SAMPLE.glob("*.dcm"))[20:29]
    for path in sorted(paths, key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2]):
        dataset = pydicom.dcmread(path)
        pixels = np.ascontiguousarray(dataset.pixel_array[::2, ::2])
        stored.append(pixels)
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelSpacing = [2 * value for value in dataset.PixelSpacing]
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        dataset.PixelData = pixels.astype("<u2").tobytes()
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OW", False
        dataset.save_as(folder / path.name, write_like_original=False)
    return folder, np.maximum(np.stack(stored).astype(np.int16) - 1024, -1024)


def rewritten(dataset, syntax, file):
    """Write a data set in another plain syntax."""
    stored = dataset.pixel_array
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.is_little_endian, dataset.is_implicit_VR = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    set_pixels(dataset, stored, dataset.BitsStored)
    dataset.save_as(file, write_like_original=False)


@pytest.mark.parametrize("syntax", [*PLAIN, *LOSSLESS, "RLELossless", RLELossless, "fragments"])
def test_real_slices_have_the_same_values_in_each_lossless_syntax(tmp_path, real, syntax):
    folder, expected = real
    for path in folder.glob("*.dcm"):
        file = tmp_path / path.name
        shutil.copy(path, file)
        if syntax in PLAIN:
            rewritten(pydicom.dcmread(file), syntax, file)
        elif syntax == RLELossless:
            dataset = pydicom.dcmread(file)
            dataset.compress(RLELossless)
            dataset.save_as(file)
        else:
            compress(file, "JPEG2000Lossless" if syntax == "fragments" else syntax)
        if syntax == "fragments":
            dataset = pydicom.dcmread(file)
            codestream = next(generate_pixel_data_frame(dataset.PixelData, 1))
            dataset.PixelData = encapsulate([codestream], fragments_per_frame=4)
            dataset["PixelData"].is_undefined_length = True
            dataset.save_as(file)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, expected)
    assert not any("losses" in warning for warning in volume.warnings)


@pytest.mark.parametrize(("syntax", "stated"), [("JPEGLSNearLossless", None), ("JPEG2000", "01"), ("JPEG2000", "00")])
def test_lossy_syntaxes_are_read_nearly_and_said(tmp_path, real, syntax, stated):
    folder, expected = real
    for path in folder.glob("*.dcm"):
        file = tmp_path / path.name
        shutil.copy(path, file)
        compress_lossy(file, syntax)
        dataset = pydicom.dcmread(file)
        if stated:
            dataset.LossyImageCompression = stated
        elif "LossyImageCompression" in dataset:
            del dataset.LossyImageCompression
        dataset.save_as(file)
    volume = read(tmp_path)
    assert abs(float(volume.array.mean()) - float(expected.mean())) < 3
    # JPEG 2000 without the word "lossless" may still have lost nothing: the file says so.
    assert any("losses" in warning for warning in volume.warnings) == (stated != "00")


def compress_lossy(file, syntax):
    """Rewrite a file in a lossy syntax of GDCM's naming."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(file))
    assert reader.Read()
    codec = gdcm.JPEGLSCodec() if "LS" in syntax else gdcm.JPEG2000Codec()
    if "LS" in syntax:
        codec.SetLossless(False)
        codec.SetLossyError(2)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetUserCodec(codec)
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(file))
    assert writer.Write()


@pytest.mark.parametrize("syntax", NOT_READ)
def test_other_syntaxes_are_refused_by_name(tmp_path, syntax):
    stated = b"UI\x14\x00" + ExplicitVRLittleEndian.encode() + b"\0"
    claim = syntax.encode() + b"\0" * (len(syntax) % 2)
    for file in make_series(tmp_path / "ct", ARRAY):
        content = file.read_bytes()
        assert stated in content
        file.write_bytes(content.replace(stated, b"UI" + bytes([len(claim), 0]) + claim, 1))
    error = refused(UnreadableFileError, tmp_path / "ct")
    assert "which is not read here" in error.message
    assert "uncompressed" in error.hint
    assert syntax not in error.message


def test_big_endian_without_a_file_header(tmp_path):
    for file in make_series(tmp_path / "ct", ARRAY, syntax=ExplicitVRBigEndian):
        content = file.read_bytes()
        file.write_bytes(content[content.index(b"\x00\x08\x00\x08CS") :])
    np.testing.assert_array_equal(read(tmp_path / "ct").array, ARRAY)


def test_a_header_that_names_the_wrong_plain_syntax(tmp_path):
    for file in make_series(tmp_path / "ct", ARRAY, syntax=ExplicitVRLittleEndian):
        content = file.read_bytes()
        file.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0", 1))
    np.testing.assert_array_equal(read(tmp_path / "ct").array, ARRAY)


@pytest.mark.parametrize("syntax", [*LOSSLESS, "RLELossless"])
def test_compressed_data_of_another_size_are_refused_before_they_are_decoded(tmp_path, syntax):
    files = make_series(tmp_path / "ct", ARRAY)
    for file in files:
        compress(file, syntax)
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.Rows = dataset.Rows + 1
        dataset.save_as(file)
    assert "IM0000" in refused(UnreadableFileError, tmp_path / "ct").message


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_the_size_that_a_codestream_states(tmp_path, syntax):
    (file,) = make_series(tmp_path / "ct", ARRAY[:1])
    compress(file, syntax)
    codestream = next(generate_pixel_data_frame(pydicom.dcmread(file).PixelData, 1))
    assert stated_size(codestream) == (26, 20)
    for length in range(10):
        with pytest.raises(ValueError, match="image"):
            stated_size(codestream[:length])
    with pytest.raises(ValueError, match="marker"):
        stated_size(b"\xff\xd8" + b"\x00" * 100)
