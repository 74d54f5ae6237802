"""Damages files in ways that depend on a seed alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pydicom
from dicom_maker import COMPRESSED, UNCOMPRESSED, compress, make_series
from multi_frame_maker import make_enhanced
from pydicom.uid import RLELossless
from volume_maker import phantom

_EXTREMES = [bytes([0xFF] * 4), b"\xff\xff\xff\x7f", bytes(4), b"\xff\xff", b"\x00\x00", b"\xfe\xff\x00\xe0", b"SQ\0\0"]


def sound_files(folder: Path) -> list[Path]:
    """Write one small file in every syntax, enhanced files, and zip files of a series."""
    array = phantom()
    made = []
    for number, (name, syntax) in enumerate(UNCOMPRESSED.items()):
        made += make_series(folder, array[:1], names=[f"{number}.dcm"], syntax=syntax)
        made.append(make_enhanced(folder / f"enhanced {name}.dcm", array[:9], syntax=syntax))
    for syntax in COMPRESSED:
        (file,) = make_series(folder, array[3:4], names=[f"{syntax}.dcm"])
        if syntax == "RLELossless":
            dataset = pydicom.dcmread(file)
            dataset.compress(RLELossless)
            dataset.save_as(file)
        else:
            compress(file, syntax)
        made.append(file)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = folder / f"{method}.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.write(folder / "enhanced explicit.dcm", "a/b.dcm")
            archive.write(folder / "0.dcm", "a/c.dcm")
        made.append(path)
    return made


def damaged(content: bytes, seed: int) -> bytes:
    """Return a file's content with some damage; the header is hit as often as the rest."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)

    def place() -> int:
        return int(rng.integers(len(data) if rng.random() < 0.5 else min(len(data), 1500)))

    for _ in range(int(rng.integers(1, 6))):
        at = place()
        kind = int(rng.integers(6))
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[at] = int(rng.integers(256))
        elif kind == 2:
            extreme = _EXTREMES[int(rng.integers(len(_EXTREMES)))]
            data[at : at + len(extreme)] = extreme
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 40))]
        elif kind == 4:
            data[at:at] = data[place() :][: int(rng.integers(1, 200))]
        elif rng.random() < 0.3:
            del data[max(1, at) :]
    return bytes(data)
