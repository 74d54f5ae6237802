"""Reading a folder of 8-bit slice images (JPEG, PNG), as COVID-19 CT collections such as COV19-CT-DB give them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from covid_bert.errors import (
    DimensionError,
    InvalidValuesError,
    NotComputedTomographyError,
    UnreadableFileError,
)
from covid_bert.volumes.assembly import check_size
from covid_bert.volumes.geometry import LPS_TO_RAS
from covid_bert.volumes.orientation import NativeGrid
from covid_bert.volumes.volume import Source, Unit, Volume

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
# Slices of differing sizes are brought to this one, as the published pipelines do.
COMMON_SIZE = 512
_LARGEST_SIDE = 4096
_MODES_OF_MORE_BITS = ("I", "F")


def read_slice_images(files: list[Path], path: Path) -> Volume:
    """Read slice images as one volume of 8-bit grey levels, in the natural order of their names (1, 2, 10).

    Columns are taken to run from the patient's right to left and rows from front to back, as slices are displayed.
    Nothing else is known of their geometry: spacing is nominally 1 mm, and `Volume.spacing_known` is False.

    Parameters
    ----------
    files
        The images, at least one.
    path
        The folder or archive that they came from.

    Raises
    ------
    UnreadableFileError
        If an image is damaged or has more than 8 bits.
    DimensionError, TooLargeError
        If there are too many images, or too large ones.
    InvalidValuesError, NotComputedTomographyError
        If all images are of one grey level, or are masks.
    """
    files = sorted(files, key=lambda file: natural_key(file.name))
    sizes = Counter(_size(file) for file in files)
    warnings = [
        "The slices are 8-bit images without geometry: volumes in ml cannot be given, and left, right and slice order "
        "are assumed from how the images are displayed and named."
    ]
    columns, rows = next(iter(sizes)) if len(sizes) == 1 else (COMMON_SIZE, COMMON_SIZE)
    if len(sizes) > 1:
        warnings.append(f"The slices have {len(sizes)} different sizes; all were resized to 512 x 512.")
    check_size(len(files) * rows * columns, path.name)
    array = np.empty((len(files), rows, columns), np.uint8)
    for index, file in enumerate(files):
        array[index] = _gray(file, (columns, rows))
    _check_values(array, path.name)
    affine = LPS_TO_RAS.copy()
    return Volume(
        array=array,
        affine=affine,
        unit=Unit.GRAY8,
        source=Source(path, "images", slice_names=tuple(file.name for file in files)),
        native=NativeGrid((columns, rows, len(files)), affine),
        spacing_known=False,
        warnings=tuple(warnings),
    )


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that orders numbers inside names by their value."""
    parts = re.split(r"([0-9]+)", name.lower())
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part)


def _size(file: Path) -> tuple[int, int]:
    """Return (columns, rows) as displayed, from the header alone."""
    try:
        with Image.open(file) as image:
            mode, (columns, rows) = image.mode, image.size
            turned = image.getexif().get(0x0112, 1) >= 5
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _damaged(file.name) from error
    if mode.startswith(_MODES_OF_MORE_BITS):
        raise UnreadableFileError(
            f"'{file.name}' has more than 8 bits per pixel, and its relation to Hounsfield units is not known.",
            "Export the study as DICOM or NIfTI, or as 8-bit images in a lung window.",
        )
    if max(columns, rows) > _LARGEST_SIDE:
        raise DimensionError(
            f"'{file.name}' has {columns} x {rows} pixels.", "CT slices have at most 4096 x 4096 pixels."
        )
    return (rows, columns) if turned else (columns, rows)


def _gray(file: Path, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            gray = (ImageOps.exif_transpose(image) or image).convert("L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _damaged(file.name) from error
    if gray.size != size:
        gray = gray.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(gray, np.uint8)


def _check_values(array: npt.NDArray[np.uint8], name: str) -> None:
    levels = np.count_nonzero(np.bincount(array.ravel()[: 2**26], minlength=256))
    if levels == 1 and array.min() == array.max():
        raise InvalidValuesError(f"All pixels in '{name}' have the same value.", "Export the slices again.")
    if levels == 2:
        raise NotComputedTomographyError(
            f"The images in '{name}' have only two grey levels.", "Give the CT slices, not their masks."
        )


def _damaged(name: str) -> UnreadableFileError:
    return UnreadableFileError(f"'{name}' is truncated, damaged or not a JPEG or PNG image.", "Copy it again.")
