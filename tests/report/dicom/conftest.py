from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Makers of DICOM series and of volumes.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "volumes"))


@pytest.fixture(scope="session")
def chest(tmp_path_factory: pytest.TempPathFactory):
    """A small study with its result and the objects of it."""
    from result_maker import classify, make_study

    from covid_bert.report.dicom import dicom_results, read_source

    volume = make_study(tmp_path_factory.mktemp("chest") / "study")
    source, classification = read_source(volume), classify(volume)
    return volume, source, classification, dicom_results(source, volume, classification)
