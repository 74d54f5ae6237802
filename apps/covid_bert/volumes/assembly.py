"""The last steps of every reader of Hounsfield units: checks, canonical order, gantry tilt, and the `Volume`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import numpy.typing as npt

from covid_bert.errors import DimensionError, TooFewSlicesError, TooLargeError
from covid_bert.volumes.geometry import check_affine, remove_tilt
from covid_bert.volumes.hounsfield import require_hounsfield, to_hounsfield
from covid_bert.volumes.orientation import NativeGrid, to_canonical
from covid_bert.volumes.volume import Source, Unit, Volume

MIN_SLICES = 8
# 2048 slices of 1024 x 1024: more than any chest CT has. A damaged or hostile header may ask for far more.
MAX_VOXELS = 2**31
_most_voxels: ContextVar[int] = ContextVar("most_voxels", default=MAX_VOXELS)


@contextmanager
def voxel_limit(most: int) -> Iterator[None]:
    """Refuse larger volumes in the block, on this thread: readers look at the header before they read a voxel.

    Parameters
    ----------
    most
        Most voxels of a volume, at least 1.
    """
    token = _most_voxels.set(min(most, MAX_VOXELS))
    try:
        yield
    finally:
        _most_voxels.reset(token)


def check_size(voxels: int, name: str) -> None:
    """Refuse a volume that has too many voxels, by what its header says.

    Raises
    ------
    DimensionError
        If there are more than 2**31.
    TooLargeError
        If there are more than `voxel_limit` allows.
    """
    if voxels > MAX_VOXELS:
        raise DimensionError(
            f"'{name}' claims {voxels} voxels.",
            "The file is damaged, or larger than any chest CT: export it again.",
        )
    if voxels > _most_voxels.get():
        raise TooLargeError(
            f"'{name}' has {math.ceil(voxels / 1e6)} million voxels; at most {_most_voxels.get() / 1e6:g} million "
            "are taken here.",
            "Crop it to the chest, or export thicker slices.",
        )


def check_shape(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """Return the three sizes of a scalar volume; further axes of length 1 are dropped.

    Raises
    ------
    DimensionError
        If there are fewer or more axes, or more than 2**31 voxels.
    TooLargeError
        If there are more voxels than `voxel_limit` allows.
    TooFewSlicesError
        If an axis has fewer than 8 voxels.
    """
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        sizes = " x ".join(str(size) for size in shape)
        raise DimensionError(
            f"'{name}' has {len(shape)} dimensions ({sizes}), not three.",
            "Give one CT volume; of a time series, export one phase.",
        )
    check_size(math.prod(shape), name)
    if min(shape) < MIN_SLICES:
        raise TooFewSlicesError(
            f"'{name}' has only {min(shape)} slices along one axis; a chest CT study needs at least {MIN_SLICES}.",
            "Give the whole series.",
            slices=min(shape),
        )
    return shape[0], shape[1], shape[2]


def assemble(
    array: npt.NDArray[np.generic],
    affine: npt.NDArray[np.float64],
    source: Source,
    warnings: tuple[str, ...] = (),
) -> Volume:
    """Make a `Volume` in Hounsfield units of what a file holds.

    Parameters
    ----------
    array
        (i, j, k) as in the file; it may be changed in place.
    affine
        4x4, (i, j, k, 1) to RAS in mm.
    source
        Where it came from; its base name goes into messages.
    warnings
        What the reader noticed.

    Raises
    ------
    InputError
        If shape, geometry or values are not those of a chest CT.
    """
    name = source.path.name
    shape = check_shape(array.shape, name)
    check_affine(affine, name)
    canonical, canonical_affine = to_canonical(array, affine)
    values = to_hounsfield(canonical, name)
    require_hounsfield(values, name)
    values, canonical_affine, rows_per_slice = remove_tilt(values, canonical_affine, name)
    if rows_per_slice:
        warnings = (
            *warnings,
            "The slices are tilted (gantry tilt): the study was resampled to an upright grid for analysis; masks are "
            "written on the tilted slices.",
        )
    return Volume(
        array=values,
        affine=canonical_affine,
        unit=Unit.HOUNSFIELD,
        source=source,
        native=NativeGrid(shape, affine, rows_per_slice),
        warnings=warnings,
    )
