"""A very long study stays within 4 GiB, through the published network and through the small one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from covid_bert.volumes import read

pytestmark = pytest.mark.slow
SLICES = 1200
LIMIT_GIBIBYTES = 4.0


@pytest.fixture
def long_study(sample_data: Path, tmp_path: Path) -> Path:
    """The real DICOM study with each slice repeated: 1,200 slices of 512x512."""
    volume = read(sample_data / "lung_dx_a0001")
    array = volume.array[np.arange(SLICES) * volume.shape[0] // SLICES].transpose(2, 1, 0)
    affine = volume.affine.copy()
    affine[:3, 2] *= volume.shape[0] / SLICES
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "long.nii")
    return tmp_path / "long.nii"


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="peak memory of a child is read by wait4")
@pytest.mark.parametrize(("configuration", "clips"), [("corrected", 11), ("small", 1)])
def test_long_study_stays_within_four_gibibytes(
    long_study: Path, tmp_path: Path, configuration: str, clips: int
) -> None:
    out = tmp_path / "out"
    command = [
        *(sys.executable, "-m", "covid_bert.cli", "classify", str(long_study)),
        "--system",
        "s2",
        "--configuration",
        configuration,
        "--out",
        str(out),
    ]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, (tmp_path / "log").read_text()
    result = json.loads(next(out.glob(f"*.s2-{configuration}.json")).read_text())
    assert result["study"]["slices"] == SLICES
    assert len(result["windows"]) >= clips
    assert usage.ru_maxrss / 2**20 < LIMIT_GIBIBYTES
    print(f"peak {usage.ru_maxrss / 2**20:.2f} GiB, {len(result['windows'])} clips, {result['provenance']['seconds']}")
