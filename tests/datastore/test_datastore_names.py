"""Ids and file names: nothing that a client or a folder holds can lead elsewhere or make two studies one."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_images import write_image

from covid_bert.datastore.names import UPLOAD_SUFFIXES, identifier_of, is_identifier, required_suffix, split_name
from covid_bert.datastore.store import StudyDatastore
from covid_bert.errors import ConflictError, ParameterError, UnreadableFileError

ODD = ["../evil", "/etc/passwd", "a/b", "a\\b", ".hidden", "..", "", "a" * 129, "a\0b", "ä", "a b", "a\n", "a;b"]


@pytest.mark.parametrize("text", ODD)
def test_odd_ids_are_refused_and_lead_nowhere(store, tmp_path: Path, text: str) -> None:
    assert not is_identifier(text)
    before = sorted(tmp_path.rglob("*"))
    upload = write_image(tmp_path / "upload.nii.gz", 1)
    if text:
        with pytest.raises(ParameterError):
            store.add_image(text, str(upload), {})
    assert store.get_image_uri(text) == ""
    assert store.get_label_uri(text, "final") == ""
    assert store.get_image_info(text) == {}
    upload.unlink()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("text", ["a", "1.2.840.113619.2.55", "A_b-c.D", "a" * 128])
def test_plain_ids_are_taken(text: str) -> None:
    assert is_identifier(text)
    assert identifier_of(text) == text


def test_only_a_known_suffix_is_cut_off() -> None:
    assert split_name("1.2.840.1.nii.gz") == ("1.2.840.1", ".nii.gz")
    assert split_name("a.nii.nii.gz") == ("a.nii", ".nii.gz")
    assert split_name(".nii.gz") == (".nii", ".gz") or split_name(".nii.gz")[1] == ""
    assert required_suffix("tmp.nii.gz", UPLOAD_SUFFIXES) == ".nii.gz"
    for name in ("x.exe", "x", "x.mhd", "x.nhdr", "x.nii.gz.exe"):
        with pytest.raises(UnreadableFileError):
            required_suffix(name, UPLOAD_SUFFIXES)


def test_names_that_can_be_no_id_get_one_of_their_own(folder: Path) -> None:
    for number, name in enumerate(("Meier, Anna.nii.gz", "Meier; Anna.nii.gz", ".. x.nii.gz", "a" * 200 + ".nii.gz")):
        write_image(folder / name, number)
    store = StudyDatastore(str(folder))
    identifiers = store.list_images()
    assert len(identifiers) == 4, "a name with a dot in front is hidden"
    assert all(is_identifier(identifier) for identifier in identifiers)
    assert {Path(store.get_image_uri(identifier)).name for identifier in identifiers} >= {"Meier, Anna.nii.gz"}


def test_files_named_by_dicom_identifiers_stay_apart(folder: Path, tmp_path: Path) -> None:
    names = [f"1.2.840.113619.2.{number}" for number in range(4)]
    for number, name in enumerate(names[:2]):
        write_image(folder / f"{name}.nii.gz", number)
    store = StudyDatastore(str(folder))
    for number, name in enumerate(names[2:], 2):
        upload = write_image(tmp_path / f"{name}.nii.gz", number)
        assert store.add_image("", str(upload), {}) == name
    assert set(names) <= set(store.list_images())
    assert len({store.get_image_uri(name) for name in names}) == 4


def test_ids_that_differ_in_capitals_only_are_not_both_taken(store, folder: Path, tmp_path: Path) -> None:
    write_image(folder / "UPPER.nii.gz", 2)
    for identifier in ("CHEST", "upper", "Upper"):
        with pytest.raises(ConflictError):
            store.add_image(identifier, str(write_image(tmp_path / "upload.nii.gz", 1)), {})
