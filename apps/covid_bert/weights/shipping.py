"""Putting trained default weights into the package: for whoever makes a release.

    python -m covid_bert.weights.shipping

takes the live version of each set of weights that this program trains itself, replaces the shipped one, and writes
checksum and size into ``registry.json``.
"""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

from covid_bert.files import write_atomically
from covid_bert.weights.location import shipped_root
from covid_bert.weights.registry import entries
from covid_bert.weights.store import live

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
        If live weights are damaged.
    """
    root = root or shipped_root()
    registry = registry or Path(str(resources.files("covid_bert.weights").joinpath("registry.json")))
    facts = json.loads(registry.read_text(encoding="utf-8"))
    lines = []
    for name in (item.name for item in entries() if item.name.startswith(PREFIX)):
        weights = live(name)
        if weights is None:
            lines.append(f"{name}: none is live")
            continue
        digest = weights.verified().sha256
        place = root / name
        if weights.path.parent != place / weights.version:
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(weights.path.parent, place / weights.version)
        size = weights.path.stat().st_size
        for item in facts["entries"]:
            if item["name"] == name:
                item |= {"sha256": digest, "bytes": size}
        lines.append(f"{name} {weights.version}: {size / 1e6:.2f} MB")
    write_atomically(registry, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return lines


if __name__ == "__main__":
    print("\n".join(ship()))
