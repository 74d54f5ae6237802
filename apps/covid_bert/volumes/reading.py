"""`read`: one way in for every format."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from covid_bert.errors import (
    MixedSeriesError,
    NotFoundError,
    OutOfMemoryError,
    ParameterError,
    UnreadableFileError,
)
from covid_bert.volumes.archive import unpacked
from covid_bert.volumes.volume import Volume

FORMATS = (
    "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), a folder or .zip of one DICOM series, one "
    "enhanced multi-frame DICOM file, or a folder or .zip of 8-bit JPEG or PNG slices"
)
_ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")


def read(path: str | Path, *, series: str | None = None) -> Volume:
    """Read a chest CT study.

    Parameters
    ----------
    path
        A NIfTI, NRRD or MetaImage file in Hounsfield units; a folder (searched with its subfolders) or a zip file of
        DICOM files; one enhanced multi-frame DICOM file; or a folder or zip file of 8-bit slice images.
    series
        For DICOM: the SeriesInstanceUID or SeriesNumber to read, where there are several.

    Returns
    -------
    The volume in canonical geometry (see `covid_bert.volumes.volume`); `Volume.warnings` says what was mended.

    Raises
    ------
    NotFoundError
        If the path or the series does not exist.
    InputError
        If the study cannot be used; the subclass says why.
    ParameterError
        If `series` is given for a format without series.
    OutOfMemoryError
        If the study does not fit into memory.

    Examples
    --------
    >>> volume = read("study.nii.gz")  # doctest: +SKIP
    >>> volume.shape, volume.spacing  # doctest: +SKIP
    ((300, 512, 512), (1.0, 0.7, 0.7))
    """
    path = Path(path)
    try:
        if not path.exists():
            raise NotFoundError(f"'{path.name}' does not exist.", f"Give the path of {FORMATS}.")
        return _read(path, series)
    except OSError as error:
        raise UnreadableFileError(
            f"'{path.name}' cannot be read from the disk.", "Check that you may read it and that the disk has space."
        ) from error
    except MemoryError as error:
        raise OutOfMemoryError(
            f"'{path.name}' does not fit into memory.",
            "Close other programs, or use a computer with more memory.",
        ) from error


def _read(path: Path, series: str | None) -> Volume:
    name = path.name.lower()
    if path.is_dir():
        return _read_folder(path, series)
    if not path.is_file():
        raise UnreadableFileError(f"'{path.name}' is neither a file nor a folder.", f"Give {FORMATS}.")
    if name.endswith(".zip"):
        with unpacked(path) as folder:
            volume = _read_folder(folder, series)
        return replace(volume, source=replace(volume.source, path=path))
    if name.endswith((".nii", ".nii.gz", *_ITK_SUFFIXES)):
        _refuse_series(path, series)
        if name.endswith(_ITK_SUFFIXES):
            from covid_bert.volumes.itk_images import read_itk

            return read_itk(path)
        from covid_bert.volumes.nifti import read_nifti

        return read_nifti(path)
    from covid_bert.volumes.dicom import read_single_file
    from covid_bert.volumes.dicom_files import is_dicom

    if is_dicom(path):
        return read_single_file(path, series)
    raise UnreadableFileError(f"'{path.name}' is of a format that is not read here.", f"Give {FORMATS}.")


def _read_folder(folder: Path, series: str | None) -> Volume:
    from covid_bert.volumes.dicom import read_dicom
    from covid_bert.volumes.dicom_files import is_dicom
    from covid_bert.volumes.dicom_headers import files_below
    from covid_bert.volumes.slice_images import IMAGE_SUFFIXES, read_slice_images

    files = list(files_below(folder))
    if not files:
        raise NotFoundError(f"The folder '{folder.name}' is empty.", f"Give {FORMATS}.")
    dicom_files = [file for file in files if is_dicom(file)]
    if dicom_files:
        return read_dicom(dicom_files, folder, series)
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        kinds = Counter(file.suffix.lower() or "files without suffix" for file in files)
        found = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(5))
        raise UnreadableFileError(
            f"The folder '{folder.name}' holds neither DICOM files nor slice images (found: {found}).",
            f"Give {FORMATS}.",
        )
    _refuse_series(folder, series)
    folders = Counter(image.parent for image in images)
    if len(folders) > 1:
        raise MixedSeriesError(
            f"'{folder.name}' holds slice images in {len(folders)} folders.",
            "Give the folder of one study.",
            series=[{"slices": count} for count in folders.values()],
        )
    return read_slice_images(images, folder)


def _refuse_series(path: Path, series: str | None) -> None:
    if series is not None:
        raise ParameterError(
            f"'{path.name}' has no series to choose from.", "Leave the series away; only DICOM has series."
        )
