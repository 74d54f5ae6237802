"""`Volume`: one chest CT study in the one geometry that the whole project uses.

Canonical geometry. Arrays are indexed (slice, row, column) = (z, y, x): slices run foot to head, rows front
(anterior) to back (posterior), columns from the patient's right to the patient's left, so that a slice shown as it
lies in memory has the usual radiological look: the patient's right is on the left of the picture. `affine` maps the
homogeneous index (column, row, slice, 1) to patient coordinates in mm, axes to the right, anterior, superior (RAS).
Oblique volumes keep their obliqueness in `affine`; only axes are permuted and flipped. `volumes.orientation` holds
what brought a file's own grid here, and brings masks back onto it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covid_bert.volumes.orientation import NativeGrid


class Unit(str, Enum):
    """What the values of a volume mean."""

    HOUNSFIELD = "HU"
    GRAY8 = "gray8"


@dataclass(frozen=True)
class Source:
    """Where a volume came from.

    Parameters
    ----------
    path
        The file or folder that was read.
    file_format
        ``nifti``, ``nrrd``, ``metaimage``, ``dicom`` or ``images``.
    study_instance_uid, series_instance_uid, sop_instance_uids
        DICOM identifiers, the last in the order of the slices (foot to head); empty for other formats. They stay in
        memory: logs, file names and URLs use `Volume.identifier`.
    frame_numbers
        For DICOM, of each slice its frame (from 1 on) in the instance of that place in `sop_instance_uids`; 0 where the
        instance is one slice.
    slice_names
        Base names of the slice images, in the order of the slices; empty for other formats.
    """

    path: Path
    file_format: str
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uids: tuple[str, ...] = ()
    frame_numbers: tuple[int, ...] = ()
    slice_names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Volume:
    """One study: values, geometry, meaning of the values, and origin. Made by `covid_bert.volumes.read`.

    Parameters
    ----------
    array
        (slices, rows, columns); int16 or float32 in HU, or uint8 gray levels. Never written to.
    affine
        4x4, (column, row, slice, 1) to RAS in mm.
    unit
        Hounsfield units or 8-bit gray levels.
    source
        File, format and identifiers.
    native
        The grid of the input file, for bringing masks back.
    spacing_known
        False for slice images without geometry: no volume in ml can then be given.
    warnings
        Sentences for the user about what was noticed or mended while reading.
    """

    array: npt.NDArray[np.generic]
    affine: npt.NDArray[np.float64]
    unit: Unit
    source: Source
    native: NativeGrid
    spacing_known: bool = True
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        self.array.flags.writeable = False
        self.affine.flags.writeable = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        slices, rows, columns = self.array.shape
        return slices, rows, columns

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring (slices, rows, columns)."""
        column, row, slice_ = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slice_), float(row), float(column)

    @property
    def voxel_milliliters(self) -> float:
        """Volume of one voxel in ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @cached_property
    def identifier(self) -> str:
        """Pseudonymous name: the first 16 hexadecimal digits of a SHA-256 over values, geometry and stored axes.

        The stored axes count because masks are written on them: the same scan with its axes in another order is
        another input.
        """
        digest = hashlib.sha256()
        native = np.round(self.native.affine, 4) + 0.0  # no negative zeros
        digest.update(repr((self.native.shape, round(self.native.shear_rows_per_slice, 4))).encode())
        digest.update(native.astype("<f8").tobytes())
        digest.update(repr((self.array.shape, self.array.dtype.str, self.unit.value)).encode())
        digest.update(np.round(self.affine, 4).astype("<f8").tobytes())
        digest.update(np.ascontiguousarray(self.array).data)
        return digest.hexdigest()[:16]
