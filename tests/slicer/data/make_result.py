"""Make result.json: what `covid-bert classify` says of the CT in sample-data/lung1_image.nrrd (about a minute)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parents[2] / "sample-data" / "lung1_image.nrrd"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "covid_bert.cli", "classify", str(SAMPLE), "--out", folder], check=True)
        (made,) = Path(folder).glob("*.s1-*.json")
        (HERE / "result.json").write_text(made.read_text(encoding="utf-8"), encoding="utf-8")
