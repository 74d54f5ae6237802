"""Opening DICOM files that may be damaged, hostile, or compressed as a whole.

pydicom parses them in Python; nothing here runs a decoder of pixels. What it is asked for is limited: the bytes and the
number of elements of a header, and what a deflated file may grow to. Header values never come into a message.
"""

from __future__ import annotations

import logging
import string
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import pydicom
from pydicom.charset import default_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from covid_bert.errors import UnreadableFileError
from covid_bert.volumes.bounded_files import BoundedFile, LimitError

# pydicom's warnings quote header values.
warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

_Result = TypeVar("_Result")
# A multi-frame file of 5,000 frames has a header of about 15 MB with 75,000 sequence items.
MAX_HEADER_BYTES = 48 * 2**20
MAX_SEQUENCE_ITEMS = 300_000
_MAX_READS = 3_000_000
_CHUNK = 2**20
_ASCII = string.printable
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
# The VR of the first attribute of group 0008 in explicit files.
_FIRST_VRS = (b"UL", b"CS", b"UI", b"DA", b"LO", b"SH")


def is_dicom(path: Path) -> bool:
    """Say whether a file starts as DICOM: with the preamble, or, as old files do, with group 0002 or 0008."""
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError:
        return False
    little = start[:2] in (b"\x02\x00", b"\x08\x00") and start[3:4] == b"\x00"
    big = start[:3] == b"\x00\x08\x00" and start[4:6] in _FIRST_VRS
    return start[128:] == b"DICM" or little or big


def read_header_of(path: Path, tags: Sequence[str] | None) -> pydicom.Dataset:
    """Read chosen attributes before the pixel data, with ``file_meta``.

    Parameters
    ----------
    path
        The file.
    tags
        Keywords; None for all. Sequences among them are parsed when they are looked at (see `element_of`).

    Raises
    ------
    UnreadableFileError
        If the header is damaged, or larger than any CT's.
    """
    return guarded(path, lambda: _legible(_read(path, tags, MAX_HEADER_BYTES, _at_pixels)))


def read_image_of(path: Path, tags: Sequence[str], pixel_bytes: int) -> pydicom.Dataset:
    """Read chosen attributes, ``PixelData`` among them, with ``file_meta``.

    Parameters
    ----------
    path
        The file.
    tags
        Keywords.
    pixel_bytes
        Most bytes that decoded pixel data can have.

    Raises
    ------
    UnreadableFileError
        If the file is damaged, or deflated pixel data are larger.
    """
    return guarded(path, lambda: _legible(_read(path, tags, MAX_HEADER_BYTES + pixel_bytes, None)))


def guarded(path: Path, parse: Callable[[], _Result]) -> _Result:
    """Call what parses a file, and say in our own words what it raises.

    Raises
    ------
    UnreadableFileError
        For every error but a lack of memory: on damaged data, parsers raise errors of every kind.
    """
    try:
        return parse()
    except (UnreadableFileError, MemoryError):
        raise
    except LimitError as error:
        raise UnreadableFileError(
            f"The header of the DICOM file '{path.name}' is larger than that of any CT.",
            "The file is damaged, or not a CT: export the series again from the PACS.",
        ) from error
    except Exception as error:
        raise damaged(path) from error


def damaged(path: Path) -> UnreadableFileError:
    """Return the error of a DICOM file that cannot be parsed."""
    return UnreadableFileError(
        f"The DICOM file '{path.name}' is truncated or damaged.", "Export the series again from the PACS."
    )


def sequence_of(dataset: pydicom.Dataset, keyword: str) -> list[pydicom.Dataset]:
    """Return the items of a sequence, empty where there is none.

    Raises
    ------
    LimitError
        If it has more items, with those within them, than the header of any CT.
    """
    return list(element_of(dataset, keyword).value or ()) if keyword in dataset else []


def element_of(dataset: pydicom.Dataset, key: str | BaseTag) -> DataElement:
    """Return an attribute that is there, parsed.

    Parameters
    ----------
    dataset
        As `read_header_of` returns it, or an item of a sequence in it.
    key
        Keyword or tag.

    Raises
    ------
    LimitError
        If it is a sequence of more items, with those within them, than the header of any CT has.
    """
    raw = dataset.get_item(key).value
    if isinstance(raw, bytes):
        # Each item becomes an object of a kilobyte and more, and takes eight bytes in the file.
        items = raw.count(b"\xfe\xff\x00\xe0") + raw.count(b"\xff\xfe\xe0\x00")
        if items > MAX_SEQUENCE_ITEMS:
            raise LimitError("more sequence items than are allowed")
    return dataset[key]


def native_pixels_at(path: Path) -> tuple[int, int]:
    """Return where uncompressed pixel data begin in a file, and their length in bytes.

    Raises
    ------
    UnreadableFileError
        If the header is damaged, or there are none.
    """
    return guarded(path, lambda: _native_pixels_at(path))


def _native_pixels_at(path: Path) -> tuple[int, int]:
    with BoundedFile(path, together=MAX_HEADER_BYTES, reads=_MAX_READS) as stream:
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=["Rows"], force=True)
        order = "<" if dataset.is_little_endian else ">"
        start = stream.read(8)
        if dataset.is_implicit_VR or start[4:6] not in (b"OB", b"OW"):
            group, element, length = struct.unpack(f"{order}HHL", start)
        else:
            group, element = struct.unpack(f"{order}HH", start[:4])
            (length,) = struct.unpack(f"{order}L", stream.read(4))
        position = stream.tell()
        if (group, element) != (0x7FE0, 0x0010) or position + length > path.stat().st_size:
            raise EOFError("no pixel data, or fewer than stated")
        return position, int(length)


def _read(
    path: Path, tags: Sequence[str] | None, most: int, stop: Callable[[BaseTag, str | None, int], bool] | None
) -> pydicom.Dataset:
    with BoundedFile(path, together=most if stop is not None else None, reads=_MAX_READS) as stream:
        if stream.read(132)[128:] == b"DICM":
            meta = FileMetaDataset(read_dataset(stream, False, True, stop_when=_after_meta))
            if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                return _inflated(stream, meta, tags, most, stop)
        stream.seek(0)
        dataset = pydicom.dcmread(stream, stop_before_pixels=stop is not None, specific_tags=_listed(tags), force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:  # written before DICOM had a file header
        plain = ImplicitVRLittleEndian if dataset.is_implicit_VR else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = plain if dataset.is_little_endian else ExplicitVRBigEndian
    return dataset


def _inflated(
    stream: BoundedFile,
    meta: FileMetaDataset,
    tags: Sequence[str] | None,
    most: int,
    stop: Callable[[BaseTag, str | None, int], bool] | None,
) -> pydicom.Dataset:
    """Parse a file whose data set is deflated, without making more of it than `most` bytes."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = bytearray()
    while len(plain) < most and not unpacker.eof:
        packed = unpacker.unconsumed_tail or stream.read(_CHUNK)
        if not packed:
            break
        plain += unpacker.decompress(packed, most - len(plain))
    # The pixel data come last: a header is whole even where they are cut off.
    if stop is None and not unpacker.eof:
        raise EOFError("deflated data are cut short, or larger than the image")
    dataset = read_dataset(BytesIO(plain), False, True, stop_when=stop, specific_tags=_listed(tags))
    dataset.file_meta = meta
    dataset.is_implicit_VR, dataset.is_little_endian = False, True
    return dataset


def _legible(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """Let no stated character set spoil the letters that all sets of DICOM share.

    pydicom takes the name of any of Python's encodings, those of compressed data among them.
    """
    stated = dataset.read_encoding or default_encoding
    if not all(_keeps_ascii(name) for name in ([stated] if isinstance(stated, str) else stated)):
        dataset.set_original_encoding(dataset.is_implicit_VR, dataset.is_little_endian, default_encoding)
    return dataset


def _keeps_ascii(encoding: str) -> bool:
    try:
        return _ASCII.encode("ascii").decode(encoding) == _ASCII
    except (LookupError, ValueError):
        return False


def _listed(tags: Sequence[str] | None) -> list[str] | None:
    return None if tags is None else list(tags)


def _after_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 2


def _at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) in _PIXELS
