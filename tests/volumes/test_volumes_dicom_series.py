"""Which DICOM series of a folder is read."""

import shutil

import numpy as np
import pytest
from dicom_maker import make_series
from pydicom.data import get_testdata_file
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage
from volume_maker import phantom, refused

from covid_bert.errors import (
    MixedSeriesError,
    NotComputedTomographyError,
    NotFoundError,
    TooFewSlicesError,
    UnreadableFileError,
)
from covid_bert.volumes import read

ARRAY = phantom()


def test_several_series_ask_for_a_choice(tmp_path):
    make_series(tmp_path / "study", ARRAY, number=2)
    other = phantom(seed=9)
    make_series(tmp_path / "study", other, number=5, names=[f"soft{index}" for index in range(12)])
    error = refused(MixedSeriesError, tmp_path / "study")
    assert "series=" in error.hint
    listed = error.details["series"]
    assert {entry["number"] for entry in listed} == {"2", "5"}
    assert set(listed[0]) == {
        "number", "modality", "slices", "spacing", "rows", "columns", "kernel", "series_instance_uid",
    }  # fmt: skip
    assert (listed[0]["slices"], listed[0]["spacing"], listed[0]["kernel"]) == (12, 2.5, "B60f")

    np.testing.assert_array_equal(read(tmp_path / "study", series="5").array, other)
    by_uid = next(entry for entry in listed if entry["number"] == "2")["series_instance_uid"]
    volume = read(tmp_path / "study", series=by_uid)
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.source.series_instance_uid == by_uid
    assert "2, 5" in refused(NotFoundError, tmp_path / "study", series="7").hint


def test_a_number_that_two_series_share_is_no_choice(tmp_path):
    make_series(tmp_path / "study", ARRAY, number=2)
    make_series(tmp_path / "study", ARRAY, number=2, names=[f"b{index}" for index in range(12)])
    assert "SeriesInstanceUID" in refused(MixedSeriesError, tmp_path / "study", series="2").hint


def as_localizer(dataset, index):
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def as_pet(dataset, index):
    dataset.Modality = "PT"


def as_capture(dataset, index):
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    del dataset.ImagePositionPatient


def as_report(dataset, index):
    dataset.SOPClassUID, dataset.Modality = ComprehensiveSRStorage, "SR"
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(dataset, keyword)


def as_colour(dataset, index):
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"


def as_iodine_map(dataset, index):
    dataset.RescaleType = "MGML"


def as_monitoring(dataset, index):
    dataset.ImagePositionPatient = [-30, -12, -140]


@pytest.mark.parametrize("edit", [as_localizer, as_pet, as_capture, as_report, as_colour, as_iodine_map, as_monitoring])
def test_other_series_are_left_aside_with_a_warning(tmp_path, edit):
    make_series(tmp_path / "study", ARRAY)
    make_series(tmp_path / "study", ARRAY, edit=edit, number=9, names=[f"x{index}" for index in range(12)])
    volume = read(tmp_path / "study")
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert len(volume.warnings) == 1
    assert volume.warnings[0].startswith("12 ")


def test_a_short_series_beside_the_study_is_left_aside(tmp_path):
    make_series(tmp_path / "study", ARRAY)
    make_series(tmp_path / "study", ARRAY[:3], number=9, names=["x", "y", "z"])
    volume = read(tmp_path / "study")
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.warnings


def test_a_localizer_inside_the_series_is_left_aside(tmp_path):
    def first_is_localizer(dataset, index):
        if index == 0:
            as_localizer(dataset, index)

    make_series(tmp_path / "ct", np.concatenate([ARRAY[:1], ARRAY]), edit=first_is_localizer)
    np.testing.assert_array_equal(read(tmp_path / "ct").array, ARRAY)


@pytest.mark.parametrize("edit", [as_localizer, as_pet, as_capture, as_report, as_colour, as_iodine_map])
def test_no_ct_at_all(tmp_path, edit):
    files = make_series(tmp_path / "study", ARRAY, edit=edit)
    refused(NotComputedTomographyError, tmp_path / "study")
    refused(NotComputedTomographyError, files[0])


def test_single_slices_of_several_patients(tmp_path):
    for number in range(9):
        make_series(tmp_path / "study", ARRAY[:1], number=number, names=[f"p{number}"])
    error = refused(TooFewSlicesError, tmp_path / "study")
    assert len(error.details["series"]) == 9


def test_frames_that_nothing_says_the_places_of_are_refused(tmp_path):
    def frames(dataset, index):
        dataset.NumberOfFrames = 12
        dataset.PixelData = dataset.PixelData * 12

    files = make_series(tmp_path / "study", ARRAY[:1], edit=frames)
    assert "multi-frame" in refused(UnreadableFileError, files[0]).message
    assert "multi-frame" in refused(UnreadableFileError, tmp_path / "study").message


def test_other_files_among_the_slices_are_ignored(tmp_path):
    make_series(tmp_path / "ct", ARRAY)
    (tmp_path / "ct" / "VERSION.txt").write_text("Doe^Jane")
    (tmp_path / "ct" / "preview.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "ct" / "._IM0001.dcm").write_bytes(b"\0" * 128 + b"DICM")
    shutil.copy(get_testdata_file("DICOMDIR"), tmp_path / "ct" / "DICOMDIR")
    volume = read(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.warnings == ()


def test_a_directory_file_alone_is_no_study(tmp_path):
    shutil.copy(get_testdata_file("DICOMDIR"), tmp_path / "DICOMDIR")
    refused(UnreadableFileError, tmp_path / "DICOMDIR")
