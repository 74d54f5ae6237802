"""Labels: every version and its author stay, and only masks that lie on their image are taken."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from small_images import AFFINE, SHAPE, write_mask

from covid_bert.datastore.store import StudyDatastore
from covid_bert.datastore.study_labels import StudyLabel
from covid_bert.errors import (
    BusyError,
    CovidBertError,
    GeometryError,
    InvalidValuesError,
    NotFoundError,
    OutputError,
    ParameterError,
    UnreadableFileError,
)
from covid_bert.files import write_atomically


def save(store, path: Path, author: str, tag: str = "final", **info) -> None:
    assert store.save_label("chest", str(path), tag, {"user": author, **info}) == "chest"


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_every_version_stays_with_its_author_and_time(store, folder: Path, tmp_path: Path) -> None:
    first, second = write_mask(tmp_path / "1.nii.gz", 1), write_mask(tmp_path / "2.nii.gz", 2)
    save(store, first, "anna", site="A")
    save(store, second, "bert")
    versions = store.versions("chest", "final")
    assert [(version.number, version.author) for version in versions] == [(1, "anna"), (2, "bert")]
    assert all(version.created.endswith("+00:00") for version in versions)
    assert digest(store.version_path("chest", "final", 1)) == digest(first) == versions[0].sha256
    assert digest(store.get_label_uri("chest", "final")) == digest(second)
    assert Path(store.get_label_uri("chest", "final")) == folder / "labels" / "final" / "chest.nii.gz"
    assert store.get_label_info("chest", "final")["author"] == "bert"
    again = StudyDatastore(str(folder))
    assert again.versions("chest", "final") == versions
    with pytest.raises(NotFoundError):
        store.version_path("chest", "final", 3)


def test_a_label_of_another_format_takes_the_place_of_the_first(store, folder: Path, tmp_path: Path) -> None:
    save(store, write_mask(tmp_path / "1.nii.gz"), "anna")
    save(store, write_mask(tmp_path / "2.nii", 2), "anna")
    assert [path.name for path in (folder / "labels" / "final").iterdir()] == ["chest.nii"]
    assert store.json()["objects"]["chest"]["labels"]["final"]["ext"] == ".nii"


def test_a_file_that_somebody_put_there_becomes_a_version_before_it_is_replaced(store, folder, tmp_path) -> None:
    (folder / "labels" / "final").mkdir(parents=True)
    theirs = write_mask(folder / "labels" / "final" / "chest.nii.gz", 7)
    kept = digest(theirs)
    assert store.get_label_by_image_id("chest", "final") == "chest"
    save(store, write_mask(tmp_path / "1.nii.gz"), "anna")
    assert [(version.author, version.sha256 == kept) for version in store.versions("chest", "final")] == [
        ("unknown", True),
        ("anna", False),
    ]


def test_a_label_taken_away_keeps_its_versions(store, folder: Path, tmp_path: Path) -> None:
    save(store, write_mask(tmp_path / "1.nii.gz"), "anna")
    store.remove_label("chest", "final", "bert")
    assert store.get_label_uri("chest", "final") == ""
    assert store.status()["label_tags"] == {}
    assert [(version.author, version.removed) for version in store.versions("chest", "final")] == [
        ("anna", False),
        ("bert", True),
    ]
    assert store.version_path("chest", "final", 1).is_file()
    assert StudyDatastore(str(folder)).get_label_uri("chest", "final") == ""
    with pytest.raises(NotFoundError):
        store.remove_label("chest", "final", "bert")
    save(store, write_mask(tmp_path / "1.nii.gz"), "anna")
    assert len(store.versions("chest", "final")) == 3


def shifted(axis: int, millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[axis, 3] += millimetres
    return affine


def turned() -> np.ndarray:
    angle = np.radians(10)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = AFFINE.copy()
    affine[:3, :3] = turn[:3, :3] @ AFFINE[:3, :3]
    return affine


@pytest.mark.parametrize(
    ("affine", "shape", "named", "others"),
    [
        (AFFINE, (23, 20, 12), "size", ("spacing", "origin", "direction")),
        (AFFINE, (2000, 2000, 2000), "size", ("spacing",)),
        (shifted(0, 3.0), SHAPE, "the origin", ("size", "spacing", "direction")),
        (AFFINE @ np.diag([1.0, 1.0, 1.2, 1.0]), SHAPE, "the spacing", ("size", "origin", "direction")),
        (turned(), SHAPE, "the direction", ("size", "origin", "spacing")),
    ],
)
def test_a_mask_on_another_grid_is_refused_and_what_differs_is_said(
    store, tmp_path: Path, affine, shape, named: str, others: tuple[str, ...]
) -> None:
    if np.prod(shape) > 10**6:
        header = nibabel.Nifti1Image(np.zeros((8, 8, 8), np.uint8), affine).header
        header.set_data_shape(shape)
        path = tmp_path / "claims.nii"
        path.write_bytes(header.binaryblock + b"\0" * 100)
    else:
        path = write_mask(tmp_path / "mask.nii.gz", affine=affine, shape=shape)
    with pytest.raises(GeometryError) as caught:
        store.save_label("chest", str(path), "final", {})
    assert caught.value.http_status == 422
    assert named in caught.value.message
    assert not any(other in caught.value.message for other in others)
    assert store.versions("chest", "final") == []


def test_a_mask_with_its_axes_in_another_order_lies_on_the_grid(store, tmp_path: Path) -> None:
    mask = nibabel.load(write_mask(tmp_path / "mask.nii.gz"))
    nibabel.save(nibabel.as_closest_canonical(mask), tmp_path / "turned.nii.gz")
    save(store, tmp_path / "turned.nii.gz", "anna")


@pytest.mark.parametrize("value", [0.5, 300.0, -1.0, np.nan])
def test_values_that_are_no_labels_are_refused(store, tmp_path: Path, value: float) -> None:
    values = np.full(SHAPE, value, np.float32)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / "mask.nii.gz")
    with pytest.raises(InvalidValuesError):
        store.save_label("chest", str(tmp_path / "mask.nii.gz"), "final", {})


@pytest.mark.parametrize(("name", "content"), [("a.nii.gz", b""), ("a.nii.gz", b"junk"), ("a.nrrd", b"NRRD0004\n\n")])
def test_empty_and_damaged_masks_are_refused(store, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFileError):
        store.save_label("chest", str(tmp_path / name), "final", {})
    assert store.get_labels_by_image_id("chest") == {}


def test_a_mask_for_no_study_or_for_one_that_cannot_be_read_is_refused(store, folder: Path, tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.nii.gz")
    with pytest.raises(NotFoundError):
        store.save_label("nobody", str(mask), "final", {})
    (folder / "broken.nii.gz").write_bytes(b"x")
    with pytest.raises(UnreadableFileError):
        store.save_label("broken", str(mask), "final", {})


@pytest.mark.parametrize("tag", ["../../evil", "study", "other", "", None, 5])
def test_masks_have_two_tags(store, folder: Path, tmp_path: Path, tag) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(ParameterError):
        store.save_label("chest", str(write_mask(tmp_path / "mask.nii.gz")), tag, {})
    assert sorted(folder.rglob("*")) == before


def test_study_labels_are_kept_apart_from_masks(store, folder: Path, tmp_path: Path) -> None:
    first = StudyLabel(study_class="covid", certainty="probable", comment="both bases")
    store.save_study_label("chest", first, "anna")
    store.save_study_label("chest", StudyLabel(study_class="normal", certainty="certain"), "bert")
    label, version = store.study_label("chest")
    assert (label.study_class, version.author, version.number) == ("normal", "bert", 2)
    assert json.loads(store.version_path("chest", "study", 1).read_bytes()) == first.model_dump()
    assert store.get_labeled_images() == []
    assert store.datalist() == []
    save(store, write_mask(tmp_path / "1.nii.gz"), "anna")
    assert set(store.get_labels_by_image_id("chest")) == {"final", "study"}
    assert [path.name for path in (folder / "labels" / "study").iterdir()] == ["chest.json"]


def test_long_information_stays_in_the_record_and_out_of_the_list(store, tmp_path: Path) -> None:
    params = {"label_names": {"right lung": 1}, "result": "x" * 50_000}
    save(store, write_mask(tmp_path / "1.nii.gz"), "anna", params=params)
    shown = store.json()["objects"]["chest"]["labels"]["final"]["info"]
    assert shown["params"] == {"label_names": {"right lung": 1}}
    assert store.get_label_info("chest", "final")["author"] == "anna"
    assert store.versions("chest", "final")[0].info["params"] == params


@pytest.mark.parametrize("place", ["labels/.versions/final/chest", "labels/final", "."])
def test_a_full_disk_leaves_the_label_as_it_was(store, folder: Path, tmp_path: Path, monkeypatch, place: str) -> None:
    first = write_mask(tmp_path / "1.nii.gz", 1)
    save(store, first, "anna")
    copy, write = shutil.copyfile, write_atomically

    def unless_full(whole, target: Path, *arguments):
        if target.parent == folder / place:
            raise OSError(28, "No space left on device")
        return whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", lambda source, target: unless_full(copy, target, source, target))
        patch.setattr(
            "covid_bert.datastore.index.write_atomically", lambda path, text: unless_full(write, path, path, text)
        )
        with pytest.raises(OutputError):
            save(store, write_mask(tmp_path / "2.nii.gz", 2), "bert")
    again = StudyDatastore(str(folder))
    assert digest(again.get_label_uri("chest", "final")) == digest(first)
    assert [version.author for version in again.versions("chest", "final")] == ["anna"]
    assert again.get_label_info("chest", "final")["author"] == "anna"


def test_a_label_is_replaced_whole(store, tmp_path: Path, monkeypatch) -> None:
    """Who asks for a label while the next one is copied gets the one before."""
    first = write_mask(tmp_path / "1.nii.gz", 1)
    save(store, first, "anna")
    expected, copy, seen = digest(first), shutil.copyfile, []

    def slowly(source, target):
        Path(target).write_bytes(b"half")
        seen.append(digest(store.get_label_uri("chest", "final")))
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", slowly)
    save(store, write_mask(tmp_path / "2.nii.gz", 2), "bert")
    assert seen == 2 * [expected], "for the version and for what is shown"
    assert digest(store.get_label_uri("chest", "final")) == digest(tmp_path / "2.nii.gz")


def test_errors_name_no_study(store, tmp_path: Path) -> None:
    with pytest.raises(CovidBertError) as caught:
        store.save_label("chest", str(write_mask(tmp_path / "mask.nii.gz", shape=(8, 8, 8))), "final", {})
    assert "chest" not in str(caught.value)


def test_only_so_many_masks_wait_for_their_check(store, tmp_path: Path, monkeypatch) -> None:
    places = store._writing._turns._places
    for _ in range(8):
        places.acquire()
    with pytest.raises(BusyError) as caught:
        store.save_label("chest", str(write_mask(tmp_path / "mask.nii.gz")), "final", {})
    assert caught.value.details["retry_after"] > 0
    for _ in range(8):
        places.release()
    save(store, tmp_path / "mask.nii.gz", "anna")


def test_an_image_that_was_replaced_is_looked_at_again(store, folder: Path, tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.nii.gz")
    save(store, mask, "anna")
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 9), np.int16), AFFINE), folder / "chest.nii.gz")
    with pytest.raises(CovidBertError):
        store.save_label("chest", str(mask), "final", {})
