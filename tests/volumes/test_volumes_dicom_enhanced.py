"""Enhanced multi-frame CT is read like the series of single slices that it stands for."""

import tracemalloc

import numpy as np
import pydicom
import pytest
from dicom_maker import COMPRESSED, UNCOMPRESSED, compress, make_series
from multi_frame_maker import make_cine, make_enhanced, one, pack
from pydicom.encaps import generate_pixel_data_frame
from volume_maker import canonical_affine, phantom, refused

from covid_bert.errors import (
    DuplicateSlicesError,
    GeometryError,
    MissingSlicesError,
    MixedSeriesError,
    NotComputedTomographyError,
    NotFoundError,
    TooLargeError,
    UnreadableFileError,
)
from covid_bert.volumes import read
from covid_bert.volumes.assembly import voxel_limit

ARRAY = phantom()
OTHER = phantom(seed=9)
SHUFFLED = [int(index) for index in np.random.default_rng(2).permutation(12)]


@pytest.mark.parametrize("shared", [("orientation", "spacing"), ("spacing",), ()])
def test_frames_in_any_order_are_read_like_single_slices(tmp_path, shared):
    make_series(tmp_path / "slices", ARRAY)
    single = read(tmp_path / "slices")
    file = make_enhanced(tmp_path / "ct" / "enhanced.dcm", ARRAY, order=SHUFFLED, shared=shared)
    for path in (file, file.parent):
        volume = read(path)
        np.testing.assert_array_equal(volume.array, single.array)
        np.testing.assert_allclose(volume.affine, single.affine)
        assert volume.identifier == single.identifier
        assert volume.warnings == ()
        assert len(set(volume.source.sop_instance_uids)) == 1
        assert [SHUFFLED[number - 1] for number in volume.source.frame_numbers] == list(range(12))
    assert single.source.frame_numbers == (0,) * 12


def test_each_frame_has_its_own_rescale(tmp_path):
    scales = [(1 + index % 3, -1024 - 8 * index) for index in range(12)]
    array = ARRAY.copy()
    for index, (slope, intercept) in enumerate(scales):
        array[index] -= (array[index] - intercept) % slope
    file = make_enhanced(tmp_path / "enhanced.dcm", array, order=SHUFFLED, scales=scales)
    np.testing.assert_array_equal(read(file).array, np.maximum(array, -1024))


def test_coronal_frames_descending(tmp_path):
    # Rows to the left, columns to the foot; slices from front to back.
    array = phantom((14, 22, 18))
    stack = array.transpose(1, 0, 2)[:, ::-1, :]
    file = make_enhanced(
        tmp_path / "c.dcm", stack, orientation=(1, 0, 0, 0, 0, -1), spacing=(1, 1, 1), order=range(21, -1, -1)
    )
    np.testing.assert_array_equal(read(file).array, array)


@pytest.mark.parametrize("syntax", list(UNCOMPRESSED))
def test_uncompressed_frames(tmp_path, syntax):
    file = make_enhanced(tmp_path / "enhanced.dcm", ARRAY, order=SHUFFLED, syntax=UNCOMPRESSED[syntax])
    np.testing.assert_array_equal(read(file).array, ARRAY)


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_compressed_frames(tmp_path, syntax):
    codestreams, uid = [], None
    for file in make_series(tmp_path / "slices", ARRAY):
        compress(file, syntax)
        dataset = pydicom.dcmread(file)
        uid = dataset.file_meta.TransferSyntaxUID
        codestreams.append(next(generate_pixel_data_frame(dataset.PixelData, 1)))
    file = make_enhanced(tmp_path / "enhanced.dcm", ARRAY)
    pack(file, codestreams, uid)
    np.testing.assert_array_equal(read(file).array, ARRAY)
    pack(file, codestreams[:-1], uid)
    refused(UnreadableFileError, file)


def test_several_files_of_one_series_are_one_volume(tmp_path):
    """A concatenation: long images are cut into several files."""
    make_enhanced(tmp_path / "ct" / "a.dcm", ARRAY, order=range(7, 12))
    make_enhanced(tmp_path / "ct" / "b.dcm", ARRAY, order=range(7))
    volume = read(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, canonical_affine(origin=(30.0, 12.0, -140.0)))
    assert len(set(volume.source.sop_instance_uids)) == 2


def test_stacks_that_follow_each_other_are_one_volume(tmp_path):
    file = make_enhanced(tmp_path / "enhanced.dcm", ARRAY, stacks=[1] * 5 + [2] * 7)
    np.testing.assert_array_equal(read(file).array, ARRAY)


def two(first, second):
    """Slices of two arrays at the same places, as `origin` and `spacing` of the maker go by the index."""
    return np.concatenate([first, second])


def at_the_same_places(dataset):
    frames = dataset.PerFrameFunctionalGroupsSequence
    for index, frame in enumerate(frames):
        frame.PlanePositionSequence[0].ImagePositionPatient[2] = -140 + 2.5 * (index % 12)


@pytest.mark.parametrize("keyword", ["stacks", "phases"])
def test_stacks_and_phases_at_the_same_places_ask_for_a_choice(tmp_path, keyword):
    parts = [1] * 12 + [2] * 12
    file = make_enhanced(tmp_path / "enhanced.dcm", two(ARRAY, OTHER), edit=at_the_same_places, **{keyword: parts})
    error = refused(MixedSeriesError, file)
    assert [entry["number"] for entry in error.details["series"]] == ["3/1", "3/2"]
    np.testing.assert_array_equal(read(file, series="3/2").array, OTHER)
    np.testing.assert_array_equal(read(file, series=error.details["series"][0]["series_instance_uid"]).array, ARRAY)
    assert "3/1" in refused(MixedSeriesError, file, series="3").hint
    refused(NotFoundError, file, series="3/9")


def test_frames_at_one_place_without_a_name_are_refused(tmp_path):
    file = make_enhanced(tmp_path / "enhanced.dcm", two(ARRAY, OTHER), edit=at_the_same_places)
    refused(DuplicateSlicesError, file)


def test_missing_frames_and_other_kinds_are_told(tmp_path):
    def localizer(dataset):
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            frame.CTImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]

    def without_positions(dataset):
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            del frame.PlanePositionSequence

    def fewer_described(dataset):
        del dataset.PerFrameFunctionalGroupsSequence[-1]

    def fewer_pixels(dataset):
        dataset.PixelData = dataset.PixelData[:-2000]

    def by_table(dataset):
        dataset.ModalityLUTSequence = one(LUTDescriptor=[2, 0, 16], ModalityLUTType="HU", LUTData=b"\0" * 4)

    refused(MissingSlicesError, make_enhanced(tmp_path / "gap.dcm", ARRAY, order=[0, 1, 2, 3, 5, 6, 7, 8, 9]))
    for error_class, edit in (
        (NotComputedTomographyError, localizer),
        (GeometryError, without_positions),
        (UnreadableFileError, fewer_described),
        (UnreadableFileError, fewer_pixels),
        (NotComputedTomographyError, by_table),
    ):
        refused(error_class, make_enhanced(tmp_path / f"{edit.__name__}.dcm", ARRAY, edit=edit))


def test_one_frame_alone_is_a_slice(tmp_path):
    for index in range(12):
        make_enhanced(tmp_path / "ct" / f"{index}", ARRAY, order=[index])
    np.testing.assert_array_equal(read(tmp_path / "ct").array, ARRAY)


def test_a_file_of_5000_frames_is_refused_by_its_header(tmp_path, monkeypatch):
    file = make_cine(tmp_path / "long.dcm", ARRAY[0], 5000)
    monkeypatch.setattr("covid_bert.volumes.dicom.read_hounsfield", lambda _: pytest.fail("pixels were read"))
    with voxel_limit(5000 * ARRAY[0].size - 1):
        refused(TooLargeError, file)


def test_a_cine_of_5000_frames_at_one_place_is_no_volume(tmp_path):
    file = make_cine(tmp_path / "cine.dcm", ARRAY[0], 5000, step=0.0)
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    assert refused(DuplicateSlicesError, file).details["duplicates"] == 4999


def test_many_frames_are_read_one_at_a_time(tmp_path):
    array = np.tile(phantom((1, 128, 128)), (400, 1, 1))
    file = make_cine(tmp_path / "long.dcm", array[0], 400)
    assert file.stat().st_size > 2 * array.size
    read(file)  # imports and caches
    tracemalloc.start()
    volume = read(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(volume.array, array)
    # One array of the volume, and the header of 400 frames; the file's pixel data would be a second one.
    assert peak < 1.8 * array.nbytes
