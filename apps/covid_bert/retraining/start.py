"""With which versions a run began: taken up again, it goes on from the same ones, whatever is live by then."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from covid_bert.errors import OutputError, WeightsError
from covid_bert.files import write_atomically
from covid_bert.weights.serving import serviceable
from covid_bert.weights.store import installed
from covid_bert.weights.version_folder import InstalledWeights

START_FILE = "start.json"


def starting_versions(folder: Path, names: Iterable[str]) -> dict[str, InstalledWeights]:
    """The live versions of some weights (or those that stand in for damaged ones) at the time when a run began.

    Parameters
    ----------
    folder
        Of the run; keeps what was chosen.
    names
        Of the weights.

    Raises
    ------
    WeightsError
        If nothing that is intact is live under one of the names.
    OutputError
        If the folder cannot be written.
    """
    path = folder / START_FILE
    kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found: dict[str, InstalledWeights] = {}
    for name in names:
        weights = installed(name, kept[name]) if name in kept else serviceable(name).weights
        if weights is None:
            raise WeightsError(
                f"No version of {name} is live to begin a training with.",
                "See `covid-bert weights list`, and publish one with `covid-bert weights publish`.",
            )
        found[name] = weights.verified()
    versions = kept | {name: weights.version for name, weights in found.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(versions, indent=2) + "\n")
    except OSError as error:
        raise OutputError(
            f"The folder of the training cannot be written: {error.strerror}.", "Free some space and start it again."
        ) from error
    return found
