"""The files beside the headers of studies that keep their voxels apart (.mhd, .nhdr)."""

from __future__ import annotations

from pathlib import Path

from covid_bert.datastore.names import split_name
from covid_bert.errors import UnreadableFileError
from covid_bert.volumes.itk_headers import read_fields

HEADER_SUFFIXES = (".mhd", ".nhdr")


def remove_voxels(header: Path) -> None:
    """Remove the file that holds the voxels of a study which is being removed.

    It stays where it is a study itself, belongs to another header too, or lies elsewhere than beside its header.

    Parameters
    ----------
    header
        The study, under whatever name; nothing happens where it is no header.

    Raises
    ------
    OSError
        If it cannot be removed.
    """
    folder, voxels = header.parent, voxel_file(header)
    if voxels is None or split_name(voxels.name)[1] or voxels.name.startswith("."):
        return
    others = (path for path in folder.iterdir() if path.suffix.lower() in HEADER_SUFFIXES and path != header)
    if voxels not in map(voxel_file, others):
        voxels.unlink(missing_ok=True)


def voxel_file(header: Path) -> Path | None:
    """The file beside a header that it names, or None."""
    if not header.is_file():
        return None
    try:
        fields = read_fields(header)
    except UnreadableFileError:
        return None
    named = fields.get("elementdatafile") or fields.get("datafile") or ""
    path = header.parent / named
    return path if named and path.parent == header.parent and path.is_file() else None
