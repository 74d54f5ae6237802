"""Hounsfield units: one number type, padding, and the question whether values can be Hounsfield units at all.

Files without DICOM's modality tag (NIfTI, NRRD, MetaImage) often hold something else: MR images, label maps, 8-bit
pictures, or CT whose offset of 1024 was never subtracted. A network would give a confident answer for each of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from covid_bert.errors import InvalidValuesError, NotComputedTomographyError

# Air is -1000 HU and the scale of CT scanners starts at -1024; values below are padding outside the field of view.
LOWEST_HOUNSFIELD = -1024
STORED_OFFSET = 1024
_SAMPLE_VOXELS = 2_000_000
_INT16 = np.iinfo(np.int16)

_Array = npt.NDArray[np.generic]


def to_hounsfield(array: _Array, name: str) -> _Array:
    """Store values as int16 where all of them are integers in its range, else float32; padding becomes -1024.

    Parameters
    ----------
    array
        (slices, rows, columns) of any real number type and memory order. A writable C-contiguous int16 array is
        changed in place and returned; otherwise a new array is made, slice by slice.
    name
        Base name of the file, for messages.

    Raises
    ------
    InvalidValuesError
        If there are NaN or infinite values, or all values are equal.
    """
    lowest, highest, integral = _survey(array, name)
    if max(lowest, LOWEST_HOUNSFIELD) >= highest:
        raise InvalidValuesError(
            f"All voxels of '{name}' have the same value.", "Export the study again: the image is empty."
        )
    if array.dtype == np.int16 and array.flags.c_contiguous and array.flags.writeable:
        return np.maximum(array, np.int16(LOWEST_HOUNSFIELD), out=array)
    result = np.empty(array.shape, np.int16 if integral and highest <= _INT16.max else np.float32)
    for index, slice_ in enumerate(array):
        result[index] = np.maximum(slice_, LOWEST_HOUNSFIELD)
    return result


def require_hounsfield(array: _Array, name: str) -> None:
    """Refuse a volume whose values cannot be the Hounsfield units of a chest CT.

    Parameters
    ----------
    array
        (slices, rows, columns), as `to_hounsfield` returns it.
    name
        Base name of the file, for messages.

    Raises
    ------
    NotComputedTomographyError
        With a hint that says what the values look like instead.
    """
    step = max(1, int(np.ceil((array.size / _SAMPLE_VOXELS) ** (1 / 3))))
    sample = array[::step, ::step, ::step].astype(np.float32).ravel()
    if not looks_like_hounsfield(sample):
        span = f"from {sample.min():g} to {sample.max():g}"
        raise NotComputedTomographyError(
            f"The values of '{name}' ({span}) are not Hounsfield units of a chest CT.",
            _hint(sample),
        )


def looks_like_hounsfield(values: npt.NDArray[np.floating]) -> bool:
    """Say whether a sample of voxels holds air or lung, soft tissue near 0 HU, and little that is denser than bone.

    Masked, cropped, clipped and 8-bit-recalibrated chest CT all fulfil this. Bone, metal and contrast medium above
    700 HU fill a few percent of a chest; soft tissue that still carries the stored offset of 1024 fills far more.
    """
    air = np.mean(values < -400)
    soft_tissue = np.mean(np.abs(values) <= 250)
    dense = np.mean(values > 700)
    return bool(air >= 0.002 and soft_tissue >= 0.005 and dense <= 0.1)


def _survey(array: _Array, name: str) -> tuple[float, float, bool]:
    lowest, highest, integral = np.inf, -np.inf, True
    for slice_ in array:
        low, high = float(slice_.min()), float(slice_.max())
        # A NaN anywhere makes both extremes NaN.
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InvalidValuesError(
                f"'{name}' contains values that are not numbers or infinite.",
                "Export the study again without resampling, or replace such voxels by -1024 HU.",
            )
        lowest, highest = min(lowest, low), max(highest, high)
        if integral and array.dtype.kind == "f":
            integral = bool(np.array_equal(slice_, np.rint(slice_)))
    return lowest, highest, integral


def _hint(sample: npt.NDArray[np.floating]) -> str:
    inside = sample[sample > LOWEST_HOUNSFIELD]
    lowest, highest = float(inside.min()), float(inside.max())
    integral = bool(np.array_equal(inside, np.rint(inside)))
    if lowest >= -50 and looks_like_hounsfield(inside - STORED_OFFSET):
        return (
            f"They look like Hounsfield units + {STORED_OFFSET} (or like an MR image): if this is a CT, subtract "
            f"{STORED_OFFSET}, or export it again as DICOM or NIfTI in Hounsfield units."
        )
    if lowest >= 0 and integral and len(np.unique(inside)) <= 32:
        return "They look like a label map: give the CT image, not its segmentation."
    if lowest >= -1.001 and highest <= 1.001:
        return "They look normalised to a range of 1: give the CT in Hounsfield units."
    if lowest >= 0 and highest <= 255 and integral:
        return (
            "They look like 8-bit grey levels: give the CT in Hounsfield units, or a folder of JPEG or PNG slices "
            "in a lung window."
        )
    return "Check that this is a chest CT and not MR, PET or a derived map, and export it in Hounsfield units."
