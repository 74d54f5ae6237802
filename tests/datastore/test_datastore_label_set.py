"""The labels that trainings read: from real masks on the disk, good and bad ones, with all their history."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from lung_labels import add_studies, lungs, rewrite_record, save_lungs, say, write_lungs
from small_images import AFFINE, SHAPE, write_image

from covid_bert.datastore.checks import GridCheck
from covid_bert.datastore.label_set import read_label_set
from covid_bert.datastore.store import StudyDatastore
from covid_bert.errors import CancelledError, NotFoundError, ParameterError, UnreadableFileError
from covid_bert.progress import Progress
from covid_bert.retraining.cases import LabelSet


@pytest.fixture
def labels(folder: Path, tmp_path: Path):
    def read(rule: str = "newest", *, masks: bool = True, **other) -> LabelSet:
        return read_label_set(folder, rule, masks=masks, cache=tmp_path / "cache", **other)

    return read


def reasons(found: LabelSet) -> dict[str, str]:
    return {one.identifier: one.reason for one in found.left_out}


def mask_of(study) -> np.ndarray:
    return np.asarray(nibabel.load(study.mask).dataobj)


def test_one_case_is_one_case_whoever_labelled_it(store, folder: Path, tmp_path: Path, labels) -> None:
    save_lungs(store, tmp_path, "chest", "anna")
    newest = save_lungs(store, tmp_path, "chest", "bert", lungs(1))
    say(store, "chest", "clara", "covid")
    found = labels()
    assert found.left_out == ()
    assert found.rule == "newest"
    (study,) = found.studies
    assert study.image == folder / "chest.nii.gz"
    assert study.image_sha256 == hashlib.sha256(study.image.read_bytes()).hexdigest()
    assert (study.mask_sha256, study.study_class, study.readers) == (newest.sha256, "covid", ("bert", "clara"))
    assert np.array_equal(mask_of(study), lungs(1))
    assert labels(masks=False).studies[0].mask is None
    assert labels(classes=False).studies[0].study_class is None
    assert labels() == found


def test_the_newest_of_one_reader_counts_whatever_came_before(store, tmp_path: Path, labels) -> None:
    for shift in (0, 1, 2):
        save_lungs(store, tmp_path, "chest", "anna", lungs(shift))
    say(store, "chest", "anna", "covid")
    say(store, "chest", "anna", "normal")
    (study,) = labels("majority").studies
    assert np.array_equal(mask_of(study), lungs(2))
    assert study.study_class == "normal"


def test_most_readers_decide_voxel_by_voxel(store, tmp_path: Path, labels) -> None:
    drawn = [lungs(0), lungs(1), lungs(3)]
    for author, mask in zip(("anna", "bert", "clara"), drawn, strict=True):
        save_lungs(store, tmp_path, "chest", author, mask)
    (study,) = labels("majority").studies
    stack = np.stack(drawn)
    counts = np.stack([(stack == label).sum(axis=0) for label in range(3)])
    assert (counts.max(axis=0) > 1).all(), "no tie in this test"
    assert np.array_equal(mask_of(study), counts.argmax(axis=0))
    assert study.readers == ("anna", "bert", "clara")
    assert study.mask_sha256 == hashlib.sha256(study.mask.read_bytes()).hexdigest()
    again = labels("majority").studies[0]
    assert (again.mask, again.digest) == (study.mask, study.digest)


def test_the_newest_decides_where_votes_are_equal(store, tmp_path: Path, labels) -> None:
    save_lungs(store, tmp_path, "chest", "anna", lungs(0))
    save_lungs(store, tmp_path, "chest", "bert", lungs(3))
    assert np.array_equal(mask_of(labels("majority").studies[0]), lungs(3))


def test_the_votes_of_masks_with_other_axes_fall_on_the_same_voxels(store, tmp_path: Path, labels) -> None:
    for author, shift in (("anna", 0), ("bert", 0), ("clara", 3)):
        path = write_lungs(tmp_path / "mask.nii.gz", lungs(shift))
        nibabel.save(nibabel.as_closest_canonical(nibabel.load(path)), tmp_path / "turned.nii.gz")
        turned = author == "bert"
        store.save_label("chest", str(tmp_path / "turned.nii.gz" if turned else path), "final", {"user": author})
    (study,) = labels("majority").studies
    assert np.array_equal(mask_of(study), lungs(0))
    assert np.allclose(nibabel.load(study.mask).affine, AFFINE)


def test_an_expert_alone_counts_and_what_he_has_not_labelled_is_left_out(store, folder, tmp_path, labels) -> None:
    add_studies(folder, "other")
    save_lungs(store, tmp_path, "chest", "anna", lungs(1))
    save_lungs(store, tmp_path, "chest", "bert", lungs(2))
    save_lungs(store, tmp_path, "other", "bert")
    say(store, "other", "bert", "covid")
    found = labels("expert:anna")
    assert [(study.identifier, study.readers) for study in found.studies] == [("chest", ("anna",))]
    assert np.array_equal(mask_of(found.studies[0]), lungs(1))
    assert [one.identifier for one in found.left_out] == ["other", "other"]
    assert all("anna" in one.reason for one in found.left_out)
    with pytest.raises(ParameterError):
        labels("expert:")


def test_readers_who_do_not_agree_on_the_class_leave_it_open(store, tmp_path: Path, labels) -> None:
    say(store, "chest", "anna", "covid")
    say(store, "chest", "bert", "normal")
    assert labels().studies[0].study_class == "normal"
    found = labels("majority")
    assert found.studies == ()
    assert "agree" in reasons(found)["chest"]
    say(store, "chest", "clara", "covid")
    assert labels("majority").studies[0].study_class == "covid"
    save_lungs(store, tmp_path, "chest", "anna")
    say(store, "chest", "clara", "other")
    (study,) = labels("majority").studies
    assert (study.study_class, study.readers) == (None, ("anna",))


def corrupt(folder: Path, tmp_path: Path, store: StudyDatastore) -> None:
    path = folder / "labels" / ".versions" / "final" / "bad" / "000001.data.nii.gz"
    path.write_bytes(path.read_bytes()[:-30])


def saved_damaged(folder: Path, tmp_path: Path, store: StudyDatastore) -> None:
    """Damaged already when it was saved: the record has its hash."""
    corrupt(folder, tmp_path, store)
    path = folder / "labels" / ".versions" / "final" / "bad" / "000001.data.nii.gz"
    shutil.copy(path, folder / "labels" / "final" / "bad.nii.gz")
    rewrite_record(path.with_name("000001.json"), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def replaced_image(folder: Path, tmp_path: Path, store: StudyDatastore) -> None:
    """The mask lies on the grid of what the image was."""
    values = np.random.default_rng(0).integers(-1000, 400, (20, 20, 10)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), folder / "bad.nii.gz")


def damaged_image(folder: Path, tmp_path: Path, store: StudyDatastore) -> None:
    (folder / "bad.nii.gz").write_bytes(b"\x1f\x8b junk")


def one_side(folder: Path, tmp_path: Path, store: StudyDatastore) -> None:
    save_lungs(store, tmp_path, "bad", "anna", np.where(lungs() == 2, 0, lungs()).astype(np.uint8))


def nothing(folder: Path, tmp_path: Path, store: StudyDatastore) -> None:
    save_lungs(store, tmp_path, "bad", "anna", np.zeros(SHAPE, np.uint8))


def unknown_label(folder: Path, tmp_path: Path, store: StudyDatastore) -> None:
    mask = lungs()
    mask[0, 0, 0] = 7
    save_lungs(store, tmp_path, "bad", "anna", mask)


def lost_file(folder: Path, tmp_path: Path, store: StudyDatastore) -> None:
    (folder / "labels" / ".versions" / "final" / "bad" / "000001.data.nii.gz").unlink()


def lost_record(folder: Path, tmp_path: Path, store: StudyDatastore) -> None:
    (folder / "labels" / ".versions" / "final" / "bad" / "000001.json").write_bytes(b"{")
    (folder / "labels" / "final" / "bad.nii.gz").unlink()


def lost_image(folder: Path, tmp_path: Path, store: StudyDatastore) -> None:
    (folder / "bad.nii.gz").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (corrupt, "not what was saved"),
        (saved_damaged, "damaged"),
        (replaced_image, "another size"),
        (damaged_image, "image"),
        (one_side, "left lung is empty"),
        (nothing, "right and its left lung is empty"),
        (unknown_label, "label 7"),
        (lost_file, "not what was saved"),
        (lost_record, "record of version 1"),
        (lost_image, "not in the folder"),
    ],
)
@pytest.mark.parametrize("rule", ["newest", "majority", "expert:anna"])
def test_a_bad_mask_among_good_ones_is_named_and_passed_over(
    folder: Path, tmp_path: Path, labels, caplog, spoil, said: str, rule: str
) -> None:
    add_studies(folder, "bad", "good")
    store = StudyDatastore(str(folder))
    for study in ("bad", "good", "chest"):
        save_lungs(store, tmp_path, study, "anna")
    spoil(folder, tmp_path, store)
    caplog.set_level(logging.DEBUG)
    found = labels(rule)
    assert [study.identifier for study in found.studies] == ["chest", "good"]
    assert [one.identifier for one in found.left_out] == ["bad"]
    assert said in found.left_out[0].reason
    assert "bad" not in found.left_out[0].reason
    assert "bad" not in caplog.text
    assert labels(rule) == found


def test_where_the_newest_mask_is_bad_another_readers_counts(store, tmp_path: Path, labels) -> None:
    save_lungs(store, tmp_path, "chest", "anna")
    save_lungs(store, tmp_path, "chest", "bert", np.zeros(SHAPE, np.uint8))
    for rule in ("newest", "majority"):
        found = labels(rule)
        assert found.studies[0].readers == ("anna",)
        assert "bert" in reasons(found)["chest"]


def test_a_damaged_study_label_is_named_and_the_mask_stays(store, folder: Path, tmp_path: Path, labels) -> None:
    save_lungs(store, tmp_path, "chest", "anna")
    say(store, "chest", "bert", "covid")
    path = folder / "labels" / ".versions" / "study" / "chest" / "000001.data.json"
    path.write_text('{"study_class": "plague", "certainty": "certain"}')
    assert "bert" in reasons(labels())["chest"]
    shutil.copy(path, folder / "labels" / "study" / "chest.json")
    rewrite_record(path.with_name("000001.json"), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    found = labels()
    assert "bert" in reasons(found)["chest"]
    assert (found.studies[0].study_class, found.studies[0].readers) == (None, ("anna",))


def test_labels_that_were_taken_away_are_gone(store, tmp_path: Path, labels) -> None:
    save_lungs(store, tmp_path, "chest", "anna")
    say(store, "chest", "bert", "covid")
    store.remove_label("chest", "final", "clara")
    (study,) = labels().studies
    assert (study.mask, study.study_class) == (None, "covid")
    store.remove_label("chest", "study", "clara")
    assert labels().studies == labels().left_out == ()
    save_lungs(store, tmp_path, "chest", "bert", lungs(1))
    assert labels("majority").studies[0].readers == ("bert",), "anna's was taken away"


@pytest.mark.parametrize("author", [{}, {"user": "anna"}])
def test_models_are_no_readers(store, folder: Path, tmp_path: Path, labels, author: dict[str, str]) -> None:
    info = {"model": "lungs", **author}
    store.save_label("chest", str(write_lungs(tmp_path / "m.nii.gz")), "final", info)
    assert labels().studies == labels().left_out == ()
    store.save_label("chest", str(write_lungs(tmp_path / "m.nii.gz")), "original", {"user": "anna"})
    assert labels().studies == ()
    save_lungs(store, tmp_path, "chest", "bert", lungs(1))
    assert labels("majority").studies[0].readers == ("bert",)


def test_files_put_there_by_hand_are_of_an_unknown_reader(store, folder: Path, tmp_path: Path, labels) -> None:
    place = folder / "labels" / "final"
    place.mkdir(parents=True)
    write_lungs(place / "chest.nii.gz", lungs(1))
    (folder / "labels" / "study").mkdir()
    (folder / "labels" / "study" / "chest.json").write_text('{"study_class": "covid", "certainty": "certain"}')
    (study,) = labels().studies
    assert (study.readers, study.study_class, study.mask) == (("unknown",), "covid", place / "chest.nii.gz")
    save_lungs(store, tmp_path, "chest", "anna", lungs(2))
    assert labels("expert:unknown", classes=False).studies[0].mask_sha256 == study.mask_sha256
    assert labels().studies[0].readers == ("anna", "unknown"), "her mask, and the other's class"


def test_equal_images_are_one_case(store, folder: Path, tmp_path: Path, labels) -> None:
    shutil.copy(folder / "chest.nii.gz", folder / "again.nii.gz")
    store.refresh()
    save_lungs(store, tmp_path, "again", "anna")
    save_lungs(store, tmp_path, "chest", "bert", lungs(1))
    say(store, "chest", "bert", "covid")
    (study,) = labels("majority").studies
    assert (study.identifier, study.readers, study.study_class) == ("again", ("anna", "bert"), "covid")
    assert np.array_equal(mask_of(study), lungs(1))


def test_a_mask_is_looked_into_once(store, tmp_path: Path, labels, monkeypatch) -> None:
    save_lungs(store, tmp_path, "chest", "anna")
    first = labels()

    def again(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(GridCheck, "labels", again)
    assert labels() == first


def test_the_cache_names_nobody(store, folder: Path, tmp_path: Path, labels) -> None:
    write_image(folder / "MUSTERMANN.nii.gz", 5)
    store.refresh()
    for author, shift in (("anna", 0), ("bert", 1)):
        save_lungs(store, tmp_path, "MUSTERMANN", author, lungs(shift))
    assert labels("majority").studies
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not any("MUSTERMANN" in path.name or b"MUSTERMANN" in path.read_bytes() for path in files)


def test_what_cannot_be_read_at_all_is_an_error(store, folder: Path, tmp_path: Path, labels) -> None:
    save_lungs(store, tmp_path, "chest", "anna")
    labels()
    (folder / "labels" / ".split.json").write_bytes(b"{")
    with pytest.raises(UnreadableFileError):
        labels()
    with pytest.raises(NotFoundError):
        read_label_set(tmp_path / "nowhere", "newest", masks=True, cache=tmp_path / "cache")
    (folder / "labels" / ".split.json").unlink()
    progress = Progress()
    progress.cancel()
    with pytest.raises(CancelledError):
        labels(progress=progress)
