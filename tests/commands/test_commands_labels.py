"""`covid-bert labels`: agreement, export, import and split, as an operator calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from command_line import run

from covid_bert.server.audit import AuditLog, default_audit_folder
from needed import require_module

SHAPE = (16, 16, 10)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A folder with one study that two readers have labelled."""
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.datastore.store import StudyDatastore
    from covid_bert.datastore.study_labels import StudyLabel

    folder = tmp_path / "studies"
    folder.mkdir()
    values = np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1.0, -1, 2, 1])), folder / "MUSTERMANN.nii.gz")
    store = StudyDatastore(str(folder))
    for author, shift in (("anna", 0), ("bert", 1)):
        mask = np.zeros(SHAPE, np.uint8)
        mask[2:6, 4:12, 2 + shift : 8 + shift], mask[10:14, 4:12, 2:8] = 1, 2
        nibabel.save(nibabel.Nifti1Image(mask, np.diag([-1.0, -1, 2, 1])), tmp_path / "mask.nii.gz")
        store.save_label("MUSTERMANN", str(tmp_path / "mask.nii.gz"), "final", {"user": author})
        store.save_study_label("MUSTERMANN", StudyLabel(study_class="covid", certainty="certain"), author)
    return folder


def test_agreement_is_printed_and_given_as_json(studies: Path) -> None:
    code, shown = run("labels", "agreement", "--studies", studies)
    assert code == 0
    assert "anna, bert" in shown
    assert "does not exist" in shown, "kappa of a single class"
    code, shown = run("labels", "agreement", "--studies", studies, "--json")
    found = json.loads(shown)
    assert code == 0
    assert found["masks"][0]["cases"] == found["fleiss_cases"] == 1
    assert found["masks"][0]["estimate"]["value"] == pytest.approx((5 / 6 + 1) / 2)
    assert found["left_out"] == []


def test_a_label_set_is_carried_to_another_folder(studies: Path, tmp_path: Path) -> None:
    target = tmp_path / "labels.zip"
    code, shown = run("labels", "export", "--studies", studies, target)
    assert (code, "1 cases, 4 versions" in shown, "MUSTER" in shown) == (0, True, False)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(studies / "MUSTERMANN.nii.gz", other / "case-1.nii.gz")
    code, shown = run("labels", "import", "--studies", other, target)
    assert (code, "4 versions were added" in shown) == (0, True)
    assert (other / "labels" / "final" / "case-1.nii.gz").is_file()
    code, shown = run("labels", "import", "--studies", other, target)
    assert (code, "0 versions were added" in shown) == (0, True)
    (other / "case-1.nii.gz").unlink()
    code, shown = run("labels", "import", "--studies", other, target)
    assert (code, "--known-only" in shown) == (4, True)
    lines = [json.loads(line) for file in AuditLog(default_audit_folder()).files() for line in file.open()]
    imports = [line for line in lines if line["action"] == "labels-imported"]
    assert [(line["outcome"], line["versions"]) for line in imports] == [
        ("begun", 4), ("done", 4), ("begun", 0), ("done", 0)
    ]  # fmt: skip


def test_an_import_that_cannot_be_recorded_does_not_happen(studies: Path, tmp_path: Path) -> None:
    target = tmp_path / "labels.zip"
    run("labels", "export", "--studies", studies, target)
    shutil.rmtree(studies / "labels")
    (studies / "datastore_v2.json").unlink()
    run("token", "add", "anna", "--role", "reader")
    (default_audit_folder() / "key").unlink()
    code, _ = run("labels", "import", "--studies", studies, target)
    assert code == 9
    assert not (studies / "labels" / "final").exists()


def test_the_split_is_shown_and_its_shares_changed(studies: Path) -> None:
    run("labels", "agreement", "--studies", studies)
    code, shown = run("labels", "split", "--studies", studies)
    assert (code, "60% training, 20% validation, 20% test" in shown) == (0, True)
    kept = shown.splitlines()[:3]
    assert sum(int(line.split()[1]) for line in kept) == 1
    code, shown = run("labels", "split", "--studies", studies, "--training", "70", "--validation", "10")
    assert (code, "70% training, 10% validation, 20% test" in shown) == (0, True)
    assert shown.splitlines()[:3] == kept
    assert run("labels", "split", "--studies", studies, "--training", "90")[0] == 2
    assert run("labels", "split", "--studies", studies, "--training", "95", "--validation", "5")[0] == 2


@pytest.mark.parametrize("command", [["agreement"], ["export", "new.zip"], ["import", "old.zip"], ["split"]])
def test_a_folder_that_is_not_there_is_said(tmp_path: Path, command: list[str]) -> None:
    code, _ = run("labels", command[0], "--studies", tmp_path / "nowhere", *(tmp_path / name for name in command[1:]))
    assert code == 4
    assert list(tmp_path.iterdir()) == []
