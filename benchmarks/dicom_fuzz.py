"""Whether damaged DICOM files, by the thousand, are all read or refused, in bounded time and memory.

    python benchmarks/dicom_fuzz.py [--seeds 0 500] [--keep folder]

For each seed, small files in every syntax, enhanced ones and zip files are damaged and read by a process of its own.
What ends that process, raises anything but a typed error, takes more than three seconds or 150 MB more than the others
is shown with its seed. The exit status is 1 if a process ended. The server reads uploads in a process that may end
without harm (tests/server/test_server_strange_dicom.py); this says how often it would.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1] / "tests" / "volumes"
_MEMORY, _SECONDS = 6 * 2**30, 60
_SLOW_SECONDS, _MUCH_MEGABYTES = 3.0, 150
_AT_ONCE = 400


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs=2, type=int, default=(0, 100), metavar=("FIRST", "END"))
    parser.add_argument("--keep", type=Path, help="Folder for the damaged files, to look at them.")
    options = parser.parse_args()
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        files = _damaged(options.keep or Path(temporary), range(*options.seeds))
        while files:
            files = files[_read(files[:_AT_ONCE], outcomes) :]
    for outcome, count in outcomes.most_common():
        print(f"{count:8d}  {outcome}")
    return int(outcomes["PROCESS ENDED"] > 0)


def _damaged(folder: Path, seeds: range) -> list[str]:
    sys.path.insert(0, str(_TESTS))
    from fuzz_maker import damaged, sound_files

    made = []
    for number, sound in enumerate(sound_files(folder / "sound")):
        for seed in seeds:
            file = folder / f"{number}-{seed}" / f"x{sound.suffix}"
            file.parent.mkdir(parents=True)
            file.write_bytes(damaged(sound.read_bytes(), 1000 * seed + number))
            made.append(str(file))
    return made


def _read(files: list[str], outcomes: Counter[str]) -> int:
    """Read files until the process ends; return how many it got through."""
    command = [sys.executable, str(_TESTS / "fuzz_reading.py"), str(_MEMORY), str(_SECONDS), *files]
    paths = os.pathsep.join(path for path in sys.path if path)
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=False)
    name, peak, done = "", 0, 0
    for line in map(json.loads, ran.stdout.splitlines()):
        if "file" in line:
            name = Path(line["file"]).parent.name
            continue
        done += 1
        outcomes[line["outcome"]] += 1
        if line["seconds"] > _SLOW_SECONDS or (peak and line["peak"] > peak + _MUCH_MEGABYTES):
            print(f"{name}: {line['outcome']}, {line['seconds']:.1f} s, peak {line['peak']} MB")
        peak = max(peak, line["peak"])
    if ran.returncode != 0:
        print(f"{name}: the process ended ({ran.returncode})\n{ran.stderr[-1500:]}")
        outcomes["PROCESS ENDED"] += 1
        done += 1
    return done


if __name__ == "__main__":
    sys.exit(main())
