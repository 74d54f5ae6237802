"""Folders with labels of several readers, and what brings them from one to the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lung_labels import add_studies, lungs, save_lungs, say

from covid_bert.datastore.label_export import export_labels
from covid_bert.datastore.label_import import LabelImport, checked_import
from covid_bert.datastore.store import StudyDatastore

NAME = "MUSTERMANN-4711"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder whose studies are named after a patient, with labels of three readers and their history."""
    folder = tmp_path / "site"
    folder.mkdir()
    add_studies(folder, NAME, "second")
    store = StudyDatastore(str(folder))
    save_lungs(store, tmp_path, NAME, "anna", client_id="PACS-OF-MUSTERMANN")
    save_lungs(store, tmp_path, NAME, "bert", lungs(1))
    say(store, NAME, "bert", "covid")
    save_lungs(store, tmp_path, "second", "anna", lungs(2))
    store.remove_label("second", "final", "clara")
    say(store, "second", "clara", "normal")
    return folder


@pytest.fixture
def archive(site: Path, tmp_path: Path) -> Path:
    export_labels(site, tmp_path / "labels.zip", tmp_path / "cache")
    return tmp_path / "labels.zip"


@pytest.fixture
def elsewhere(site: Path, tmp_path: Path) -> Path:
    """Another folder with the same images under other names."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copy(site / f"{NAME}.nii.gz", folder / "a.nii.gz")
    shutil.copy(site / "second.nii.gz", folder / "b.nii.gz")
    return folder


def bring(source: Path, folder: Path, tmp_path: Path, **options: bool) -> tuple[int, LabelImport]:
    with checked_import(source, folder, tmp_path / "cache", **options) as prepared:
        return prepared.merge(), prepared
