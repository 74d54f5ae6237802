"""The manifest of a run (`--report`): what ran where, on which weights, and how long each stage took."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from covid_bert import RESEARCH_USE_ONLY, __version__
from covid_bert.errors import OutputError
from covid_bert.files import write_atomically

_SHARED = ("study", "settings", "seconds", "seconds_by_system", "weights", "files", "outcome", "skipped")
PACKAGES = ("torch", "monai", "monailabel", "numpy", "nibabel", "itk", "pydicom", "scikit-image", "scipy")


def versions() -> dict[str, str]:
    """Versions of this program, Python and the packages that results depend on; absent ones are left out."""
    found = {"covid-bert": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Processor, its number of threads for torch, and the graphics cards."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": str(torch.cpu.get_capabilities().get("cpu_name", ""))
        or platform.processor()
        or platform.machine(),
        "threads": torch.get_num_threads(),
        "graphics": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }


def _without_names(number: int, entry: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in entry.items() if key in _SHARED}
    return {"number": number, **kept, **({"error": entry["error"]["code"]} if "error" in entry else {})}


def write_manifest(path: Path, entries: list[dict[str, Any]]) -> None:
    """Write the manifest of a run.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    content = {
        "research_use_only": RESEARCH_USE_ONLY,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine(),
        # Without the names of the inputs, which may name patients: the index of the output folder has those.
        "studies": [_without_names(number, entry) for number, entry in enumerate(entries, start=1)],
    }
    try:
        write_atomically(path, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise OutputError(
            f"The manifest {path.name} cannot be written: {error.strerror}.", "Choose another."
        ) from error
