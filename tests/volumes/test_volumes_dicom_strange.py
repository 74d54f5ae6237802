"""Odd attributes: private ones, missing ones, wrong character sets, several frames of reference, copies."""

import shutil

import numpy as np
import pytest
from dicom_maker import make_series, set_pixels, setting
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from volume_maker import phantom, refused

from covid_bert.errors import (
    DuplicateSlicesError,
    GeometryError,
    InvalidValuesError,
    MixedSeriesError,
    NotComputedTomographyError,
    UnreadableFileError,
)
from covid_bert.volumes import read

ARRAY = phantom()


def same(folder, *, warnings=0):
    """Check that a folder is read to the phantom."""
    volume = read(folder)
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert len(volume.warnings) == warnings
    return volume


# ---------------------------------------------------------------- attributes that are there, or are not


def with_private(dataset, index):
    """Private attributes of three writers, some of which look like others, one nested, one of an unknown VR."""
    block = dataset.private_block(0x0021, "MADE BY NOBODY", create=True)
    block.add_new(0x01, "DS", "NaN")
    block.add_new(0x02, "UN", b"\xfe\xff\x00\xe0" * 40)
    inner = Dataset()
    inner.RescaleSlope, inner.ImagePositionPatient, inner.Rows = 17, [0, 0, 0], 3
    block.add_new(0x03, "SQ", [inner, Dataset()])
    dataset.add_new((0x0029, 0x1010), "OB", bytes(range(256)) * 40)
    dataset.add_new((0x7FE1, 0x1010), "OB", b"behind the pixel data" * 10 + b"\0\0")


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_private_attributes_change_nothing(tmp_path, syntax):
    make_series(tmp_path / "ct", ARRAY, edit=with_private, syntax=syntax)
    same(tmp_path / "ct")


OPTIONAL = [
    "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "ImageType", "InstanceNumber",
    "ConvolutionKernel", "RescaleType", "SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "HighBit",
    "PatientName", "PatientID", "SOPInstanceUID",
]  # fmt: skip


@pytest.mark.parametrize("damage", ["absent", "empty"])
def test_attributes_that_can_be_done_without(tmp_path, damage):
    for keyword in OPTIONAL:

        def spoil(dataset, index, keyword=keyword):
            if damage == "absent":
                delattr(dataset, keyword)
            else:
                dataset[keyword].value = None

        make_series(tmp_path / keyword, ARRAY, edit=spoil)
        same(tmp_path / keyword)


@pytest.mark.parametrize("keyword", ["BitsAllocated", "PixelRepresentation"])
def test_attributes_without_which_values_are_unknown(tmp_path, keyword):
    make_series(tmp_path / "ct", ARRAY, edit=lambda dataset, _: delattr(dataset, keyword))
    assert keyword in refused(UnreadableFileError, tmp_path / "ct").message


def test_a_missing_modality_is_no_ct(tmp_path):
    make_series(tmp_path / "ct", ARRAY, edit=lambda dataset, _: delattr(dataset, "Modality"))
    assert "unknown" in refused(NotComputedTomographyError, tmp_path / "ct").message


@pytest.mark.parametrize("photometric", ["MONOCHROME3", "MONOCHROME", "Doe^Jane"])
def test_unknown_colours_are_refused_before_a_decoder_sees_them(tmp_path, photometric):
    make_series(tmp_path / "ct", ARRAY, edit=setting("PhotometricInterpretation", photometric))
    refused(NotComputedTomographyError, tmp_path / "ct")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("BitsAllocated", 12), ("BitsStored", 17), ("BitsStored", 0), ("HighBit", 3)],
)
def test_impossible_bits(tmp_path, keyword, value):
    make_series(tmp_path / "ct", ARRAY, edit=setting(keyword, value))
    refused(UnreadableFileError, tmp_path / "ct")


@pytest.mark.parametrize(
    "charset",
    [
        "ISO_IR 999",
        "nonsense",
        ["", "ISO 2022 IR 87"],
        ["ISO 2022 IR 87", "x"],
        "utf-16",
        "zlib",
        "idna",
        "GB18030\\x",
        "",
    ],
)
def test_wrong_character_sets_are_tolerated(tmp_path, charset):
    def edit(dataset, index):
        dataset.SeriesDescription, dataset.ConvolutionKernel = "Thorax", "KERNEL"
        dataset.PatientName = "Doe^Jane"

    for file in make_series(tmp_path / "ct", ARRAY, edit=edit):
        content = file.read_bytes()
        # Bytes that no such set has.
        content = content.replace(b"KERNEL", b"\x1b$B\xff\xfe\x80")
        stated = "\\".join(charset) if isinstance(charset, list) else charset
        stated = stated.encode() + b" " * (len(stated) % 2)
        at = content.index(b"\x08\x00\x08\x00CS")
        element = b"\x08\x00\x05\x00CS" + len(stated).to_bytes(2, "little") + stated
        file.write_bytes(content[:at] + element + content[at:])
    same(tmp_path / "ct")


# ---------------------------------------------------------------- several of something


def test_several_frames_of_reference_are_refused(tmp_path):
    first, second = generate_uid(), generate_uid()

    def edit(dataset, index):
        dataset.FrameOfReferenceUID = first if index < 6 else second

    make_series(tmp_path / "two", ARRAY, edit=edit)
    assert "frames of reference" in refused(GeometryError, tmp_path / "two").message

    def in_some(dataset, index):
        dataset.FrameOfReferenceUID = first if index % 2 else ""

    make_series(tmp_path / "one", ARRAY, edit=in_some)
    same(tmp_path / "one")


def test_one_series_in_two_studies_is_refused(tmp_path):
    studies = generate_uid(), generate_uid()

    def edit(dataset, index):
        dataset.StudyInstanceUID = studies[index % 2]

    make_series(tmp_path / "ct", ARRAY, edit=edit)
    assert "studies" in refused(MixedSeriesError, tmp_path / "ct").message


def test_copies_are_left_out_with_a_warning(tmp_path):
    files = make_series(tmp_path / "ct", ARRAY)
    for index in (0, 3, 3):
        shutil.copy(files[index], tmp_path / "ct" / f"{len(list((tmp_path / 'ct').iterdir()))} again.dcm")
    volume = same(tmp_path / "ct", warnings=1)
    assert volume.warnings[0].startswith("3 ")
    assert len(set(volume.source.sop_instance_uids)) == 12


def test_the_same_slice_under_another_uid_is_a_copy(tmp_path):
    names = [f"first{index}" for index in range(12)]
    uid = generate_uid()

    def one_series(dataset, index):
        dataset.StudyInstanceUID = dataset.SeriesInstanceUID = uid

    make_series(tmp_path / "ct", ARRAY, edit=one_series, names=names)
    make_series(tmp_path / "ct", ARRAY, edit=one_series)
    assert same(tmp_path / "ct", warnings=1).warnings[0].startswith("12 ")


def test_one_uid_for_different_pixels_is_refused(tmp_path):
    files = make_series(tmp_path / "ct", ARRAY)
    content = bytearray(files[3].read_bytes())
    content[-1000] ^= 1
    (tmp_path / "ct" / "changed.dcm").write_bytes(content)
    assert "SOPInstanceUID" in refused(DuplicateSlicesError, tmp_path / "ct").message


def test_one_uid_for_slices_of_different_places_is_refused(tmp_path):
    """What is written about such slices could not say which of them it means."""
    make_series(tmp_path / "ct", ARRAY, edit=setting("SOPInstanceUID", generate_uid()))
    assert "SOPInstanceUID" in refused(DuplicateSlicesError, tmp_path / "ct").message


# ---------------------------------------------------------------- rescale


def test_a_negative_slope_is_applied(tmp_path):
    def edit(dataset, index):
        set_pixels(dataset, (3000 - ARRAY[index].astype(int)).astype(np.uint16), 16)
        dataset.RescaleSlope, dataset.RescaleIntercept = -1, 3000

    make_series(tmp_path / "ct", ARRAY, edit=edit)
    same(tmp_path / "ct")


def test_a_large_intercept_of_32_bit_values_loses_nothing(tmp_path):
    def edit(dataset, index):
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 32, 32, 31, 0
        dataset.PixelData = (ARRAY[index].astype(np.int64) + 2**31).astype("<u4").tobytes()
        dataset.RescaleIntercept = -(2**31)

    make_series(tmp_path / "ct", ARRAY, edit=edit)
    same(tmp_path / "ct")


def test_values_beyond_sixteen_bits_are_kept(tmp_path):
    array = ARRAY.astype(np.int32)
    array[3, 9, 9] = 40_000

    def edit(dataset, index):
        set_pixels(dataset, (array[index] + 1024).astype(np.uint16), 16)

    make_series(tmp_path / "ct", ARRAY, edit=edit)
    volume = read(tmp_path / "ct")
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("RescaleSlope", "1E6"), ("RescaleSlope", "-1E300"), ("RescaleIntercept", "-99999999")],
)
@pytest.mark.parametrize("where", [range(12), [5]])
def test_a_rescale_to_values_that_no_ct_has(tmp_path, keyword, value, where):
    def edit(dataset, index):
        if index in where:
            setattr(dataset, keyword, value)

    make_series(tmp_path / "ct", ARRAY, edit=edit)
    assert "rescale" in refused(InvalidValuesError, tmp_path / "ct").message


@pytest.mark.parametrize("value", [b"1,0", b"NaN ", b"inf ", b"1\\2 ", b"one "])
@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescale_that_is_no_number(tmp_path, keyword, value):
    def edit(dataset, index):
        dataset.RescaleSlope, dataset.RescaleIntercept = "1.00", "-1024.0 "
        setattr(dataset, keyword, "7777")

    for file in make_series(tmp_path / "ct", ARRAY, edit=edit):
        content = file.read_bytes()
        spoiled = content.replace(b"7777", value.ljust(4))
        file.write_bytes(spoiled)
    assert "not a number" in refused(InvalidValuesError, tmp_path / "ct").message


def test_a_table_in_place_of_a_rescale(tmp_path):
    def edit(dataset, index):
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [2, 0, 16], "HU", b"\0" * 4
        dataset.ModalityLUTSequence = [table]

    make_series(tmp_path / "ct", ARRAY, edit=edit)
    assert "Modality LUT" in refused(NotComputedTomographyError, tmp_path / "ct").message
