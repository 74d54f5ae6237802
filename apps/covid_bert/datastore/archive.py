"""The whole data set as one zip file."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from covid_bert.errors import NotFoundError
from covid_bert.volumes.study_files import study_files


def write_archive(cases: Sequence[dict[str, Any]], listing: bytes) -> str:
    """Write images, labels and the list of all studies into a zip file.

    Parameters
    ----------
    cases
        Paths under the keys ``image`` (file or folder) and ``label``.
    listing
        The list as JSON.

    Returns
    -------
    str
        Path of the file, in the folder for temporary files; the caller removes it.

    Raises
    ------
    NotFoundError
        If there is no case.
    OSError
        If it cannot be written; nothing is left then.
    """
    if not cases:
        raise NotFoundError("No study has a final label yet.", "Save labels first.")
    handle, name = tempfile.mkstemp(suffix=".zip")
    try:
        # Images and masks are mostly compressed already.
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for case in cases:
                for key, path in case.items():
                    parent = Path(path).parent
                    for part in study_files(Path(path)):
                        # The voxels behind a header come with all links followed.
                        below = parent if part.is_relative_to(parent) else parent.resolve()
                        archive.write(part, Path(key) / part.relative_to(below))
            archive.writestr("metadata.json", listing)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return name
