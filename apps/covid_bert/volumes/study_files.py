"""Which files a study consists of: one, those of a folder, or a header and the voxels that it keeps apart."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from covid_bert.errors import UnreadableFileError
from covid_bert.volumes.itk_headers import data_path, read_fields

_DETACHED_SUFFIXES = (".mhd", ".nhdr")
# In the folder of a study whose files come from elsewhere, and may be fetched again: it stands for them.
STATE_FILE = ".series.json"


def is_detached_header(path: Path) -> bool:
    """Whether the name of a file says that its voxels lie in another one."""
    return path.suffix.lower() in _DETACHED_SUFFIXES


def voxel_file(header: Path) -> Path | None:
    """Return the file beside or below a header that holds its voxels, all links followed.

    Parameters
    ----------
    header
        The file, under whatever name.

    Returns
    -------
    Path or None
        None where it is no header, or the voxels lie in itself, are missing, or cannot be read by this program.
    """
    if not header.is_file():
        return None
    with contextlib.suppress(UnreadableFileError):
        found = data_path(header, read_fields(header))
        return None if found == header else found
    return None


def voxels_apart(image: Path) -> Path | None:
    """Return the file of voxels of a study that is a detached header; None for any other study."""
    return voxel_file(image) if is_detached_header(image) else None


def study_files(image: Path) -> list[Path]:
    """Return the files that hold a study.

    Parameters
    ----------
    image
        File or folder of the study.

    Returns
    -------
    list of Path
        Those of a folder in the order of their names; else the file, and behind a detached header its voxels, too.
        The file itself need not exist.

    Raises
    ------
    OSError
        If a folder cannot be read.
    """
    if image.is_dir():
        return sorted(item for item in image.rglob("*") if item.is_file())
    voxels = voxels_apart(image)
    return [image] if voxels is None else [image, voxels]


def state_files(image: Path) -> list[Path]:
    """Return the files that change whenever a study does: its own, or the one that stands for those.

    Parameters
    ----------
    image
        File or folder of the study; errors as in `study_files`.
    """
    state = image / STATE_FILE
    return [state] if state.is_file() else study_files(image)


def header_facts(header: Path) -> str:
    """Return what a header says, but for the name of its voxels' file: equal for a copy under another name.

    Raises
    ------
    UnreadableFileError
        If there is no such header.
    """
    fields = {name: value for name, value in read_fields(header).items() if not name.endswith("datafile")}
    return json.dumps(fields, sort_keys=True)
