"""Voxel values of a DICOM series in Hounsfield units."""

from __future__ import annotations

from collections.abc import Sequence

import gdcm
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from scipy import ndimage

from covid_bert.errors import NotComputedTomographyError, UnreadableFileError
from covid_bert.volumes.dicom_headers import SliceHeader
from covid_bert.volumes.hounsfield import LOWEST_HOUNSFIELD

_TAGS = [
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "RescaleSlope", "RescaleIntercept",
    "PixelPaddingValue", "PixelPaddingRangeLimit",
]  # fmt: skip
# A padding value in this range of HU may also be the value of tissue.
_TISSUE = (-500.0, 3100.0)
_INT16 = np.iinfo(np.int16)

# GDCM prints to the terminal; its failures come back as errors.
gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()


def read_hounsfield(headers: Sequence[SliceHeader]) -> tuple[npt.NDArray[np.generic], tuple[str, ...]]:
    """Decode the slices one by one and apply each slice's own rescale slope and intercept.

    Parameters
    ----------
    headers
        Slices of one size, in their final order.

    Returns
    -------
    array
        (slices, rows, columns) in HU; int16, or float32 where a slope or intercept is not a whole number. Padding is
        -1024; int16 values are clipped to the range of int16.
    warnings
        What a user should know of the values.

    Raises
    ------
    UnreadableFileError
        If pixel data are missing, truncated or cannot be decoded.
    """
    shape = (len(headers), headers[0].rows, headers[0].columns)
    array: npt.NDArray[np.generic] = np.empty(shape, np.int16)
    rescaled = True
    for index, header in enumerate(headers):
        dataset, stored = _decode(header)
        slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
        rescaled = rescaled and slope is not None and intercept is not None
        slope = 1.0 if slope is None else slope
        intercept = 0.0 if intercept is None else intercept
        if slope == 0:
            raise NotComputedTomographyError(
                f"The rescale slope of '{header.path.name}' is zero.",
                "Export the series again from the PACS.",
            )
        if array.dtype == np.int16 and not (slope.is_integer() and intercept.is_integer()):
            array = array.astype(np.float32)
        values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
        values[_padding(dataset, stored, slope, intercept)] = LOWEST_HOUNSFIELD
        if array.dtype == np.int16:
            np.clip(values, _INT16.min, _INT16.max, out=values)
        array[index] = values
    return array, _warnings(headers, rescaled)


def _warnings(headers: Sequence[SliceHeader], rescaled: bool) -> tuple[str, ...]:
    found = {
        "The files have no rescale slope or intercept; the stored values look like Hounsfield units and were taken as "
        "such.": not rescaled,
        "The files are marked MONOCHROME1: that inverts the display alone, Hounsfield units are unchanged.": any(
            header.photometric == "MONOCHROME1" for header in headers
        ),
        "The files were compressed with losses; Hounsfield units are approximate.": any(
            header.lossy for header in headers
        ),
        "The values are modified Hounsfield units of a dual-energy scan.": any(
            header.rescale_type == "HU_MOD" for header in headers
        ),
    }
    return tuple(sentence for sentence, applies in found.items() if applies)


def _decode(header: SliceHeader) -> tuple[pydicom.Dataset, npt.NDArray[np.integer]]:
    """Return the data set and its stored values (rows, columns), sign and unused bits put right."""
    try:
        dataset = pydicom.dcmread(header.path, specific_tags=_TAGS, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:  # written before DICOM had a file header
            dataset.file_meta.TransferSyntaxUID = (
                ImplicitVRLittleEndian if dataset.is_implicit_VR else ExplicitVRLittleEndian
            )
        stored = dataset.pixel_array
        if stored.shape != (header.rows, header.columns):
            raise ValueError("the decoded image has another size than its header says")
        return dataset, _used_bits(dataset, stored)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise errors of every kind on damaged data
        raise UnreadableFileError(
            f"The pixel data of '{header.path.name}' are truncated, damaged or compressed in an unknown way.",
            "Export the series again from the PACS.",
        ) from error


def _used_bits(dataset: pydicom.Dataset, stored: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Drop bits that are not part of the value (old files keep overlays there) and extend the sign bit."""
    width = stored.dtype.itemsize * 8
    used = int(dataset.BitsStored)
    above = width - 1 - int(dataset.get("HighBit", used - 1))
    if used >= width or above < 0:
        return stored
    # Shifting right fills with the sign bit for signed types and with zeros for unsigned ones.
    return (stored << above) >> (width - used)


def _padding(
    dataset: pydicom.Dataset, stored: npt.NDArray[np.integer], slope: float, intercept: float
) -> npt.NDArray[np.bool_]:
    """Return where a slice holds padding outside the field of view."""
    first = _number(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, bool)
    last = _number(dataset, "PixelPaddingRangeLimit")
    limits = sorted(_as_stored(value, stored.dtype) for value in (first, first if last is None else last))
    padding = (stored >= limits[0]) & (stored <= limits[1])
    if _TISSUE[0] < limits[1] * slope + intercept < _TISSUE[1]:
        # Some writers state 0 although 0 is water: only what touches the border is then padding.
        regions, _ = ndimage.label(padding)
        border = np.unique(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]]))
        padding &= np.isin(regions, border)
    return padding


def _as_stored(value: float, dtype: np.dtype[np.integer]) -> int:
    """Read a padding value with the sign of the pixels: -2000 is often written as unsigned 63536."""
    width = dtype.itemsize * 8
    number = int(value) % 2**width
    return number - 2**width if dtype.kind == "i" and number >= 2 ** (width - 1) else number


def _number(dataset: pydicom.Dataset, keyword: str) -> float | None:
    try:
        value = float(dataset.get(keyword))
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None
