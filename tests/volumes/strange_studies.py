"""Strange DICOM studies, each with the code of the error that it is refused with; empty where it is read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from dicom_maker import make_series, set_pixels, setting
from multi_frame_maker import make_cine, make_enhanced
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)
from volume_maker import phantom

ARRAY = phantom()
CINE_FRAMES = 5000


def series(**options) -> Callable[[Path], object]:
    return lambda folder: make_series(folder, ARRAY, **options)


def enhanced(**options) -> Callable[[Path], object]:
    return lambda folder: make_enhanced(folder / "enhanced.dcm", ARRAY, **options)


def private(dataset, index):
    block = dataset.private_block(0x0021, "MADE BY NOBODY", create=True)
    block.add_new(0x01, "DS", "NaN")
    dataset.add_new((0x7FE1, 0x1010), "OB", b"behind the pixel data!")


def two_frames_of_reference(dataset, index):
    dataset.FrameOfReferenceUID = f"1.2.3.{index // 6}"


def negative_slope(dataset, index):
    set_pixels(dataset, (3000 - ARRAY[index].astype(int)).astype(np.uint16), 16)
    dataset.RescaleSlope, dataset.RescaleIntercept = -1, 3000


def without(keyword):
    return lambda dataset, _: delattr(dataset, keyword)


def same_uid_other_pixels(folder):
    files = make_series(folder, ARRAY)
    content = bytearray(files[3].read_bytes())
    content[-1000] ^= 1
    (folder / "changed.dcm").write_bytes(content)


def truncated(folder):
    files = make_series(folder, ARRAY)
    files[5].write_bytes(files[5].read_bytes()[:-200])


def unknown_syntax(folder):
    for file in make_series(folder, ARRAY):
        stated, claim = ExplicitVRLittleEndian.encode() + b"\0", b"1.2.840.10008.1.2.4.201\0"
        content = file.read_bytes()
        file.write_bytes(content.replace(b"UI\x14\x00" + stated, b"UI" + bytes([len(claim), 0]) + claim, 1))


def charset_of_nowhere(folder):
    for file in make_series(folder, ARRAY, edit=setting("ConvolutionKernel", "KERNEL")):
        at = (content := file.read_bytes().replace(b"KERNEL", b"\x1b$B\xff\xfe\x80")).index(b"\x08\x00\x08\x00CS")
        file.write_bytes(content[:at] + b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 999" + content[at:])


def cine(folder):
    """A scan of one place over time."""
    make_cine(folder / "cine.dcm", ARRAY[5], CINE_FRAMES, step=0.0)


STRANGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "private": (series(edit=private), ""),
    "no-position": (series(edit=without("ImagePositionPatient")), "bad-geometry"),
    "no-bits": (series(edit=without("BitsAllocated")), "unreadable-file"),
    "no-modality": (series(edit=without("Modality")), "not-ct"),
    "two-frames-of-reference": (series(edit=two_frames_of_reference), "bad-geometry"),
    "enhanced": (enhanced(), ""),
    "enhanced-deflated": (enhanced(syntax=DeflatedExplicitVRLittleEndian), ""),
    "enhanced-gap": (enhanced(order=[0, 1, 2, 3, 5, 6, 7, 8, 9]), "missing-slices"),
    "compressed": (series(edit=lambda dataset, _: dataset.compress(RLELossless)), ""),
    "unknown-syntax": (unknown_syntax, "unreadable-file"),
    "wrong-character-set": (charset_of_nowhere, ""),
    "negative-slope": (series(edit=negative_slope), ""),
    "huge-slope": (series(edit=setting("RescaleSlope", "1E6")), "invalid-values"),
    "zero-slope": (series(edit=setting("RescaleSlope", 0)), "not-ct"),
    "same-uid": (series(edit=setting("SOPInstanceUID", generate_uid())), "duplicate-slices"),
    "same-uid-other-pixels": (same_uid_other_pixels, "duplicate-slices"),
    "cine": (cine, "too-few-slices"),
    "deflated": (series(syntax=DeflatedExplicitVRLittleEndian), ""),
    "big-endian": (series(syntax=ExplicitVRBigEndian), ""),
    "truncated": (truncated, "unreadable-file"),
}


def make_strange(name: str, folder: Path) -> Path:
    """Write one of them into a new folder."""
    folder.mkdir(parents=True)
    STRANGE[name][0](folder)
    return folder


def zipped(folder: Path) -> Path:
    """Pack a study, and return the zip file beside its folder."""
    return Path(shutil.make_archive(str(folder), "zip", folder))
