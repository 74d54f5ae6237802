"""Reading a DICOM series from a folder."""

from __future__ import annotations

from pathlib import Path

from covid_bert.errors import TooFewSlicesError, UnreadableFileError
from covid_bert.volumes.assembly import assemble, check_shape
from covid_bert.volumes.dicom_geometry import order_slices
from covid_bert.volumes.dicom_headers import read_header
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
    headers = [header for file in files if (header := read_header(file)) is not None]
    chosen, warnings = select_series(headers, series, path)
    ordered, affine = order_slices(chosen.headers, path.name)
    check_shape((ordered[0].columns, ordered[0].rows, len(ordered)), path.name)
    array, value_warnings = read_hounsfield(ordered)
    source = Source(
        path,
        "dicom",
        study_instance_uid=ordered[0].study_instance_uid,
        series_instance_uid=chosen.uid,
        sop_instance_uids=tuple(header.sop_instance_uid for header in ordered),
    )
    return assemble(array.transpose(2, 1, 0), affine, source, warnings + value_warnings)


def refuse_single_file(path: Path) -> None:
    """Say what is wrong with one DICOM file given instead of a series.

    Raises
    ------
    NotComputedTomographyError, UnreadableFileError, TooFewSlicesError
        Always one of them.
    """
    header = read_header(path)
    if header is None:
        raise UnreadableFileError(f"'{path.name}' holds no DICOM image.", "Give the folder that holds the CT series.")
    select_series([header], None, path)
    raise TooFewSlicesError(
        f"'{path.name}' is one single DICOM slice.", "Give the folder that holds the whole series.", slices=1
    )
