"""`covid-bert classify --dicom`: what is written, refused and skipped."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest
from command_line import run

from covid_bert.phantom import write_dicom

SECRET = "DOE^JANE"


@pytest.mark.usefixtures("small_networks")
def test_results_are_written_as_dicom_once_for_each_series(tmp_path, phantom) -> None:
    study, out, dicom = tmp_path / SECRET, tmp_path / "out", tmp_path / "dicom"
    files = write_dicom(phantom, study, patient_id=SECRET)
    options = ("--system", "baseline", "--lungs", "morphological", "--out", out, "--dicom", dicom)
    code, shown = run("classify", study, *options)
    assert code == 0
    assert SECRET not in shown
    folder = next(dicom.iterdir())
    written = {path.name: pydicom.dcmread(path) for path in folder.iterdir()}
    assert set(written) == {
        "lungs.dcm",
        *(f"baseline-corrected.{kind}.dcm" for kind in ("measurements", "report", "picture")),
    }
    original = pydicom.dcmread(files[0])
    for name, dataset in written.items():
        assert dataset.StudyInstanceUID == original.StudyInstanceUID
        assert str(dataset.PatientName) == SECRET
        assert SECRET not in f"{folder.name}{name}"
    index = json.loads((out / "studies.json").read_text())
    assert original.SeriesInstanceUID not in json.dumps(index)
    assert "skipped" in run("classify", study, *options)[1]
    # The same image in another series is another study for an archive.
    write_dicom(phantom, tmp_path / "other", patient_id="SOMEBODY^ELSE")
    code, shown = run("classify", tmp_path / "other", *options)
    assert code == 0
    assert "the same image" not in shown
    assert len(list(dicom.iterdir())) == 2
    # So is the same series of a patient whose name was corrected.
    for file in (tmp_path / "other").iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PatientName = dataset.PatientID = "SOMEBODY^CORRECTED"
        dataset.save_as(file)
    code, shown = run("classify", tmp_path / "other", *options)
    assert code == 0
    assert "the same image" not in shown
    (corrected,) = (each for each in dicom.iterdir() if each != folder)
    assert {pydicom.dcmread(file).PatientID for file in corrected.iterdir()} == {"SOMEBODY^CORRECTED"}
    assert "SOMEBODY" not in (out / "studies.json").read_text()
    (folder / "lungs.dcm").unlink()
    assert "skipped" not in run("classify", study, *options)[1]
    again = pydicom.dcmread(folder / "lungs.dcm")
    assert again.SOPInstanceUID == written["lungs.dcm"].SOPInstanceUID


def test_a_study_that_is_not_dicom_is_refused_before_anything_is_computed(chest: Path, tmp_path) -> None:
    code, shown = run("classify", chest, "--out", tmp_path / "out", "--dicom", tmp_path / "dicom")
    assert code == 3
    assert "not DICOM" in shown
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_the_folder_for_dicom_must_not_lie_in_the_study(tmp_path, phantom) -> None:
    write_dicom(phantom, tmp_path / "study")
    options = ("--out", tmp_path / "out", "--dicom", tmp_path / "study" / "results")
    code, shown = run("classify", tmp_path / "study", *options)
    assert code == 2
    assert "inside a study" in shown
