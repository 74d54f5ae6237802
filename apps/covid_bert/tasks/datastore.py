"""MONAI Label's local datastore, which also offers zip files, MetaImage files and folders as studies."""

from __future__ import annotations

import logging
import re
from itertools import islice
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore

from covid_bert.errors import ParameterError

logger = logging.getLogger(__name__)

EXTENSIONS = ("*.nii.gz", "*.nii", "*.nrrd", "*.nhdr", "*.mha", "*.mhd", "*.zip")
# Folders are only looked into until a file turns up; this bounds the walk through empty ones.
_LOOKED_AT = 10_000
_TAG = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"


class StudyDatastore(LocalDatastore):
    """Files with a known extension, and each folder of DICOM files or slice images, are one study.

    A folder's name is its id. Folders are looked for when the server starts; files are noticed at any time.

    Parameters
    ----------
    path
        Folder with the studies; labels are kept in ``labels`` inside it.
    auto_reload
        Whether to watch the folder.
    read_only
        Whether to leave the index on disk alone.
    """

    def __init__(self, path: str, *, auto_reload: bool = True, read_only: bool = False) -> None:
        super().__init__(path, extensions=EXTENSIONS, auto_reload=auto_reload, read_only=read_only)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a label under a tag, which becomes the name of a folder.

        Raises
        ------
        ParameterError
            If the tag is not a plain name.
        """
        tag = getattr(label_tag, "value", label_tag)
        if not isinstance(tag, str) or re.fullmatch(_TAG, tag) is None:
            raise ParameterError(
                "That is not a tag for labels.", "Use final, original, or letters, digits, '_' and '-'."
            )
        return str(super().save_label(image_id, label_filename, tag, label_info))

    def _list_files(self, path: str, patterns: list[str]) -> dict[str, str]:
        files = {name: name for name in super()._list_files(path, patterns) if (Path(path) / name).is_file()}
        if Path(path).resolve() != Path(self._datastore.image_path()).resolve():
            return files
        labels = Path(self._datastore.label_path(None)).name
        for folder in sorted(Path(path).iterdir()):
            if folder.is_dir() and not folder.name.startswith(".") and folder.name != labels and _holds_files(folder):
                files[folder.name] = folder.name
        return self._without_collisions(files)

    def _without_collisions(self, files: dict[str, str]) -> dict[str, str]:
        """Leave out all inputs whose ids are equal: which of them was meant cannot be told."""
        names: dict[str, list[str]] = {}
        for name in files:
            names.setdefault(self._to_id(name)[0], []).append(name)
        ambiguous = {name for group in names.values() if len(group) > 1 for name in group}
        if ambiguous:
            logger.warning(
                "%d inputs share their name with another one of a different format and are not offered: rename them",
                len(ambiguous),
            )
        return {name: name for name in files if name not in ambiguous}

    def _to_id(self, file: str) -> tuple[str, str]:
        if (Path(self._datastore.image_path()) / file).is_dir():
            return file, ""
        identifier, extension = super()._to_id(file)
        return str(identifier), str(extension)


def _holds_files(folder: Path) -> bool:
    try:
        return any(path.is_file() for path in islice(folder.rglob("*"), _LOOKED_AT))
    except OSError:
        logger.warning("A folder of studies cannot be read and is not offered")
        return False
