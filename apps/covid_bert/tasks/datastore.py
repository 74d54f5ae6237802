"""MONAI Label's local datastore, which also offers zip files, MetaImage files and folders as studies."""

from __future__ import annotations

from pathlib import Path

from monailabel.datastore.local import LocalDatastore

EXTENSIONS = ("*.nii.gz", "*.nii", "*.nrrd", "*.mha", "*.zip")


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

    def _list_files(self, path: str, patterns: list[str]) -> dict[str, str]:
        files = super()._list_files(path, patterns)
        if Path(path).resolve() != Path(self._datastore.image_path()).resolve():
            return files
        labels = Path(self._datastore.label_path(None)).name
        for folder in Path(path).iterdir():
            hidden = folder.name.startswith(".") or folder.name == labels
            if folder.is_dir() and not hidden and any(child.is_file() for child in folder.iterdir()):
                files[folder.name] = folder.name
        return files

    def _to_id(self, file: str) -> tuple[str, str]:
        if (Path(self._datastore.image_path()) / file).is_dir():
            return file, ""
        identifier, extension = super()._to_id(file)
        return str(identifier), str(extension)
