"""The files beside the headers of studies that keep their voxels apart (.mhd, .nhdr)."""

from __future__ import annotations

from pathlib import Path

from covid_bert.datastore.names import split_name
from covid_bert.volumes.study_files import voxel_file, voxels_apart


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
    if voxels is None or voxels.parent != folder.resolve():
        return
    if split_name(voxels.name)[1] or voxels.name.startswith("."):
        return
    if voxels not in map(voxels_apart, (path for path in folder.iterdir() if path != header)):
        voxels.unlink(missing_ok=True)
