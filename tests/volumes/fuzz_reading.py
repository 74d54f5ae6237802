"""Reads damaged files one after the other, in a process of its own: a line of JSON for each.

Arguments: most bytes of memory, most seconds of one file, then the files. A program of the tests, not a test.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from pathlib import Path

from covid_bert.errors import CovidBertError
from covid_bert.volumes import read
from covid_bert.volumes.dicom_copies import without_copies
from covid_bert.volumes.dicom_files import is_dicom
from covid_bert.volumes.dicom_headers import read_headers
from covid_bert.volumes.dicom_patient import patients_of
from covid_bert.volumes.dicom_pixels import read_hounsfield


def look_at(path: Path) -> None:
    """Read a file in every way in which the program does."""
    patients_of(path.parent if path.suffix == ".dcm" else path)
    if is_dicom(path):
        headers = [header for header in read_headers(path) if header.rows and header.columns]
        for header in headers[:2]:
            read_hounsfield([header])
        without_copies([*headers[:1], *headers[:1]])
    read(path)


def main(memory: int, seconds: int, paths: list[str]) -> None:
    """Look at all files."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for name in paths:
        print(json.dumps({"file": name}), flush=True)
        signal.alarm(seconds)
        begin = time.monotonic()
        outcome = "read"
        try:
            look_at(Path(name))
        except CovidBertError as error:
            outcome = error.code
        # A MemoryError inside a helper that `read` does not wrap is what `read` makes an error of.
        except MemoryError:
            outcome = "out-of-memory"
        signal.alarm(0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"outcome": outcome, "seconds": time.monotonic() - begin, "peak": peak}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
