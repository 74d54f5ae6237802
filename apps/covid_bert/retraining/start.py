"""With which versions a run began: taken up again, it goes on from the same ones, whatever is live by then."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from covid_bert.errors import OutputError, WeightsError
from covid_bert.files import write_atomically
from covid_bert.weights.serving import serviceable
from covid_bert.weights.store import installed
from covid_bert.weights.version_folder import InstalledWeights

START_FILE = "start.json"
_ANEW = "Begin a new training."


class _Start(BaseModel):
    """A version and the SHA-256 of its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    sha256: str


class _Starts(RootModel[dict[str, _Start]]):
    """By name of the weights."""


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
        If nothing that is intact is live under one of the names; or, for a run that is taken up again, if what it
        began with is missing, damaged or other weights by now, or what was kept of it cannot be read.
    OutputError
        If the folder cannot be written.
    """
    path = folder / START_FILE
    kept = _read(path)
    found: dict[str, InstalledWeights] = {}
    for name in names:
        weights = _again(name, kept[name]) if name in kept else serviceable(name).weights
        if weights is None:
            raise WeightsError(
                f"No version of {name} is live to begin a training with.",
                "See `covid-bert weights list`, and publish one with `covid-bert weights publish`.",
            )
        found[name] = weights.verified()
    starts = kept | {name: _Start(version=weights.version, sha256=weights.sha256) for name, weights in found.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _Starts(starts).model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise OutputError(
            f"The folder of the training cannot be written: {error.strerror}.", "Free some space and start it again."
        ) from error
    return found


def _read(path: Path) -> dict[str, _Start]:
    try:
        return _Starts.model_validate_json(path.read_bytes()).root
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise WeightsError("With which weights this training began cannot be read any more.", _ANEW) from error


def _again(name: str, start: _Start) -> InstalledWeights:
    weights = installed(name, start.version)
    if weights.sha256 != start.sha256:
        raise WeightsError(f"{name} {start.version} is not what this training began with: it was replaced.", _ANEW)
    return weights
