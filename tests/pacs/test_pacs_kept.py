"""What is kept of an archive: room is made by what was used longest ago; what is labelled or being read stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from covid_bert.datastore.scan import Scanner
from covid_bert.errors import OutputError
from covid_bert.pacs.kept import IMAGES, Kept, SeriesRecord, identifier_of_series, read_record, worth_fetching
from covid_bert.pacs.settings import PacsSettings, write_settings

_MEBIBYTE = 2**20
_HOUR = 3600.0


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    write_settings(tmp_path, PacsSettings(url="https://pacs.example/dicom-web"))
    return Kept(tmp_path)


def _fetched(folder: Path, kept: Kept, uid: str, *, hours: float, mebibytes: int = 1) -> Path:
    """Offer a series whose images were used some hours ago."""
    kept.offer(SeriesRecord(study="1.2", series=uid, instances=1))
    image = folder / identifier_of_series(uid)
    (image / IMAGES).mkdir()
    (image / IMAGES / "one.dcm").write_bytes(bytes(mebibytes * _MEBIBYTE))
    used = time.time() - hours * _HOUR
    os.utime(image / IMAGES, (used, used))
    return image


def _here(image: Path) -> bool:
    return (image / IMAGES).is_dir()


def test_a_series_is_a_study_under_a_name_that_tells_nothing(tmp_path: Path, kept: Kept) -> None:
    record = SeriesRecord(study="1.2.840.1", series="1.2.840.2", instances=7)
    assert kept.offer(record)
    (identifier,) = Scanner(tmp_path).studies()
    assert identifier == identifier_of_series("1.2.840.2")
    assert "840" not in identifier
    assert read_record(tmp_path / identifier) == record
    assert kept.names() == {identifier}


def test_the_one_that_was_used_longest_ago_makes_room(tmp_path: Path, kept: Kept) -> None:
    old, older, new = (_fetched(tmp_path, kept, f"1.{hours}", hours=hours) for hours in (5, 9, 1))
    kept.make_room(_MEBIBYTE, 3)
    assert [_here(image) for image in (old, older, new)] == [True, False, True]
    assert read_record(older) is not None, "it is still offered"
    kept.make_room(2 * _MEBIBYTE, 3)
    assert [_here(image) for image in (old, older, new)] == [False, False, True]


def test_only_a_sample_is_fetched_for_nothing_but_its_scores(
    tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covid_bert.pacs.kept._SAMPLE", 3)
    for number in range(6):
        kept.offer(SeriesRecord(study="1.2", series=f"1.9.{number}", instances=1))
    studies = {name: tmp_path / name for name in sorted(kept.names())}
    assert list(worth_fetching(studies)) == list(studies)[:3]
    (tmp_path / list(studies)[4] / IMAGES).mkdir()
    (tmp_path / "own").mkdir()
    studies["own"] = tmp_path / "own"
    assert list(worth_fetching(studies)) == [*list(studies)[:3], list(studies)[4], "own"]


def test_images_of_labelled_studies_stay_and_do_not_count(tmp_path: Path, kept: Kept) -> None:
    labelled, other = (_fetched(tmp_path, kept, f"1.{hours}", hours=hours) for hours in (9, 5))
    (tmp_path / "labels" / "study").mkdir(parents=True)
    (tmp_path / "labels" / "study" / f"{labelled.name}.json").write_text("{}")
    kept.make_room(_MEBIBYTE, 1)
    assert _here(labelled)
    assert not _here(other)
    kept.forget(1.0)
    assert _here(labelled)


def test_what_may_be_being_read_stays(tmp_path: Path, kept: Kept) -> None:
    reading = _fetched(tmp_path, kept, "1.1", hours=0.0)
    with pytest.raises(OutputError, match="full") as caught:
        kept.make_room(_MEBIBYTE, 1)
    assert caught.value.details["retry_after"] > 0
    assert _here(reading)


def test_a_series_larger_than_all_may_be_finds_no_room(tmp_path: Path, kept: Kept) -> None:
    with pytest.raises(OutputError, match="pacs_cache_megabytes"):
        kept.make_room(2 * _MEBIBYTE, 1)


def test_a_disk_without_room_is_said(tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covid_bert.pacs.kept.free_bytes", lambda _: _MEBIBYTE)
    with pytest.raises(OutputError, match="disk"):
        kept.make_room(2 * _MEBIBYTE, 1000)


def test_what_nobody_used_for_long_is_forgotten(tmp_path: Path, kept: Kept) -> None:
    old, new = (_fetched(tmp_path, kept, f"1.{hours}", hours=hours) for hours in (9, 5))
    kept.forget(7.0)
    assert [_here(image) for image in (old, new)] == [False, True]


def test_a_changed_series_loses_its_images_and_a_gone_one_its_folder(tmp_path: Path, kept: Kept) -> None:
    changed, gone = (_fetched(tmp_path, kept, f"1.{hours}", hours=hours) for hours in (9, 5))
    (tmp_path / "chest").mkdir()
    assert kept.offer(SeriesRecord(study="1.2", series="1.9", instances=2))
    assert not _here(changed)
    kept.withdraw([changed.name])
    assert not gone.exists()
    assert changed.exists()
    assert (tmp_path / "chest").exists(), "the folder's own studies are not the archive's"
    assert not list((tmp_path / ".pacs" / "incoming").iterdir())


def test_what_a_killed_process_left_is_removed(tmp_path: Path, kept: Kept) -> None:
    left = tmp_path / ".pacs" / "incoming" / "abc" / IMAGES
    left.mkdir(parents=True)
    kept.tidy()
    assert not left.parent.exists()
