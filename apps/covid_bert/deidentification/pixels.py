"""Pixel data without anything beside the pixels: decoded, and written anew.

What else lies with pixels is lost on the way: overlays in unused bits, comments in compressed data, thumbnails, and
bytes behind the last pixel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from covid_bert.errors import UnreadableFileError
from covid_bert.volumes.assembly import check_size
from covid_bert.volumes.dicom_decoding import LOSSY_SYNTAXES, Decoder
from covid_bert.volumes.dicom_files import read_image_of
from covid_bert.volumes.dicom_headers import SliceHeader

_PLAIN = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)


def put_image(cleaned: Dataset, headers: list[SliceHeader]) -> None:
    """Put the stored values of a CT image into a data set, little endian and uncompressed.

    Parameters
    ----------
    cleaned
        Of the image, without pixel data.
    headers
        One for each frame, in the order of the file.

    Raises
    ------
    UnreadableFileError
        If pixel data are missing, damaged or compressed in a way that is not read here.
    """
    first = headers[0]
    check_size(first.rows * first.columns * len(headers), first.path.name)
    decoder = Decoder()
    content = bytearray()
    bits = 0
    dtype: np.dtype[np.integer] = np.dtype(np.uint16)
    for header in headers:
        image, stored = decoder.decode(header)
        bits, dtype = int(image.BitsStored), stored.dtype
        content += np.ascontiguousarray(stored).astype(dtype.newbyteorder("<"), copy=False).tobytes()
    cleaned.SamplesPerPixel, cleaned.PhotometricInterpretation = 1, first.photometric
    cleaned.BitsAllocated, cleaned.BitsStored, cleaned.HighBit = 8 * dtype.itemsize, bits, bits - 1
    cleaned.PixelRepresentation = int(dtype.kind == "i")
    # Nothing else would tell that something was lost.
    if not first.lossy and first.transfer_syntax in LOSSY_SYNTAXES:
        cleaned.LossyImageCompression = "01"
    _put(cleaned, bytes(content), "OB" if dtype.itemsize == 1 else "OW")


def put_segmentation(cleaned: Dataset, path: Path, transfer_syntax: str) -> None:
    """Put the pixel data of a segmentation into its data set, cut to what the frames need.

    Raises
    ------
    UnreadableFileError
        If they are compressed, of more than 8 bits, or too short.
    """
    bits = int(cleaned.get("BitsAllocated") or 0)
    if transfer_syntax not in _PLAIN or bits not in (1, 8):
        raise UnreadableFileError(
            f"The segmentation '{path.name}' is compressed, or has more than 8 bits.",
            "Export it from the PACS uncompressed (Explicit VR Little Endian).",
        )
    voxels = int(cleaned.Rows) * int(cleaned.Columns) * int(cleaned.get("NumberOfFrames") or 1)
    check_size(voxels, path.name)
    size = (voxels * bits + 7) // 8
    content = bytearray(read_image_of(path, ["PixelData"], size + 2).PixelData[:size])
    if len(content) < size:
        raise UnreadableFileError(
            f"The pixel data of '{path.name}' are truncated.", "Export the series again from the PACS."
        )
    if voxels * bits % 8:  # bits behind the last pixel
        content[-1] &= (1 << voxels * bits % 8) - 1
    _put(cleaned, bytes(content), "OB")


def _put(cleaned: Dataset, content: bytes, vr: str) -> None:
    cleaned.add_new("PixelData", vr, content + b"\0" * (len(content) % 2))
