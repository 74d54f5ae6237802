"""Putting trained default weights into the package: for whoever makes a release.

    python -m covid_bert.weights.shipping

takes the live version of each set of weights that this program trains itself, replaces the shipped one, and writes
checksum and size into ``registry.json``. What is shipped gets the next version of a series of its own (``r001``), which
no site's version is ever of.
"""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

from covid_bert.errors import WeightsError
from covid_bert.files import write_atomically
from covid_bert.weights.location import shipped_root
from covid_bert.weights.pointer import SHIPPED_VERSION
from covid_bert.weights.registry import entries
from covid_bert.weights.store import live, version_number
from covid_bert.weights.version_folder import MANIFEST_FILE, InstalledWeights

PREFIX = "default-"


def ship(root: Path | None = None, registry: Path | None = None) -> list[str]:
    """Copy the live default weights to where the shipped ones lie.

    Parameters
    ----------
    root
        Instead of the package's folder of shipped weights.
    registry
        Instead of the package's ``registry.json``.

    Returns
    -------
    list of str
        A line for each set of weights: its name, version and size, or that there is none.

    Raises
    ------
    WeightsError
        If live weights are damaged, or were not trained together; nothing is copied then.
    """
    root = root or shipped_root()
    registry = registry or Path(str(resources.files("covid_bert.weights").joinpath("registry.json")))
    facts = json.loads(registry.read_text(encoding="utf-8"))
    names = [item.name for item in entries() if item.name.startswith(PREFIX)]
    found = {name: weights.verified() for name in names if (weights := live(name)) is not None}
    # All are checked before the first is copied.
    _check_together(found)
    lines = [f"{name}: none is live" for name in names if name not in found]
    for name, weights in found.items():
        version = weights.version
        if weights.path.parent.parent != root / name:
            version = _next_version(root / name)
            copied = root / f"{name}.copied"
            shutil.copytree(weights.path.parent, copied)
            manifest = weights.manifest.model_copy(update={"version": version})
            write_atomically(copied / MANIFEST_FILE, manifest.model_dump_json(indent=2) + "\n")
            shutil.rmtree(root / name, ignore_errors=True)
            (root / name).mkdir()
            copied.rename(root / name / version)
        size = weights.path.stat().st_size
        for item in facts["entries"]:
            if item["name"] == name:
                item |= {"sha256": weights.sha256, "bytes": size}
                if weights.manifest.input is not None:
                    item["input"] = weights.manifest.input.model_dump(mode="json")
        lines.append(f"{name} {version}: {size / 1e6:.2f} MB")
    write_atomically(registry, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return lines


def _next_version(folder: Path) -> str:
    """The version after all that lie in a folder of shipped ones."""
    numbers = [version_number(path.name) for path in folder.glob("*") if SHIPPED_VERSION.fullmatch(path.name)]
    return f"r{1 + max(numbers, default=0):03d}"


def _check_together(found: dict[str, InstalledWeights]) -> None:
    """Refuse weights that were fitted with others than those that would be shipped beside them."""
    for name, weights in found.items():
        for other, sha256 in weights.manifest.fitted_with.items():
            if other not in found or found[other].sha256 != sha256:
                raise WeightsError(
                    f"The live version of {name} was fitted with another version of {other} than the live one.",
                    "Make versions live that were trained together.",
                )


if __name__ == "__main__":
    print("\n".join(ship()))
