"""Which series of a study is taken, and whether all of its slices are there."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_maker import make_series, setting
from result_maker import classify
from router_maker import make_study
from volume_maker import phantom

from covid_bert.errors import InputError, MissingSlicesError, MixedSeriesError
from covid_bert.progress import Progress
from covid_bert.router.classifying import compute, read_chest, write_results

TALL = {"spacing": (12.0, 0.7, 0.9)}


def add_series(folder: Path, name: str, study: pydicom.Dataset, count: int = 12, **options) -> str:
    """Another series of the same study."""

    def edit(dataset, index):
        dataset.StudyInstanceUID = study.StudyInstanceUID

    array = np.repeat(phantom(), -(-count // 12), axis=0)[:count]
    return pydicom.dcmread(make_series(folder / name, array, edit=edit, **options)[0]).SeriesInstanceUID


def test_the_thinnest_of_the_highest_series_is_taken(tmp_path: Path) -> None:
    first = pydicom.dcmread(make_study(tmp_path / "thick", **TALL)[0])
    thin = add_series(tmp_path, "thin", first, count=24, spacing=(6.0, 0.7, 0.9), number=9)
    add_series(tmp_path, "low", first, spacing=(1.0, 0.7, 0.9), number=1)
    assert read_chest(tmp_path).source.series_instance_uid == thin


def test_of_equal_series_the_first_number_is_taken(tmp_path: Path) -> None:
    first = pydicom.dcmread(make_study(tmp_path / "a", number=10, **TALL)[0])
    wanted = add_series(tmp_path, "b", first, number=9, **TALL)
    assert read_chest(tmp_path).source.series_instance_uid == wanted


def test_series_that_are_no_chest_are_not_chosen_from(tmp_path: Path) -> None:
    first = pydicom.dcmread(make_study(tmp_path / "a", spacing=(1.0, 0.7, 0.9))[0])
    add_series(tmp_path, "b", first, spacing=(2.0, 0.7, 0.9))
    with pytest.raises(MixedSeriesError):
        read_chest(tmp_path)


def test_a_better_series_that_lacks_slices_is_waited_for_unless_an_operator_says_otherwise(tmp_path: Path) -> None:
    first = pydicom.dcmread(make_study(tmp_path / "thick", **TALL)[0])
    add_series(tmp_path, "thin", first, count=24, spacing=(6.0, 0.7, 0.9), skip=(5,))
    with pytest.raises(MissingSlicesError):
        read_chest(tmp_path)
    assert read_chest(tmp_path, forced=True).source.series_instance_uid == first.SeriesInstanceUID


def test_a_better_series_that_cannot_be_used_at_all_is_passed_over(tmp_path: Path) -> None:
    first = pydicom.dcmread(make_study(tmp_path / "thick", **TALL)[0])

    def other_series(dataset, index):
        dataset.StudyInstanceUID = first.StudyInstanceUID
        dataset.FrameOfReferenceUID = f"1.2.3.{index}"

    make_series(tmp_path / "thin", np.repeat(phantom(), 2, axis=0), spacing=(6.0, 0.7, 0.9), edit=other_series)
    assert read_chest(tmp_path).source.series_instance_uid == first.SeriesInstanceUID


@pytest.mark.parametrize("keyword", ["ImagesInAcquisition", "NumberOfSeriesRelatedInstances"])
def test_files_say_how_many_there_should_be(tmp_path: Path, keyword: str) -> None:
    files = make_study(tmp_path, edit=setting(keyword, 12))
    assert read_chest(tmp_path).shape[0] == 12
    files[-1].unlink()
    files[-2].unlink()
    with pytest.raises(MissingSlicesError, match="2 image"):
        read_chest(tmp_path)
    assert read_chest(tmp_path, forced=True).shape[0] == 10


def test_an_acquisition_with_several_reconstructions_is_whole_with_all_of_them(tmp_path: Path) -> None:
    files = make_study(tmp_path / "a", edit=setting("ImagesInAcquisition", 24), **TALL)
    with pytest.raises(MissingSlicesError):
        read_chest(tmp_path)
    add_series(tmp_path, "b", pydicom.dcmread(files[0]), **TALL)
    assert read_chest(tmp_path).shape[0] == 12


class _System:
    def classify(self, volume, **_):
        return classify(volume)


def _request(study: Path, known: str | None = None) -> dict:
    return {"study": str(study), "known": known, "forced": False}


def test_results_are_written_in_the_order_to_store_them_and_once(tmp_path: Path) -> None:
    study, out = tmp_path / "study", tmp_path / "out"
    make_study(study)
    write = functools.partial(write_results, lambda _: _System(), "cpu")
    files, params = compute(write, _request(study), Progress(), out)
    assert [path.name for path in sorted(files.values())] == [
        "0-lungs.dcm",
        "1-lesions.dcm",
        "2-s1-small.measurements.dcm",
        "3-s1-small.report.dcm",
        "4-s1-small.picture.dcm",
    ]
    again, _ = compute(write, _request(study, params["answer"]), Progress(), out)
    assert again == {}


def test_what_cannot_be_classified_says_why(tmp_path: Path) -> None:
    make_study(tmp_path / "study", edit=setting("Modality", "MR"))
    with pytest.raises(InputError):
        compute(pytest.fail, _request(tmp_path / "study"), Progress(), tmp_path / "out")
