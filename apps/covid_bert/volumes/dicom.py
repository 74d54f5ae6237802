"""Reading a DICOM series from a folder."""

from __future__ import annotations

from pathlib import Path

from covid_bert.errors import TooFewSlicesError, UnreadableFileError
from covid_bert.volumes.assembly import assemble, check_shape, check_size
from covid_bert.volumes.dicom_copies import without_copies
from covid_bert.volumes.dicom_geometry import order_slices
from covid_bert.volumes.dicom_headers import SliceHeader, read_headers
from covid_bert.volumes.dicom_pixels import read_hounsfield
from covid_bert.volumes.dicom_selection import select_series
from covid_bert.volumes.volume import Source, Volume


def read_dicom(files: list[Path], path: Path, series: str | None = None) -> Volume:
    """Read the one chest CT series among DICOM files.

    Parameters
    ----------
    files
        The DICOM files.
    path
        The folder or archive that they came from.
    series
        SeriesInstanceUID or SeriesNumber, where there are several.

    Raises
    ------
    InputError, NotFoundError
        If there is no such series, several could be meant, or the slices are not one readable, regular stack of CT.
    """
    return _read([header for file in files for header in read_headers(file)], path, series)


def _read(headers: list[SliceHeader], path: Path, series: str | None) -> Volume:
    chosen, warnings = select_series(headers, series, path)
    check_size(max(header.rows * header.columns for header in chosen.headers) * chosen.places, path.name)
    slices, copies = without_copies(chosen.headers)
    ordered, affine = order_slices(slices, path.name)
    check_shape((ordered[0].columns, ordered[0].rows, len(ordered)), path.name)
    array, value_warnings = read_hounsfield(ordered)
    source = Source(
        path,
        "dicom",
        study_instance_uid=ordered[0].study_instance_uid,
        series_instance_uid=chosen.uid,
        sop_instance_uids=tuple(header.sop_instance_uid for header in ordered),
        frame_numbers=tuple(0 if header.frame is None else header.frame + 1 for header in ordered),
    )
    return assemble(array.transpose(2, 1, 0), affine, source, warnings + copies + value_warnings)


def read_single_file(path: Path, series: str | None = None) -> Volume:
    """Read one DICOM file: an enhanced multi-frame CT.

    Parameters
    ----------
    path
        The file.
    series
        The stack or phase to read, where there are several.

    Raises
    ------
    InputError, NotFoundError
        If it is anything else; one single slice is no study.
    """
    headers = read_headers(path)
    if not headers:
        raise UnreadableFileError(f"'{path.name}' holds no DICOM image.", "Give the folder that holds the CT series.")
    if len(headers) > 1:
        return _read(headers, path, series)
    select_series(headers, None, path)
    raise TooFewSlicesError(
        f"'{path.name}' is one single DICOM slice.", "Give the folder that holds the whole series.", slices=1
    )
