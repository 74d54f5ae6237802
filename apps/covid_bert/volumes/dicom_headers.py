"""Finding DICOM images in a folder and reading the few header fields that geometry and selection need.

Only these fields are parsed: names, dates and free text of the patient never come into memory.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from covid_bert.errors import UnreadableFileError

# pydicom's warnings quote header values.
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "ImageType",
    "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "ConvolutionKernel", "RescaleType", "LossyImageCompression",
]  # fmt: skip


@dataclass(frozen=True)
class SliceHeader:
    """Header fields of one DICOM file; numbers that are missing or malformed are None.

    Parameters
    ----------
    position, orientation
        ImagePositionPatient (3) and ImageOrientationPatient (6), LPS in mm.
    pixel_spacing
        Distance between rows and between columns in mm.
    series_number, kernel, rescale_type, photometric
        As stored; empty where missing.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    series_number: str
    modality: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    samples: int
    frames: int
    photometric: str
    kernel: str
    rescale_type: str
    lossy: bool
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the visible regular files below a folder, in the order of their paths; linked folders are not entered.

    Pipes and devices are passed over: reading one could wait for ever.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        visible = (Path(parent) / name for name in sorted(names) if not name.startswith("."))
        yield from (path for path in visible if path.is_file())


def is_dicom(path: Path) -> bool:
    """Say whether a file starts as DICOM: with the preamble, or, as old files do, with group 0002 or 0008."""
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or (start[:2] in (b"\x02\x00", b"\x08\x00") and start[3:4] == b"\x00")


def read_header(path: Path) -> SliceHeader | None:
    """Read the header of one DICOM file; None for a DICOMDIR, or where a file without preamble is not DICOM.

    Raises
    ------
    UnreadableFileError
        If the header is damaged.
    """
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
        if not len(dataset) or str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == MEDIA_DIRECTORY:
            return None
        return _parse(dataset, path)
    except (
        InvalidDicomError,
        OSError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        NotImplementedError,
    ) as error:
        raise UnreadableFileError(
            f"The DICOM file '{path.name}' is truncated or damaged.", "Export the series again from the PACS."
        ) from error


def _parse(dataset: pydicom.Dataset, path: Path) -> SliceHeader:
    def text(keyword: str) -> str:
        value = dataset.get(keyword)
        return "" if value is None else str(value).strip()

    image_type = dataset.get("ImageType") or ()
    kernel = dataset.get("ConvolutionKernel") or ""
    return SliceHeader(
        path=path,
        sop_class_uid=text("SOPClassUID"),
        sop_instance_uid=text("SOPInstanceUID"),
        study_instance_uid=text("StudyInstanceUID"),
        series_instance_uid=text("SeriesInstanceUID"),
        series_number=text("SeriesNumber"),
        modality=text("Modality").upper(),
        image_type=(image_type,) if isinstance(image_type, str) else tuple(str(part) for part in image_type),
        rows=int(dataset.get("Rows") or 0),
        columns=int(dataset.get("Columns") or 0),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        frames=int(dataset.get("NumberOfFrames") or 1),
        photometric=text("PhotometricInterpretation"),
        kernel=str(kernel) if isinstance(kernel, str) else "/".join(str(part) for part in kernel),
        rescale_type=text("RescaleType").upper(),
        lossy=text("LossyImageCompression") == "01",
        position=_numbers(dataset, "ImagePositionPatient", 3),
        orientation=_numbers(dataset, "ImageOrientationPatient", 6),
        pixel_spacing=_numbers(dataset, "PixelSpacing", 2),
    )


def _numbers(dataset: pydicom.Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(value) for value in dataset.get(keyword) or ())
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(math.isfinite(number) for number in numbers) else None
