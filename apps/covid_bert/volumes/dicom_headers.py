"""Finding DICOM images in a folder and reading the few header fields that geometry and selection need.

Only these fields are parsed: names, birth dates and free text of the patient never come into memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from covid_bert.errors import UnreadableFileError
from covid_bert.volumes.dicom_files import damaged, guarded, read_header_of
from covid_bert.volumes.dicom_frames import Frame, frames_of, parts_of

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
MAX_SIDE = 65_535
# The kinds of PhotometricInterpretation that a CT can have.
GREY = ("MONOCHROME1", "MONOCHROME2")
HEADER_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "FrameOfReferenceUID",
    "Modality", "ImageType", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "ConvolutionKernel", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "LossyImageCompression",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


@dataclass(frozen=True)
class SliceHeader:
    """Header fields of one slice: of a file, or of one frame of a multi-frame file.

    Parameters
    ----------
    frame
        Place of the frame in its file, from 0 on; None for a file of one image.
    part
        Stack and phase that a multi-frame file puts the frame into; empty where it has one only.
    frames
        Number of frames of a multi-frame file that does not describe them; else 1.
    position, orientation
        ImagePositionPatient (3) and ImageOrientationPatient (6), LPS in mm; None where missing or malformed.
    pixel_spacing
        Distance between rows and between columns in mm; None where missing or malformed.
    slope, intercept
        RescaleSlope and RescaleIntercept; None where missing, NaN where malformed.
    series_number, kernel, rescale_type, photometric, frame_of_reference
        As stored; empty where missing.
    lookup
        Whether a table takes the place of slope and intercept.
    lossy
        LossyImageCompression as stored: ``01`` where something was lost.
    """

    path: Path
    frame: int | None
    part: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference: str
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
    slope: float | None
    intercept: float | None
    lookup: bool
    lossy: str
    transfer_syntax: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None

    @property
    def name(self) -> str:
        """Base name of the file, and the frame's number, for messages."""
        return f"'{self.path.name}'" if self.frame is None else f"'{self.path.name}' (frame {self.frame + 1})"


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the visible regular files below a folder, in the order of their paths; linked folders are not entered.

    Pipes and devices are passed over: reading one could wait for ever.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        visible = (Path(parent) / name for name in sorted(names) if not name.startswith("."))
        yield from (path for path in visible if path.is_file())


def read_headers(path: Path) -> list[SliceHeader]:
    """Read the header of one DICOM file: one for an image, one for each frame of an enhanced multi-frame image.

    Empty for a DICOMDIR, or where a file without preamble is not DICOM.

    Raises
    ------
    UnreadableFileError
        If the header is damaged.
    """
    dataset = read_header_of(path, HEADER_TAGS)
    directory = guarded(path, lambda: str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == MEDIA_DIRECTORY)
    if not len(dataset) or directory:
        return []
    return guarded(path, lambda: headers_of(dataset, path))


def headers_of(dataset: pydicom.Dataset, path: Path) -> list[SliceHeader]:
    """Return the headers of a data set with `HEADER_TAGS` and ``file_meta``, as `read_headers` does of a file.

    Raises
    ------
    UnreadableFileError
        If its frames or sides contradict each other; anything else where values are damaged: see `guarded`.
    """
    frames = frames_of(dataset)
    stated = int(dataset.get("NumberOfFrames") or 1)
    if frames and len(frames) != stated:
        raise UnreadableFileError(
            f"'{path.name}' has {stated} frames, but describes {len(frames)}.", "Export the series again from the PACS."
        )
    sources: list[pydicom.Dataset | Frame] = [*frames] or [dataset]
    parts = parts_of(frames) or [""]
    whole = _whole(dataset, path)
    return [
        _slice(source, whole, index if frames else None, part)
        for index, (source, part) in enumerate(zip(sources, parts, strict=True))
    ]


def is_marked(dataset: pydicom.Dataset) -> bool:
    """Whether an image says itself that text which names somebody is burned into it (BurnedInAnnotation)."""
    return str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES"


def _whole(dataset: pydicom.Dataset, path: Path) -> dict[str, Any]:
    """Return what all frames of a file have in common."""
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if min(rows, columns) < 0 or max(rows, columns) > MAX_SIDE:
        raise damaged(path)
    return {
        "path": path,
        "sop_class_uid": _text(dataset, "SOPClassUID"),
        "sop_instance_uid": _text(dataset, "SOPInstanceUID"),
        "study_instance_uid": _text(dataset, "StudyInstanceUID"),
        "series_instance_uid": _text(dataset, "SeriesInstanceUID"),
        "frame_of_reference": _text(dataset, "FrameOfReferenceUID"),
        "series_number": _text(dataset, "SeriesNumber"),
        "modality": _text(dataset, "Modality").upper(),
        "rows": rows,
        "columns": columns,
        "samples": int(dataset.get("SamplesPerPixel") or 1),
        "photometric": _text(dataset, "PhotometricInterpretation") or "MONOCHROME2",
        "lookup": "ModalityLUTSequence" in dataset,
        "lossy": _text(dataset, "LossyImageCompression"),
        "transfer_syntax": str(dataset.file_meta.TransferSyntaxUID),
    }


def _slice(source: pydicom.Dataset | Frame, whole: dict[str, Any], frame: int | None, part: str) -> SliceHeader:
    return SliceHeader(
        **whole,
        frame=frame,
        part=part,
        image_type=tuple(_values(source, "ImageType")),
        frames=1 if frame is not None else int(source.get("NumberOfFrames") or 1),
        kernel="/".join(_values(source, "ConvolutionKernel")),
        rescale_type=_text(source, "RescaleType").upper(),
        slope=_number(source, "RescaleSlope"),
        intercept=_number(source, "RescaleIntercept"),
        position=_numbers(source, "ImagePositionPatient", 3),
        orientation=_numbers(source, "ImageOrientationPatient", 6),
        pixel_spacing=_numbers(source, "PixelSpacing", 2),
    )


def _text(source: pydicom.Dataset | Frame, keyword: str) -> str:
    value = source.get(keyword)
    return "" if value is None else str(value).strip()


def _values(source: pydicom.Dataset | Frame, keyword: str) -> list[str]:
    value = source.get(keyword) or ()
    return [value] if isinstance(value, str) else [str(part) for part in value]


def _number(source: pydicom.Dataset | Frame, keyword: str) -> float | None:
    """Return a number; None where there is none, NaN where it cannot be read."""
    try:
        value = source.get(keyword)
        if value is None or value == "":
            return None
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _numbers(source: pydicom.Dataset | Frame, keyword: str, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(value) for value in source.get(keyword) or ())
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(math.isfinite(number) for number in numbers) else None
