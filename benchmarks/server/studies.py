"""Small studies and masks as bytes and in folders."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt

# In every image that is sent: what of it lies on the disk can be found by it.
MARKER = b"BENCHMARK^PATIENT"
SHAPE = (96, 96, 64)
TINY = (4, 4, 4)
_AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])


def nifti(values: npt.NDArray[np.generic]) -> bytes:
    """Return an uncompressed NIfTI file with the marker in its header."""
    image = nibabel.Nifti1Image(values, _AFFINE)
    image.header["descrip"] = MARKER
    stream = io.BytesIO()
    image.to_file_map({"image": nibabel.FileHolder(fileobj=stream)})
    return stream.getvalue()


def random_image(generator: np.random.Generator, shape: tuple[int, int, int] = SHAPE) -> bytes:
    """Return a NIfTI file of random Hounsfield units, unlike any other."""
    return nifti(generator.integers(-1000, 400, shape).astype(np.int16))


def random_mask(generator: np.random.Generator, shape: tuple[int, int, int] = SHAPE) -> bytes:
    """Return a compressed NIfTI file with a mask on the images' grid, unlike any other."""
    return gzip.compress(nifti(generator.integers(0, 2, shape).astype(np.uint8)), 1)


def sha256(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def write_tiny(folder: Path, count: int) -> None:
    """Fill a folder with `count` studies of a few hundred bytes."""
    folder.mkdir(parents=True)
    content = random_image(np.random.default_rng(0), TINY)
    for number in range(count):
        (folder / f"study-{number:06d}.nii").write_bytes(content)


def write_chests(folder: Path, count: int, *, shape: tuple[int, int, int] = (40, 96, 96)) -> list[str]:
    """Fill a folder with `count` studies of one synthetic chest, and return their ids.

    They are links to one file, yet different studies to every server: no result of one serves for another.
    """
    from covid_bert.phantom import make, write

    folder.mkdir(parents=True, exist_ok=True)
    spacing = (320.0 / shape[0], 340.0 / shape[1], 340.0 / shape[2])
    first = write(make(shape=shape, spacing=spacing), folder / "chest-00000.nii.gz")
    names = [f"chest-{number:05d}" for number in range(count)]
    for name in names[1:]:
        os.link(first, folder / f"{name}.nii.gz")
    return names
