"""Under which name, and as which kind of file, a study is sent to clients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covid_bert.datastore.names import split_name
from covid_bert.volumes.study_files import is_detached_header


def is_one_image(path: Path) -> bool:
    """Return whether a study's file is an image that other programs open as it is: no folder, header or archive."""
    return path.is_file() and not is_detached_header(path) and not path.name.endswith(".zip")


def download_name(path: Path) -> str:
    """Return the name under which a study is sent: its file's own or, where it is not one image, that of a NIfTI."""
    return path.name if is_one_image(path) else f"{split_name(path.name)[0]}.nii.gz"


def told_information(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return what clients are told of an image: with the name under which it is sent, without the server's path."""
    # Where the server keeps its studies is nobody else's business.
    told = {key: value for key, value in info.items() if key != "path"}
    path = info.get("path")
    return {**told, "name": download_name(Path(path))} if path and Path(path).exists() else told
