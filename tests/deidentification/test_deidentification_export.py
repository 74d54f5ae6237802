"""Pseudonyms, risks, what is left out, and that a study is written wholly or not at all."""

from __future__ import annotations

import json
import shutil
from datetime import datetime

import numpy as np
import pydicom
import pytest
from dicom_maker import make_series, setting
from planted import ARRAY, NAME, NUMBER, found_in, plant
from pydicom.uid import SecondaryCaptureImageStorage, UltrasoundImageStorage, generate_uid

from covid_bert.deidentification import open_project
from covid_bert.deidentification.risks import face_in_view
from covid_bert.errors import NotAllowedError, ParameterError
from covid_bert.phantom import make
from covid_bert.weights.location import home


def tree(target):
    """What an export consists of, without its report."""
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*.dcm")}


def patients(target):
    return {pydicom.dcmread(path).PatientID for path in target.rglob("*.dcm")}


def dated(day, patient=NUMBER):
    def edit(dataset, index):
        dataset.PatientID, dataset.StudyDate, dataset.AcquisitionDateTime = patient, day, f"{day}101112+0100"
        dataset.PatientBirthDate, dataset.StudyTime = "19610704", "101112"

    return edit


# ---------------------------------------------------------------- pseudonyms


def test_pseudonyms_are_those_of_the_person_and_the_project(tmp_path, exported):
    make_series(tmp_path / "source" / "first", ARRAY, edit=dated("20240317"))
    make_series(tmp_path / "source" / "second", ARRAY, edit=dated("20240401", f" {NUMBER.lower()} "))
    make_series(tmp_path / "source" / "other", ARRAY, edit=dated("20240401", "KX-4712"))
    trees = [tree(exported(target=f"target{number}")[2]) for number in range(2)]
    assert trees[0] == trees[1]
    assert len(patients(tmp_path / "target0")) == 2
    assert len({name.split("/")[1] for name in trees[0]}) == 3
    elsewhere = exported(target="elsewhere", project="other")[2]
    assert not patients(elsewhere) & patients(tmp_path / "target0")

    def names(folder):
        return {part for name in tree(folder) for part in name.split("/")}

    def uids(folder):
        datasets = [pydicom.dcmread(path) for path in folder.rglob("*.dcm")]
        return {str(element.value) for each in datasets for element in each if element.keyword.endswith("InstanceUID")}

    assert not names(elsewhere) & names(tmp_path / "target0")
    assert not uids(elsewhere) & uids(tmp_path / "target0")


def test_intervals_are_kept_only_if_asked_for(tmp_path, exported):
    for day in ("20240317", "20240401"):
        make_series(tmp_path / "source" / day, ARRAY, edit=dated(day))
    plain = [pydicom.dcmread(path) for path in exported()[2].rglob("*.dcm")]
    assert {each.StudyDate for each in plain} == {""}
    assert not any("AcquisitionDateTime" in each for each in plain)
    assert {each.LongitudinalTemporalInformationModified for each in plain} == {"REMOVED"}
    assert {len(each.DeidentificationMethodCodeSequence) for each in plain} == {1}
    moved = [pydicom.dcmread(path) for path in exported("--keep-intervals", target="moved")[2].rglob("*.dcm")]
    days = sorted({each.StudyDate for each in moved})
    times = [datetime.strptime(day, "%Y%m%d") for day in days]
    assert (times[1] - times[0]).days == 15
    assert times[1] < datetime(2023, 4, 2)
    assert {each.AcquisitionDateTime for each in moved} == {f"{day}101112" for day in days}
    assert {each.PatientBirthDate for each in moved} == {""}
    assert {each.LongitudinalTemporalInformationModified for each in moved} == {"MODIFIED"}
    codes = {tuple(item.CodeValue for item in each.DeidentificationMethodCodeSequence) for each in moved}
    assert codes == {("113100", "113107")}


@pytest.mark.parametrize("identifier", ["", "unknown", "0000"])
def test_identifiers_that_stand_for_nobody_make_no_person(tmp_path, exported, identifier):
    for name in ("first", "second"):
        make_series(tmp_path / "source" / name, ARRAY, edit=setting("PatientID", identifier))
    _, shown, target = exported()
    assert len(patients(target)) == 2
    assert "No patient identifier" in shown


def test_the_secret_of_a_project_is_for_its_owner_alone():
    first = open_project("mine")
    path = home() / "projects" / "mine.secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert open_project("mine") == first
    assert open_project("yours").secret != first.secret
    path.chmod(0o640)
    with pytest.raises(NotAllowedError):
        open_project("mine")
    path.chmod(0o600)
    path.write_text("12ab\n")
    with pytest.raises(NotAllowedError):
        open_project("mine")
    for name in ("", "../x", "A", "x" * 65, ".x"):
        with pytest.raises(ParameterError):
            open_project(name)


# ---------------------------------------------------------------- text in pictures, and faces

RISKS = {
    "marked": setting("BurnedInAnnotation", "YES"),
    "derived": setting("ImageType", ["DERIVED", "PRIMARY", "AXIAL"]),
    "secondary": setting("ImageType", ["ORIGINAL", "SECONDARY", "AXIAL"]),
    "screen": setting("ImageType", ["ORIGINAL", "PRIMARY", "SCREEN SAVE"]),
    "converted": setting("ConversionType", "WSD"),
    "untyped": lambda dataset, _: delattr(dataset, "ImageType"),
}


@pytest.mark.parametrize("name", RISKS)
def test_series_with_a_risk_of_burned_in_text_are_refused_unless_said(tmp_path, exported, name):
    make_series(tmp_path / "source", ARRAY, edit=RISKS[name])
    code, shown, target = exported()
    assert code == 3
    assert "--accept-burned-in" in shown.replace("\n", "")
    assert tree(target) == {}
    code, shown, target = exported("--accept-burned-in", target="accepted")
    assert code == 0
    assert len(tree(target)) == 12
    removed = {pydicom.dcmread(path).PatientIdentityRemoved for path in target.rglob("*.dcm")}
    # What says itself that there is text in it cannot be called free of identity.
    assert removed == {"NO" if name == "marked" else "YES"}
    (study,) = json.loads((target / "report-0001.json").read_text())["studies"]
    assert study["series"][0]["burned_in_risks_accepted"]


def kind(uid, modality):
    def edit(dataset, index):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid
        dataset.Modality = modality

    return edit


def test_other_objects_of_a_study_are_left_out_always(tmp_path, exported):
    study = generate_uid()

    def of_study(more):
        def edit(dataset, index):
            more(dataset, index)
            dataset.StudyInstanceUID, dataset.PatientID = study, NUMBER

        return edit

    make_series(tmp_path / "source" / "ct", ARRAY, edit=of_study(setting("PatientID", NUMBER)))
    for name, more in {
        "screen": kind(SecondaryCaptureImageStorage, "OT"),
        "ultrasound": kind(UltrasoundImageStorage, "US"),
        "colour": setting("PhotometricInterpretation", "RGB"),
        "private": kind(f"1.2.3.{NUMBER.replace('-', '').replace('KX', '')}", "CT"),
    }.items():
        make_series(tmp_path / "source" / name, ARRAY[:2], edit=of_study(more))
    code, shown, target = exported("--accept-burned-in")
    assert code == 0, shown
    assert len(tree(target)) == 12
    (entry,) = json.loads((target / "report-0001.json").read_text())["studies"]
    assert sum(left["files"] for left in entry["left_out"]) == 8
    assert found_in(target) == set()


def test_a_head_above_the_lungs_is_told():
    volume = make(shape=(80, 96, 96), spacing=(4.0, 3.6, 3.6), lesions="none", seed=3).volume
    assert face_in_view(volume) == ""
    body = volume.array[:, 30:60, 30:60].max()
    head = np.full((60, *volume.shape[1:]), -1000, volume.array.dtype)
    head[:, 30:66, 32:64] = min(int(body), 60)
    from dataclasses import replace

    taller = replace(volume, array=np.concatenate([volume.array, head]))
    assert "face" in face_in_view(taller)


def test_the_header_tells_of_a_face(tmp_path, exported):
    make_series(tmp_path / "source", ARRAY, edit=setting("BodyPartExamined", "HEADNECK"))
    assert "face" in exported()[1]


# ---------------------------------------------------------------- all or nothing


def test_a_study_is_written_wholly_or_not_at_all(tmp_path, exported):
    files = make_series(tmp_path / "source" / "bad", ARRAY, edit=dated("20240317"))
    files[7].write_bytes(files[7].read_bytes()[:-300])
    make_series(tmp_path / "source" / "good", ARRAY, edit=dated("20240401"))
    code, _, target = exported()
    assert code == 10
    assert len(tree(target)) == 12
    assert not list(target.glob(".unfinished-*"))
    report = json.loads((target / "report-0001.json").read_text())
    assert [study.get("refused", "") for study in report["studies"]] == ["unreadable-file", ""]
    # A header that cannot be read may be that of a slice of any study beside it.
    files[7].write_bytes(files[7].read_bytes()[:300])
    shutil.rmtree(target)
    assert exported()[0] == 10
    assert len(tree(target)) == 12


def test_a_study_with_a_file_that_may_not_be_read_is_not_exported_without_it(tmp_path, exported, monkeypatch):
    files = make_series(tmp_path / "source", ARRAY, edit=dated("20240317"))
    # Permissions do not keep root, as whom tests may run, from reading.
    monkeypatch.setattr("covid_bert.deidentification.sources.access", lambda path, _mode: path != files[7])
    code, shown, target = exported()
    assert code == 3
    assert "may not be read" in shown
    assert tree(target) == {}


def test_nothing_is_overwritten(tmp_path, exported):
    make_series(tmp_path / "source", ARRAY, edit=dated("20240317"))
    _, _, target = exported()
    before = tree(target)
    code, shown, _ = exported()
    assert code == 2
    assert "there already" in shown
    assert tree(target) == before
    assert {path.name for path in target.glob("report*")} == {"report-0001.json", "report-0002.json"}
    for source, other in (("source", "source/inside"), ("target", ".")):
        assert exported(source=source, target=other)[0] == 2


def test_files_of_several_persons_are_no_study(tmp_path, exported):
    def edit(dataset, index):
        dataset.PatientID = f"{NUMBER}{index % 2}"

    make_series(tmp_path / "source", ARRAY, edit=edit)
    code, shown, target = exported()
    assert code == 3
    assert "2 patients" in shown
    assert tree(target) == {}


def test_a_zip_and_files_that_are_no_dicom(tmp_path, exported):
    plant(tmp_path / "packed")
    (tmp_path / "packed" / "letter.txt").write_text(NAME)
    shutil.make_archive(str(tmp_path / "study"), "zip", tmp_path / "packed")
    code, shown, target = exported(source="study.zip")
    assert code == 0, shown
    assert len(tree(target)) == 12
    assert found_in(target) == set()
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "letter.txt").write_text("no image")
    assert exported(source="none", target="nothing")[0] == 3
    assert exported(source="missing", target="nothing")[0] == 4
