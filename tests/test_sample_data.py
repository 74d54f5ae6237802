"""The real studies in sample-data: complete, unchanged, small, licensed and readable."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import pydicom
import pytest

from covid_bert.volumes import read

FOLDER = Path(__file__).parents[1] / "sample-data"
STUDIES: list[dict[str, Any]] = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))["studies"]
MAXIMUM_BYTES = 40_000_000


def sha256(path: Path) -> str:
    if path.is_dir():
        return hashlib.sha256("".join(sorted(sha256(file) for file in path.iterdir())).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def open_with_library(study: dict[str, Any]) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return values (slices, rows, columns) and spacing, read without this project's own readers."""
    path = FOLDER / study["path"]
    if study["format"] == "nifti":
        image = nibabel.load(path)
        return np.asarray(image.dataobj).transpose(2, 1, 0), image.header.get_zooms()[::-1]
    if study["format"] == "nrrd":
        image = itk.imread(str(path))
        return itk.array_from_image(image), tuple(image.GetSpacing())[::-1]
    slices = sorted(map(pydicom.dcmread, path.iterdir()), key=lambda item: float(item.ImagePositionPatient[2]))
    heights = [float(item.ImagePositionPatient[2]) for item in slices]
    assert np.ptp(np.diff(heights)) < 1e-3
    first = slices[0]
    values = np.stack([item.pixel_array.astype(np.int32) for item in slices]) + int(first.RescaleIntercept)
    return values, (heights[1] - heights[0], *map(float, first.PixelSpacing))


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study["name"])
def test_study_is_unchanged_and_readable(study):
    assert sha256(FOLDER / study["path"]) == study["sha256"]
    values, spacing = open_with_library(study)
    assert len(values) == study["slices"]
    assert spacing == pytest.approx(study["spacing"])
    if study["kind"] == "mask":
        assert set(np.unique(values)) == {0, 1}
    else:
        assert values.min() <= -1000
        assert 700 < values.max() < 4096
        lung = ((values > -950) & (values < -700)).mean()
        assert 0.03 < lung < 0.4


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study["name"])
def test_licences_are_there(study):
    assert study["licence"] in {"CC-BY-4.0", "Apache-2.0", "BSD-3-Clause"}
    assert study["licence_files"]
    for name in study["licence_files"]:
        assert len((FOLDER / name).read_text(encoding="utf-8")) > 500


def test_every_file_is_in_the_manifest():
    listed = {study["path"] for study in STUDIES}
    documents = {"README.md", "LICENSES", "manifest.json", "make_sample_data.py"}
    assert {path.name for path in FOLDER.iterdir() if path.name != "__pycache__"} == listed | documents


def test_size_limit():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < MAXIMUM_BYTES


def test_dicom_study_is_deidentified():
    for path in (FOLDER / "lung_dx_a0001").iterdir():
        header = pydicom.dcmread(path, stop_before_pixels=True)
        assert header.PatientIdentityRemoved == "YES"
        assert str(header.PatientName) == header.PatientID == "Lung_Dx-A0001"
        for keyword in ("PatientBirthDate", "ReferringPhysicianName", "AccessionNumber", "PatientComments"):
            assert not header.get(keyword)
        assert "InstitutionName" not in header


def test_readme_denies_covid_labels_and_names_every_study():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "None of these is a COVID-19 study" in text
    for study in STUDIES:
        assert study["path"] in text


@pytest.mark.parametrize(
    "study", [study for study in STUDIES if study["kind"] == "image"], ids=lambda study: study["name"]
)
def test_own_reader_agrees(study):
    volume = read(FOLDER / study["path"])
    values, _ = open_with_library(study)
    assert volume.spacing == pytest.approx(study["spacing"], rel=1e-5)
    assert volume.shape == values.shape
    # All three files store their columns from right to left and their rows from front to back.
    assert np.array_equal(volume.array, np.maximum(values, -1024))


def test_archives_know_what_each_attribute_is():
    for path in sorted((FOLDER / "lung_dx_a0001").iterdir()):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        # As it stands in the file: pydicom looks the kind up once an element is looked at.
        unknown = [tag for tag in sorted(header.keys()) if header.get_item(tag).VR == "UN"]
        assert not [tag for tag in unknown if pydicom.datadict.dictionary_has_tag(tag)], path.name
