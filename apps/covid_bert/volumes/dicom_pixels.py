"""Voxel values of a DICOM series in Hounsfield units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pydicom
from scipy import ndimage

from covid_bert.errors import InvalidValuesError, NotComputedTomographyError
from covid_bert.volumes.dicom_decoding import LOSSY_SYNTAXES, Decoder
from covid_bert.volumes.dicom_headers import SliceHeader
from covid_bert.volumes.hounsfield import LOWEST_HOUNSFIELD

# A padding value in this range of HU may also be the value of tissue.
_TISSUE = (-500.0, 3100.0)
_INT16 = np.iinfo(np.int16)
# Extended scales of CT end at about 31,000 HU; a value further out is a damaged rescale.
_FURTHEST = 65_536.0


def read_hounsfield(headers: Sequence[SliceHeader]) -> tuple[npt.NDArray[np.generic], tuple[str, ...]]:
    """Decode the slices one by one and apply each slice's own rescale slope and intercept.

    Parameters
    ----------
    headers
        Slices of one size, in their final order.

    Returns
    -------
    array
        (slices, rows, columns) in HU; int16, or float32 where a slope or intercept is not a whole number or a value
        is above 32767. Padding is -1024.
    warnings
        What a user should know of the values.

    Raises
    ------
    UnreadableFileError
        If pixel data are missing, truncated or cannot be decoded.
    NotComputedTomographyError, InvalidValuesError
        If a rescale is zero, not a number, a table, or leads to values that no CT has.
    """
    shape = (len(headers), headers[0].rows, headers[0].columns)
    array: npt.NDArray[np.generic] = np.empty(shape, np.int16)
    decoder = Decoder()
    for index, header in enumerate(headers):
        values = slice_values(header, decoder)
        whole = _scale(header, "slope").is_integer() and _scale(header, "intercept").is_integer()
        if array.dtype == np.int16 and not (whole and values.max() <= _INT16.max):
            array = array.astype(np.float32)
        if array.dtype == np.int16:
            np.maximum(values, _INT16.min, out=values)
        array[index] = values
    return array, _warnings(headers)


def slice_values(header: SliceHeader, decoder: Decoder) -> npt.NDArray[np.float64]:
    """Return one slice (rows, columns) in HU, padding as -1024; errors as in `read_hounsfield`."""
    _check_rescale(header)
    slope, intercept = _scale(header, "slope"), _scale(header, "intercept")
    dataset, stored = decoder.decode(header)
    # In double precision: offsets of 32-bit values are larger than single precision holds exactly.
    values = stored.astype(np.float64) * slope + intercept
    values[_padding(dataset, stored, slope, intercept)] = LOWEST_HOUNSFIELD
    furthest = max(abs(float(values.min())), abs(float(values.max())))
    if furthest > _FURTHEST:
        raise InvalidValuesError(
            f"The values of {header.name} reach {furthest:.3g} HU, which no CT has: its rescale slope or intercept is "
            "damaged.",
            "Export the series again from the PACS.",
        )
    return values


def _check_rescale(header: SliceHeader) -> None:
    again = "Export the series again from the PACS."
    if header.lookup:
        raise NotComputedTomographyError(
            f"{header.name} states its values by a table (Modality LUT) in place of a rescale slope.",
            "Export the series in Hounsfield units.",
        )
    if header.slope == 0:
        raise NotComputedTomographyError(f"The rescale slope of {header.name} is zero.", again)
    for field in ("slope", "intercept"):
        if np.isnan(_scale(header, field)):
            raise InvalidValuesError(f"The rescale {field} of {header.name} is not a number.", again)


def _scale(header: SliceHeader, field: str) -> float:
    value: float | None = getattr(header, field)
    return value if value is not None else 1.0 if field == "slope" else 0.0


def _warnings(headers: Sequence[SliceHeader]) -> tuple[str, ...]:
    found = {
        "The files have no rescale slope or intercept; the stored values look like Hounsfield units and were taken as "
        "such.": any(header.slope is None or header.intercept is None for header in headers),
        "The files are marked MONOCHROME1: that inverts the display alone, Hounsfield units are unchanged.": any(
            header.photometric == "MONOCHROME1" for header in headers
        ),
        "The files were compressed with losses; Hounsfield units are approximate.": any(
            header.lossy == "01" or (not header.lossy and header.transfer_syntax in LOSSY_SYNTAXES)
            for header in headers
        ),
        "The values are modified Hounsfield units of a dual-energy scan.": any(
            header.rescale_type == "HU_MOD" for header in headers
        ),
    }
    return tuple(sentence for sentence, applies in found.items() if applies)


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
