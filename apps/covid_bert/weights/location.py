"""Where weights and other data of the program lie on this computer, and which names of weights are allowed."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from importlib import resources
from pathlib import Path

from covid_bert.errors import ParameterError
from covid_bert.weights.registry import NAME_PATTERN

HOME_VARIABLE = "COVID_BERT_HOME"


def home() -> Path:
    """The folder for this program's data: ``COVID_BERT_HOME``, else the platform's folder for application data."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "covid-bert"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "covid-bert"
    data_home = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification says to ignore relative paths.
    base = Path(data_home) if Path(data_home).is_absolute() else Path.home() / ".local" / "share"
    return base / "covid-bert"


def weights_root() -> Path:
    """The folder with one folder for each name of weights."""
    return home() / "weights"


def shipped_root() -> Path:
    """The folder, inside the package, of the weights that come with the program."""
    return Path(str(resources.files("covid_bert.weights").joinpath("shipped")))


def downloads_root() -> Path:
    """The folder for downloads that are under way."""
    return home() / "downloads"


def folder_of_studies(purpose: str, studies: Path | str) -> Path:
    """The folder for what the program keeps about a folder of studies, outside of that.

    Parameters
    ----------
    purpose
        What is kept: ``jobs`` or ``retraining``.
    studies
        Folder with the studies, or MONAI Label's address of them.
    """
    named = str(studies) if str(studies).startswith(("http://", "https://")) else str(Path(studies).resolve())
    return home() / purpose / hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def check_name(name: str) -> str:
    """Return `name` if it may be the name of a set of weights.

    Raises
    ------
    ParameterError
        If it is not lower-case letters, digits, dots, hyphens and underscores, at most 64 of them.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise ParameterError(
            "That is not a name for weights.",
            "Use at most 64 lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit.",
        )
    return name
