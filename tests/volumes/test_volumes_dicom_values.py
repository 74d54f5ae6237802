"""Hounsfield units of DICOM series: rescale, padding, bits, compressions, damage."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from dicom_maker import COMPRESSED, UNCOMPRESSED, compress, make_series, set_pixels, setting
from pydicom.uid import RLELossless
from volume_maker import assert_clean, canonical_affine, phantom, refused, save

from covid_bert.errors import (
    MissingSlicesError,
    NotComputedTomographyError,
    UnreadableFileError,
)
from covid_bert.volumes import read

ARRAY = phantom()
PROGRAM = """
import sys
from covid_bert.errors import CovidBertError
from covid_bert.volumes import read
try:
    read(sys.argv[1])
except CovidBertError as error:
    print(error.code)
"""


# ---------------------------------------------------------------- values


def test_each_slice_has_its_own_rescale(tmp_path):
    slopes = [1 + 0.5 * (index % 3) for index in range(12)]
    make_series(tmp_path / "ct", ARRAY, slopes=slopes)
    volume = read(tmp_path / "ct")
    assert np.abs(volume.array.astype(float) - ARRAY).max() <= 1.0
    np.testing.assert_allclose(volume.array[3], ARRAY[3])


def test_rescale_to_fractions_gives_float32(tmp_path):
    make_series(tmp_path / "ct", ARRAY, edit=setting("RescaleIntercept", -1024.5))
    volume = read(tmp_path / "ct")
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, np.maximum(ARRAY - 0.5, -1024))


def without_rescale(dataset, index):
    del dataset.RescaleSlope
    del dataset.RescaleIntercept


def test_missing_rescale_is_accepted_only_where_values_are_hounsfield_units(tmp_path):
    make_series(tmp_path / "stored", ARRAY, edit=without_rescale)
    refused(NotComputedTomographyError, tmp_path / "stored")

    def signed(dataset, index):
        without_rescale(dataset, index)
        set_pixels(dataset, ARRAY[index], 16)

    make_series(tmp_path / "signed", ARRAY, edit=signed)
    volume = read(tmp_path / "signed")
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert any("rescale" in warning for warning in volume.warnings)


def test_rescale_slope_of_zero(tmp_path):
    make_series(tmp_path / "ct", ARRAY, edit=setting("RescaleSlope", 0))
    refused(NotComputedTomographyError, tmp_path / "ct")


def test_monochrome1_leaves_hounsfield_units_alone(tmp_path):
    make_series(tmp_path / "ct", ARRAY, edit=setting("PhotometricInterpretation", "MONOCHROME1"))
    volume = read(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert any("MONOCHROME1" in warning for warning in volume.warnings)


def padded(value, limit=None, stored_as=np.int16):
    """Replace the two outer columns by stored padding values."""

    def edit(dataset, index):
        stored = (ARRAY[index].astype(int) + 1024).astype(stored_as)
        stored[:, :2] = value if limit is None else np.linspace(value, limit, 40).reshape(20, 2)
        set_pixels(dataset, stored, 16)
        keyword_type = "SS" if np.dtype(stored_as).kind == "i" else "US"
        dataset.add_new("PixelPaddingValue", keyword_type, value)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", keyword_type, limit)

    return edit


@pytest.mark.parametrize(
    "edit", [padded(-2000), padded(-2000, -1500), padded(63536, stored_as=np.uint16), padded(5000, 6000)]
)
def test_padding_becomes_minus_1024(tmp_path, edit):
    make_series(tmp_path / "ct", ARRAY, edit=edit)
    volume = read(tmp_path / "ct")
    assert (volume.array[:, :, :2] == -1024).all()
    np.testing.assert_array_equal(volume.array[:, :, 2:], ARRAY[:, :, 2:])


def test_padding_value_written_unsigned_for_signed_pixels(tmp_path):
    def edit(dataset, index):
        padded(-2000)(dataset, index)
        dataset.add_new("PixelPaddingValue", "US", 63536)

    make_series(tmp_path / "ct", ARRAY, edit=edit)
    assert (read(tmp_path / "ct").array[:, :, :2] == -1024).all()


def test_padding_value_of_tissue_takes_only_what_touches_the_border(tmp_path):
    make_series(tmp_path / "ct", ARRAY, edit=padded(1024 + 40))
    volume = read(tmp_path / "ct")
    assert (volume.array[:, :, :2] == -1024).all()
    inside = (slice(None), slice(6, 14), slice(6, 20))
    assert (ARRAY[inside] == 40).any()
    np.testing.assert_array_equal(volume.array[inside], ARRAY[inside])


def test_twelve_stored_bits_with_overlay_or_sign(tmp_path):
    def overlay(dataset, index):
        set_pixels(dataset, (ARRAY[index].astype(int) + 1024).astype(np.uint16) | 0x8000, 12)

    def signed(dataset, index):
        stored = ARRAY[index].astype(np.int16) & 0x0FFF
        set_pixels(dataset, stored, 12)
        dataset.PixelRepresentation, dataset.RescaleIntercept = 1, 0

    for name, edit in (("overlay", overlay), ("signed", signed)):
        make_series(tmp_path / name, ARRAY, edit=edit)
        np.testing.assert_array_equal(read(tmp_path / name).array, ARRAY)


@pytest.mark.parametrize("syntax", list(UNCOMPRESSED))
def test_uncompressed_transfer_syntaxes(tmp_path, syntax):
    make_series(tmp_path / "ct", ARRAY, syntax=UNCOMPRESSED[syntax])
    np.testing.assert_array_equal(read(tmp_path / "ct").array, ARRAY)


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("signed", [False, True])
def test_compressed_transfer_syntaxes(tmp_path, syntax, signed):
    def edit(dataset, index):
        if signed:
            set_pixels(dataset, ARRAY[index], 16)
            dataset.RescaleIntercept = 0

    for file in make_series(tmp_path / "ct", ARRAY, edit=edit):
        compress(file, syntax)
    np.testing.assert_array_equal(read(tmp_path / "ct").array, ARRAY)


def test_rle_by_pydicom(tmp_path):
    def pack(dataset, index):
        dataset.compress(RLELossless)

    make_series(tmp_path / "ct", ARRAY, edit=pack)
    np.testing.assert_array_equal(read(tmp_path / "ct").array, ARRAY)


def test_files_without_preamble(tmp_path):
    for file in make_series(tmp_path / "ct", ARRAY, syntax=UNCOMPRESSED["implicit"]):
        content = file.read_bytes()
        # The meta information is dropped too: bare group 0008, as the oldest writers did.
        file.write_bytes(content[content.index(b"\x08\x00\x08\x00") :])
    np.testing.assert_array_equal(read(tmp_path / "ct").array, ARRAY)


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("syntax", [None, *COMPRESSED])
@pytest.mark.parametrize("lost", [0.3, 0.02])
def test_truncated_pixel_data_names_the_file(tmp_path, syntax, lost, capfd):
    files = make_series(tmp_path / "ct", ARRAY)
    if syntax:
        for file in files:
            compress(file, syntax)
    content = files[4].read_bytes()
    files[4].write_bytes(content[: int(len(content) * (1 - lost))])
    assert "IM0004.dcm" in refused(UnreadableFileError, tmp_path / "ct").message
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("size", [132, 140, 200])
def test_truncated_headers(tmp_path, size):
    files = make_series(tmp_path / "ct", ARRAY)
    files[4].write_bytes(files[4].read_bytes()[:size])
    with pytest.raises((UnreadableFileError, MissingSlicesError)) as caught:
        read(tmp_path / "ct")
    assert_clean(caught.value)


def test_missing_pixel_data(tmp_path):
    def drop(dataset, index):
        if index == 3:
            del dataset.PixelData

    make_series(tmp_path / "ct", ARRAY, edit=drop)
    assert "IM0003.dcm" in refused(UnreadableFileError, tmp_path / "ct").message


def test_text_that_only_starts_like_dicom(tmp_path):
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"Doe^Jane" * 50)
    with pytest.raises((UnreadableFileError, NotComputedTomographyError)) as caught:
        read(tmp_path / "ct")
    assert_clean(caught.value)


def test_nifti_of_the_same_patient_agrees_with_the_dicom_series(tmp_path):
    make_series(tmp_path / "ct", ARRAY)
    first = read(tmp_path / "ct")
    second = read(save(tmp_path / "ct.nii.gz", ARRAY.transpose(2, 1, 0), canonical_affine()))
    assert first.identifier == second.identifier


def test_memory_stays_near_that_of_one_output_array(tmp_path):
    array = phantom((100, 256, 256))
    make_series(tmp_path / "ct", array)
    read(tmp_path / "ct")  # imports and caches
    tracemalloc.start()
    read(tmp_path / "ct")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * array.nbytes


def test_damaged_files_print_neither_paths_nor_names(tmp_path):
    for file in make_series(tmp_path / "Doe^Jane", ARRAY):
        compress(file, "JPEGLosslessProcess14_1")
        file.write_bytes(file.read_bytes()[:-50])
    ran = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "Doe^Jane")], capture_output=True, text=True)
    assert ran.stdout.strip() == "unreadable-file"
    assert "Doe" not in ran.stderr
