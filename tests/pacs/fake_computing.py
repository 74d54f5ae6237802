"""Computing as the router's process does it, with known results in place of networks, and studies that do harm."""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pydicom

from covid_bert.errors import WeightsError
from covid_bert.pacs.classifying import compute


class _System:
    def classify(self, volume, **_):
        # What does harm does it without long imports.
        from result_maker import classify

        return classify(volume)


@dataclass(frozen=True)
class FakeComputing:
    """Notes each computation as a line in a file. A study's SeriesDescription says what harm it does."""

    marks: Path

    def __call__(self):
        return functools.partial(_compute, self.marks)

    def runs(self) -> list[str]:
        return self.marks.read_text().split() if self.marks.exists() else []


def _compute(marks, request, progress, folder):
    study = Path(request["study"])
    with marks.open("a") as file:
        file.write(f"{study.name}\n")
    harm = str(pydicom.dcmread(next(study.glob("*.dcm")), stop_before_pixels=True).get("SeriesDescription", ""))
    if harm == "KILL":
        os._exit(1)
    if harm == "RAISE":
        raise RuntimeError("Doe^Jane")
    if harm == "WEIGHTS":
        raise WeightsError("The weights are damaged.", "Fetch them.")
    if harm == "SLOW":
        time.sleep(600)
    return compute(lambda _device: _System(), "cpu", request, progress, folder)
