"""Volumes as Slicer hands them over: hashed, and packed into a file that names nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..client import LocalFileError
from ..client.backoff import Cancelled, check_cancelled
from ..client.transfers import local_file
from .order import Order, OrderError
from .packing import create, packed

_PIECE_BYTES = 2**20
_VOXEL_BYTES = 2


@dataclass(frozen=True)
class RawVolume:
    """A file of 16-bit voxels and where they lie.

    Parameters
    ----------
    path
        The voxels: little endian, the first axis runs fastest.
    sizes
        Voxels along the three axes.
    directions
        For each axis the step from one voxel to the next, in mm, in the LPS system.
    origin
        Centre of the first voxel, in mm, in the LPS system.
    """

    path: Path
    sizes: tuple[int, ...]
    directions: tuple[tuple[float, ...], ...]
    origin: tuple[float, ...]

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self.sizes[0] * self.sizes[1] * self.sizes[2] * _VOXEL_BYTES

    def header(self) -> bytes:
        """Return the header of the packed file, which holds the geometry and nothing else."""
        directions = " ".join(_vector(direction) for direction in self.directions)
        lines = [
            *("NRRD0005", "type: int16", "dimension: 3", "space: left-posterior-superior"),
            f"sizes: {' '.join(str(size) for size in self.sizes)}",
            f"space directions: {directions}",
            *("kinds: domain domain domain", "endian: little", "encoding: gzip"),
            f"space origin: {_vector(self.origin)}",
        ]
        return ("\n".join(lines) + "\n\n").encode("ascii")


def read_volume(order: Order) -> RawVolume:
    """Read an order's field ``volume``.

    Parameters
    ----------
    order
        Has ``raw``, the path of the voxels, and ``header`` with ``sizes``, ``directions``, ``origin`` and ``type``,
        which is ``"int16"``.

    Raises
    ------
    OrderError, LocalFileError
        If a field is wrong, or the file is not there or of another size.
    """
    header = order.object("header")
    sizes = header.numbers("sizes", 3)
    if header.text("type") != "int16" or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise OrderError("The volume is not of 16-bit voxels.", "Report this to who maintains the extension.")
    whole = tuple(int(size) for size in sizes)
    volume = RawVolume(order.path("raw"), whole, header.rows("directions"), header.numbers("origin", 3))
    with local_file("read"):
        size_bytes = volume.path.stat().st_size
    if size_bytes != volume.size_bytes:
        raise LocalFileError("The volume was not written completely.", "Check the free space, and try again.")
    return volume


def content_hash(volume: RawVolume, on_fraction: Callable[[float], None], cancelled: Cancelled) -> str:
    """Return the SHA-256 of geometry and voxels, by which the same volume is known again.

    Raises
    ------
    LocalFileError, CancelledError
        If the file cannot be read, or the user cancelled.
    """
    digest = hashlib.sha256(volume.header())
    for piece in _pieces(volume, on_fraction, cancelled):
        digest.update(piece)
    return digest.hexdigest()


def pack(volume: RawVolume, target: Path, on_fraction: Callable[[float], None], cancelled: Cancelled) -> None:
    """Write a volume as compressed .nrrd; the same volume always becomes the same file.

    Raises
    ------
    LocalFileError, CancelledError
        If a file cannot be read or written, or the user cancelled.
    """
    with create(target) as file:
        for piece in packed(volume.header(), _pieces(volume, on_fraction, cancelled)):
            with local_file("write"):
                file.write(piece)


def _pieces(volume: RawVolume, on_fraction: Callable[[float], None], cancelled: Cancelled) -> Iterator[bytes]:
    done = 0
    with local_file("read"):
        file = volume.path.open("rb")
    with file:
        while done < volume.size_bytes:
            check_cancelled(cancelled)
            with local_file("read"):
                piece = file.read(_PIECE_BYTES)
            if not piece:
                raise LocalFileError("The volume's file became shorter while it was read.", "Try again.")
            yield piece
            done += len(piece)
            on_fraction(done / volume.size_bytes)


def _vector(values: tuple[float, ...]) -> str:
    return f"({','.join(repr(float(value)) for value in values)})"
