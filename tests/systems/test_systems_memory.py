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
# Between this process and the measured one: what starts a process counts as its peak, and the tests' own may be large.
MEASURE = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
    "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


@pytest.fixture
def long_study(sample_data: Path, tmp_path: Path) -> Path:
    """The real DICOM study with each slice repeated: 1,200 slices of 512x512."""
    volume = read(sample_data / "lung_dx_a0001")
    array = volume.array[np.arange(SLICES) * volume.shape[0] // SLICES].transpose(2, 1, 0)
    affine = volume.affine.copy()
    affine[:3, 2] *= volume.shape[0] / SLICES
    nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "long.nii")
    return tmp_path / "long.nii"


@pytest.mark.skipif(os.name == "nt", reason="peak memory of a child is read by getrusage")
@pytest.mark.parametrize(("configuration", "clips"), [("corrected", 11), ("small", 1)])
def test_long_study_stays_within_four_gibibytes(
    long_study: Path, tmp_path: Path, configuration: str, clips: int
) -> None:
    out = tmp_path / "out"
    command = [
        *(sys.executable, "-c", MEASURE),
        *(sys.executable, "-m", "covid_bert.cli", "classify", str(long_study)),
        "--system",
        "s2",
        "--configuration",
        configuration,
        "--out",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    peak = int(done.stdout.splitlines()[-1].removeprefix("peak ")) / 2**20
    result = json.loads(next(out.glob(f"*.s2-{configuration}.json")).read_text())
    assert result["study"]["slices"] == SLICES
    assert len(result["windows"]) >= clips
    assert peak < LIMIT_GIBIBYTES
    print(f"peak {peak:.2f} GiB, {len(result['windows'])} clips, {result['provenance']['seconds']}")
