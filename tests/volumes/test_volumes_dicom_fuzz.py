"""Damaged files, by fixed seeds: each is read or refused, in bounded memory and time, and no process ends of it.

benchmarks/dicom_fuzz.py does the same for as many seeds as one likes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_maker import damaged, sound_files
from volume_maker import PATIENT_ID

from covid_bert import errors

SEEDS = range(14)
MEMORY, SECONDS = 6 * 2**30, 120
CODES = {
    each.code for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.CovidBertError)
}


@pytest.mark.slow
def test_damaged_files_are_read_or_refused(tmp_path):
    files = []
    for number, sound in enumerate(sound_files(tmp_path / "sound")):
        for seed in SEEDS:
            file = tmp_path / f"{number}-{seed}" / f"x{sound.suffix}"
            file.parent.mkdir()
            file.write_bytes(damaged(sound.read_bytes(), 1000 * seed + number))
            files.append(str(file))
    program = Path(__file__).with_name("fuzz_reading.py")
    paths = os.pathsep.join(path for path in sys.path if path)
    ran = subprocess.run(
        [sys.executable, str(program), str(MEMORY), str(SECONDS), *files],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0, f"{lines[-1:]} {ran.stderr[-2000:]}"
    outcomes = [line["outcome"] for line in lines if "outcome" in line]
    assert len(outcomes) == len(files)
    assert set(outcomes) <= {"read"} | CODES - {"internal", "error"}
    assert {"read", "unreadable-file", "too-few-slices", "bad-archive"} <= set(outcomes)
    # libjpeg prints what is wrong with an image; nothing prints what is in a file.
    assert {line.split(":")[0] for line in ran.stderr.splitlines()} <= {"Corrupt JPEG data"}
    assert PATIENT_ID not in ran.stdout
