"""Export and import of whole label sets: nothing is lost, doubled or named, and nothing strange comes in."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_sites import NAME, bring
from lung_labels import lungs, rewrite_record, save_lungs, say, write_lungs
from small_images import write_image

from covid_bert.datastore import label_import
from covid_bert.datastore.label_export import export_labels
from covid_bert.datastore.label_set import read_label_set
from covid_bert.datastore.opinions import open_split
from covid_bert.datastore.store import StudyDatastore
from covid_bert.errors import CovidBertError, NotFoundError, OutputError, ParameterError
from covid_bert.retraining.split import Shares


def history(folder: Path, study: str) -> list[tuple[Any, ...]]:
    store = StudyDatastore(str(folder))
    return [
        (tag, one.author, one.created, one.removed, one.sha256)
        for tag in ("final", "study")
        for one in store.versions(study, tag)
    ]


def everything(folder: Path) -> dict[str, bytes]:
    files = (path for path in (folder / "labels").rglob("*") if path.is_file() and not path.name.startswith(".split"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_label_set_arrives_with_its_whole_history(site: Path, archive: Path, elsewhere: Path, tmp_path: Path) -> None:
    added, prepared = bring(archive, elsewhere, tmp_path)
    assert (added, prepared.cases, prepared.unknown, prepared.unfit, prepared.elsewhere) == (6, 2, 0, 0, 0)
    assert history(elsewhere, "a") == history(site, NAME)
    assert history(elsewhere, "b") == history(site, "second")
    store = StudyDatastore(str(elsewhere))
    assert store.get_label_info("a", "final")["author"] == "bert"
    assert store.get_label_uri("b", "final") == ""
    here, there = (read_label_set(one, "majority", masks=True, cache=tmp_path / "cache") for one in (site, elsewhere))
    assert [(one.image_sha256, one.mask_sha256, one.study_class, one.part, one.readers) for one in here.studies] == [
        (one.image_sha256, one.mask_sha256, one.study_class, one.part, one.readers) for one in there.studies
    ]


def test_importing_again_changes_nothing(site: Path, archive: Path, elsewhere: Path, tmp_path: Path) -> None:
    bring(archive, elsewhere, tmp_path)
    for folder in (elsewhere, site):
        before = everything(folder)
        assert bring(archive, folder, tmp_path)[0] == 0
        assert everything(folder) == before
    export_labels(elsewhere, tmp_path / "back.zip", tmp_path / "cache")
    assert bring(tmp_path / "back.zip", site, tmp_path)[0] == 0


def test_older_labels_that_come_do_not_take_the_place_of_newer_ones(
    archive: Path, elsewhere: Path, tmp_path: Path
) -> None:
    store = StudyDatastore(str(elsewhere))
    newer = save_lungs(store, tmp_path, "a", "dora", lungs(3))
    say(store, "b", "dora", "other")
    store.remove_label("b", "study", "dora")
    assert bring(archive, elsewhere, tmp_path)[0] == 6
    store = StudyDatastore(str(elsewhere))
    assert store.get_label_info("a", "final")["author"] == "dora"
    assert store.get_label_info("a", "final")["sha256"] == newer.sha256
    assert {one[1] for one in history(elsewhere, "a")} == {"anna", "bert", "dora"}
    assert store.get_labels_by_image_id("b") == {}
    found = read_label_set(elsewhere, "majority", masks=True, cache=tmp_path / "cache")
    assert [(one.identifier, one.readers) for one in found.studies] == [("a", ("anna", "bert", "dora"))]
    before = everything(elsewhere)
    assert bring(archive, elsewhere, tmp_path)[0] == 0
    assert everything(elsewhere) == before


def test_newer_labels_that_come_are_offered(archive: Path, elsewhere: Path, tmp_path: Path) -> None:
    store = StudyDatastore(str(elsewhere))
    save_lungs(store, tmp_path, "a", "dora", lungs(3))
    record = elsewhere / "labels" / ".versions" / "final" / "a" / "000001.json"
    rewrite_record(record, created="2020-01-01T00:00:00.000+00:00")
    bring(archive, elsewhere, tmp_path)
    assert StudyDatastore(str(elsewhere)).get_label_info("a", "final")["author"] == "bert"


def test_a_file_put_there_by_hand_is_exported_and_kept(site: Path, elsewhere: Path, tmp_path: Path) -> None:
    for folder, name, shift in ((site, NAME, 3), (elsewhere, "a", 2)):
        (folder / "labels" / "final").mkdir(parents=True, exist_ok=True)
        write_lungs(folder / "labels" / "final" / f"{name}.nii.gz", lungs(shift))
    export_labels(site, tmp_path / "labels.zip", tmp_path / "cache")
    bring(tmp_path / "labels.zip", elsewhere, tmp_path)
    assert [one[1] for one in history(elsewhere, "a") if one[0] == "final"].count("unknown") >= 2
    before = everything(elsewhere)
    assert bring(tmp_path / "labels.zip", elsewhere, tmp_path)[0] == 0
    assert everything(elsewhere) == before
    bring(tmp_path / "labels.zip", site, tmp_path)
    assert len({one[4] for one in history(site, NAME)}) == len(history(site, NAME)), "none is there twice"


def test_an_export_names_no_study_and_no_patient(archive: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        texts = [archive.read_bytes(), *(opened.read(name) for name in opened.namelist())]
        assert all(member.date_time[0] == 1980 for member in opened.infolist())
    assert not any(b"MUSTERMANN" in text or b"4711" in text for text in texts)
    assert archive.stat().st_mode & 0o077 == 0
    assert b"salt" not in texts[0]


def test_the_frozen_split_travels_with_the_labels(site: Path, elsewhere: Path, tmp_path: Path) -> None:
    open_split(site).change_shares(Shares(training=0.01, validation=0.01))
    open_split(elsewhere).change_shares(Shares(training=0.98, validation=0.01))
    export_labels(site, tmp_path / "labels.zip", tmp_path / "cache")
    bring(tmp_path / "labels.zip", elsewhere, tmp_path)
    here, there = (read_label_set(one, "newest", masks=False, cache=tmp_path / "cache") for one in (site, elsewhere))
    assert {one.image_sha256: one.part for one in here.studies} == {one.image_sha256: one.part for one in there.studies}


def test_other_images_are_refused(site: Path, archive: Path, elsewhere: Path, tmp_path: Path) -> None:
    write_image(elsewhere / "b.nii.gz", 7)
    with pytest.raises(NotFoundError, match="1 of 2"):
        bring(archive, elsewhere, tmp_path)
    assert everything(elsewhere) == {}
    added, prepared = bring(archive, elsewhere, tmp_path, known_only=True)
    assert (added, prepared.unknown) == (3, 1)
    assert StudyDatastore(str(elsewhere)).get_labels_by_image_id("b") == {}
    (elsewhere / "a.nii.gz").unlink()
    with pytest.raises(NotFoundError):
        bring(archive, elsewhere, tmp_path, known_only=True)


def test_what_does_not_fit_its_image_is_left_out(site: Path, elsewhere: Path, tmp_path: Path) -> None:
    """Put there by hand, where nobody checked them."""
    write_lungs(site / "labels" / "final" / f"{NAME}.nii.gz", np.ones((9, 9, 9), np.uint8))
    (site / "labels" / "study" / f"{NAME}.json").write_text('{"study_class": "plague"}')
    export_labels(site, tmp_path / "labels.zip", tmp_path / "cache")
    added, prepared = bring(tmp_path / "labels.zip", elsewhere, tmp_path)
    assert (added, prepared.unfit) == (6, 2)
    assert StudyDatastore(str(elsewhere)).study_label("a")[0].study_class == "covid"


def test_damaged_versions_and_studies_without_image_are_counted(site: Path, tmp_path: Path) -> None:
    path = site / "labels" / ".versions" / "final" / NAME / "000001.data.nii.gz"
    path.write_bytes(path.read_bytes()[:-10])
    rewrite_record(path.with_name("000002.json"), created="yesterday")
    (site / "second.nii.gz").unlink()
    exported = export_labels(site, tmp_path / "labels.zip", tmp_path / "cache")
    assert (exported.cases, exported.versions, exported.damaged, exported.without_image) == (1, 1, 2, 1)


def test_nothing_is_exported_over_a_file_or_from_nowhere(site: Path, archive: Path, tmp_path: Path, folder) -> None:
    with pytest.raises(ParameterError):
        export_labels(site, archive, tmp_path / "cache")
    for empty in (folder, tmp_path / "nowhere"):
        with pytest.raises(NotFoundError):
            export_labels(empty, tmp_path / "other.zip", tmp_path / "cache")
    assert not (tmp_path / "other.zip").exists()


def test_an_import_that_was_cut_off_is_completed_by_the_next(
    archive: Path, elsewhere: Path, tmp_path: Path, monkeypatch
) -> None:
    copy, copied = shutil.copyfile, []

    def until_full(source, target):
        copied.append(target)
        if len(copied) > 3:
            raise OSError(28, "No space left on device")
        return copy(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", until_full)
        with pytest.raises(OutputError, match="No space"):
            bring(archive, elsewhere, tmp_path)
    bring(archive, elsewhere, tmp_path)
    assert len(history(elsewhere, "a")) + len(history(elsewhere, "b")) == 6
    assert StudyDatastore(str(elsewhere)).get_label_info("a", "final")["author"] == "bert"
    assert [path for path in (elsewhere / ".incoming").rglob("*") if path.is_file()] == []


def test_a_set_without_room_on_the_disk_is_refused_before(archive, elsewhere, tmp_path: Path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(label_import.shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(OutputError, match="bytes"):
        bring(archive, elsewhere, tmp_path)
    assert everything(elsewhere) == {}


def test_errors_name_no_study(site: Path, archive: Path, elsewhere: Path, tmp_path: Path, caplog) -> None:
    write_image(site / f"{NAME}.nii.gz", 7)
    with pytest.raises(CovidBertError) as caught:
        bring(archive, site, tmp_path)
    assert "MUSTERMANN" not in f"{caught.value}{caplog.text}"
