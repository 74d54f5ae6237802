"""Whose an image is: studies of one person are known as such, under whatever names and in whatever form."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covid_bert.datastore.image_facts import image_facts
from covid_bert.datastore.label_set import read_label_set
from covid_bert.datastore.store import StudyDatastore
from covid_bert.errors import OutputError
from covid_bert.retraining.split import FrozenSplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "volumes"))
from dicom_maker import make_series
from lung_labels import say
from small_images import write_image

VALUES = np.random.default_rng(3).integers(-1000, 300, (12, 16, 16))


def person(**fields: str) -> Callable[..., None]:
    def edit(dataset, index: int) -> None:
        for name, value in fields.items():
            setattr(dataset, name, value)

    return edit


def series(folder: Path, name: str, seed: int, **fields: str) -> Path:
    make_series(folder / name, np.roll(VALUES, seed, axis=1), edit=person(**fields))
    return folder / name


def patients(folder: Path, cache: Path) -> dict[str, str]:
    """Label everything in a folder and return whose each study is."""
    store = StudyDatastore(str(folder))
    for study in store.list_images():
        say(store, study, "anna", "covid")
    found = read_label_set(folder, "newest", masks=False, cache=cache)
    assert found.left_out == ()
    parts = {one.patient: one.part for one in found.studies}
    assert all(parts[one.patient] is one.part for one in found.studies)
    return {one.identifier: one.patient for one in found.studies}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def test_dicom_series_of_one_patient_are_one_persons(place: Path, tmp_path: Path) -> None:
    series(place, "first", 0, PatientID="P-1")
    series(place, "follow-up", 1, PatientID=" p-1 ")
    series(place, "other", 2, PatientID="P-2")
    series(place, "elsewhere", 3, PatientID="P-1", IssuerOfPatientID="Other hospital")
    packed = series(tmp_path, "packed", 4, PatientID="P-2")
    with zipfile.ZipFile(place / "packed.zip", "w") as archive:
        for file in packed.iterdir():
            archive.write(file, f"inside/{file.name}")
    found = patients(place, tmp_path / "cache")
    assert found["first"] == found["follow-up"]
    assert found["other"] == found["packed"]
    assert len(set(found.values())) == 3


NOBODY = [
    "",
    "ANONYMOUS",
    "0000",
    "De-Identified",
    "xxx",
    "n/a",
    "N. A.",
    "Unknown",
    "none",
    "TEST^patient",
    "-",
    "ＮＯＮＥ",
]


@pytest.mark.parametrize("nobody", NOBODY[:-1])
def test_an_identifier_that_many_have_is_none(place: Path, tmp_path: Path, nobody: str) -> None:
    for number in range(3):
        series(place, f"study-{number}", number, PatientID=nobody)
    assert len(set(patients(place, tmp_path / "cache").values())) == 3


def test_what_a_client_says_joins_studies_too(place: Path, tmp_path: Path) -> None:
    for seed in range(4):
        write_image(place / f"study-{seed}.nii.gz", seed)
    store = StudyDatastore(str(place))
    for study, patient in (("study-0", "MUSTERMANN"), ("study-1", "mustermann "), ("study-2", 17), ("study-3", True)):
        store.update_image_info(study, {"patient": patient})
    found = patients(place, tmp_path / "cache")
    assert found["study-0"] == found["study-1"]
    assert len(set(found.values())) == 3


@pytest.mark.parametrize("nobody", [*NOBODY, 0])
def test_a_patient_that_stands_for_nobody_joins_nobody(place: Path, tmp_path: Path, nobody: str | int) -> None:
    for seed in range(3):
        write_image(place / f"study-{seed}.nii.gz", seed)
    store = StudyDatastore(str(place))
    for seed in range(3):
        store.update_image_info(f"study-{seed}", {"patient": nobody})
    assert len(set(patients(place, tmp_path / "cache").values())) == 3


def test_a_patient_that_many_studies_name_is_told(place: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("covid_bert.retraining.persons.MOST_JOINED", 2)
    for seed in range(4):
        write_image(place / f"study-{seed}.nii.gz", seed)
    store = StudyDatastore(str(place))
    for seed in range(3):
        store.update_image_info(f"study-{seed}", {"patient": "ward 7"})
    assert len(set(patients(place, tmp_path / "cache").values())) == 4
    (note,) = read_label_set(place, "newest", masks=False, cache=tmp_path / "cache").notes
    assert note.startswith("3 studies have a `patient` in their information")


def test_what_a_client_calls_a_patient_is_kept_as_a_key_only(place: Path, tmp_path: Path) -> None:
    for seed in range(2):
        write_image(place / f"study-{seed}.nii.gz", seed)
    store = StudyDatastore(str(place))
    store.update_image_info("study-0", {"patient": "Mustermann", "site": "A"})
    told = store.get_image_info("study-0")
    assert told["site"] == "A"
    assert told["patient"].startswith("patient:")
    everything = [path.read_bytes() for path in place.rglob("*") if path.is_file()]
    assert not any(b"mustermann" in content.lower() for content in [store.listing(), *everything])
    # A client sends back what it was told.
    store.update_image_info("study-1", {"patient": told["patient"]})
    found = patients(place, tmp_path / "cache")
    assert found["study-0"] == found["study-1"]


def detached(folder: Path, name: str, seed: int) -> None:
    values = np.random.default_rng(seed).integers(-1000, 300, (8, 16, 16)).astype("<i2")
    (folder / f"{name}.raw").write_bytes(values.tobytes())
    (folder / f"{name}.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 16 16 8\nElementSpacing = 1 1 2\nElementType = MET_SHORT\n"
        f"ElementDataFile = {name}.raw\n"
    )


def slices(folder: Path, name: str, seed: int) -> None:
    (folder / name).mkdir()
    for number in range(6):
        values = np.random.default_rng([seed, number]).integers(0, 255, (16, 16)).astype(np.uint8)
        Image.fromarray(values).save(folder / name / f"slice-{number}.png")


@pytest.mark.parametrize(
    "make", [detached, slices, lambda folder, name, seed: series(folder, name, seed, PatientID="")]
)
def test_renamed_files_are_the_same_image(place: Path, tmp_path: Path, make) -> None:
    make(place, "one", 1)
    make(place, "two", 2)
    split = FrozenSplit(tmp_path / "labels" / ".split.json")

    def facts(folder: Path) -> dict[str, tuple[str, ...]]:
        names = [path.name for path in folder.iterdir() if path.suffix != ".raw"]
        return {name: image_facts(folder / name, split, tmp_path / "cache").keys for name in sorted(names)}

    before = facts(place)
    assert before == facts(place)
    assert len(set(before.values())) == 2
    other = tmp_path / "other"
    other.mkdir()
    if make is detached:
        for path in place.iterdir():
            text = path.read_bytes()
            renamed = text.replace(b"one.raw", b"new.raw") if path.suffix == ".mhd" else text
            (other / path.name.replace("one", "new")).write_bytes(renamed)
    else:
        shutil.copytree(place / "one", other / "new")
        shutil.copytree(place / "two", other / "two")
        for number, path in enumerate(sorted((other / "new").iterdir(), reverse=True)):
            path.rename(path.with_name(f"renamed-{number}{path.suffix}"))
    assert sorted(facts(other).values()) == sorted(before.values())


def test_an_image_that_was_replaced_is_hashed_again(place: Path, tmp_path: Path) -> None:
    split = FrozenSplit(tmp_path / "labels" / ".split.json")
    detached(place, "one", 1)
    before = image_facts(place / "one.mhd", split, tmp_path / "cache")
    detached(place, "one", 2)
    state = (place / "one.raw").stat()
    os.utime(place / "one.raw", ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    assert image_facts(place / "one.mhd", split, tmp_path / "cache") != before


def test_no_identifier_is_kept_or_logged(place: Path, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    series(place, "study", 0, PatientID="MUSTERMANN-4711")
    patients(place, tmp_path / "cache")
    kept = [path for root in (tmp_path / "cache", place / "labels") for path in root.rglob("*") if path.is_file()]
    assert kept
    assert not any(b"MUSTERMANN" in path.read_bytes() for path in kept)
    assert "MUSTERMANN" not in caplog.text


def test_a_full_disk_is_said(place: Path, tmp_path: Path, monkeypatch) -> None:
    write_image(place / "study.nii.gz")
    say(StudyDatastore(str(place)), "study", "anna", "covid")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("covid_bert.datastore.image_facts.write_atomically", full)
    with pytest.raises(OutputError, match="No space"):
        read_label_set(place, "newest", masks=False, cache=tmp_path / "cache")
