"""Real files of other makers, and damaged ones: exported without a word of the patient, or refused in words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fuzz_maker import damaged, sound_files
from planted import found_in, plant
from pydicom.data import get_testdata_file
from volume_maker import PATIENT_ID, PATIENT_NAME

from covid_bert.deidentification import Export, Options, Project
from covid_bert.deidentification.sources import find
from covid_bert.errors import CovidBertError
from covid_bert.progress import Progress

OF_PYDICOM = Path(get_testdata_file("CT_small.dcm")).parent
SEEDS = range(4)
_IDS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "AccessionNumber")


def test_real_files_are_exported_with_their_pixels_alone(tmp_path, exported):
    """Slices with private attributes and thumbnails; and a medium of three patients, whose images lost their pixels."""
    source = tmp_path / "source"
    shutil.copytree(OF_PYDICOM / "dicomdirtests", source / "medium")
    for path in OF_PYDICOM.glob("*.dcm"):
        (source / path.stem).mkdir()
        shutil.copy(path, source / path.stem)
    originals = [pydicom.dcmread(path, force=True) for path in source.rglob("*") if path.is_file()]
    words = {str(each.get(keyword) or "").lower() for each in originals for keyword in ("PatientName", *_IDS)}
    words |= {part for word in words for part in word.split("^")}
    code, shown, target = exported("--accept-burned-in")
    assert code == 10, shown
    written = [pydicom.dcmread(path) for path in target.rglob("*.dcm")]
    assert {each.Modality for each in written} == {"CT"}
    # Eight digits in a row are also values of pixels.
    searched = [word.encode() for word in words if len(word) > 5 and not word.isdigit()]
    assert found_in(target, searched) == set()
    assert not any(element.tag.is_private for each in written for element in each.iterall())
    original = pydicom.dcmread(OF_PYDICOM / "CT_small.dcm")
    (same,) = (each for each in written if np.array_equal(each.pixel_array, original.pixel_array))
    assert (same.RescaleIntercept, same.PixelSpacing) == (original.RescaleIntercept, original.PixelSpacing)
    report = json.loads((target / "report-0001.json").read_text())
    assert {"unreadable-file", "bad-input"} <= {study.get("refused") for study in report["studies"]}


@pytest.mark.slow
def test_the_terminal_shows_nobody(tmp_path):
    """pydicom's warnings quote values."""
    plant(tmp_path / "source")
    command = [
        sys.executable,
        "-W",
        "always",
        "-m",
        "covid_bert.cli",
        "deidentify",
        "source",
        "target",
        "--project",
        "x",
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert ran.returncode == 0, ran.stderr
    assert "uenzel" not in ran.stdout + ran.stderr
    assert "KX-4711" not in ran.stdout + ran.stderr


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_damaged_files_are_exported_or_refused(tmp_path):
    outcomes, said = set(), []
    for number, sound in enumerate(path for path in sound_files(tmp_path / "sound") if path.suffix == ".dcm"):
        for seed in SEEDS:
            folder = tmp_path / f"{number}-{seed}"
            folder.mkdir()
            (folder / "x.dcm").write_bytes(damaged(sound.read_bytes(), 1000 * seed + number))
            export = Export(tmp_path / "target" / folder.name, Project("test", bytes(32)), Options())
            try:
                with export.own_folder():
                    found = find(folder)
                    for study in found.studies:
                        export.study(study, found, Progress())
                        outcomes.add("exported")
            except CovidBertError as error:
                outcomes.add(error.code)
                said.append(str(error))
    assert {"exported", "unreadable-file"} <= outcomes
    assert not any(PATIENT_ID in text for text in said)
    assert (
        found_in(tmp_path / "target", [PATIENT_NAME.split("^")[1].lower().encode(), PATIENT_ID.lower().encode()])
        == set()
    )
    assert not list((tmp_path / "target").rglob(".unfinished-*"))
