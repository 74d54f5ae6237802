"""The text headers of NRRD and MetaImage: which file holds the voxels, and whether all of them are there.

ITK follows a header to any file on the disk, and does not notice every damage of compressed data; this module does.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import BinaryIO

from covid_bert.errors import UnreadableFileError
from covid_bert.volumes.assembly import check_shape

_HEADER_BYTES = 2**18
_META_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_FLOAT": 4,
    "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_DOUBLE": 8,
}  # fmt: skip
# The first word of NRRD's type after "signed" and "unsigned"; intN_t is taken by its digits.
_NRRD_BYTES = {"char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "float": 4, "double": 8}


def read_fields(path: Path) -> dict[str, str]:
    """Return the text fields of a header, names in lower case without blanks.

    Raises
    ------
    UnreadableFileError
        If there is no such header.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(_HEADER_BYTES)
    except OSError as error:
        raise damaged(path.name) from error
    is_nrrd = start.startswith(b"NRRD")
    fields: dict[str, str] = {}
    for line in start.split(b"\n"):
        text = line.decode("latin-1").strip()
        if is_nrrd and not text:
            break
        name, found, value = text.partition(":" if is_nrrd else "=")
        if found and not text.startswith("#"):
            fields[name.strip().lower().replace(" ", "")] = value.strip()
        if name.strip().lower() == "elementdatafile":
            break
    if "sizes" not in fields and "dimsize" not in fields:
        raise damaged(path.name)
    return fields


def check_data(path: Path, fields: dict[str, str]) -> None:
    """Find the voxel data and compare their amount, and the checksum of compressed ones, with the header.

    Parameters
    ----------
    path
        The header.
    fields
        What `read_fields` returned.

    Raises
    ------
    UnreadableFileError
        If data are missing, truncated or damaged, or lie in another folder than the header.
    InputError
        If the shape is not that of a chest CT.
    """
    voxels = data_path(path, fields)
    try:
        with voxels.open("rb") as stream:
            if voxels == path:
                _skip_header(stream)
            needed = _needed_bytes(fields, path.name)
            if _is_packed(fields):
                complete = needed is None or _unpacked_bytes(stream, needed) == needed
            else:
                complete = needed is None or voxels.stat().st_size - stream.tell() >= needed
    except (KeyError, ValueError, OSError, zlib.error) as error:
        raise damaged(path.name) from error
    if not complete:
        raise damaged(path.name)


def data_path(path: Path, fields: dict[str, str]) -> Path:
    """Return the file that holds the voxels: the header's own, or one beside or below it with all links followed.

    Parameters
    ----------
    path
        The header.
    fields
        What `read_fields` returned.

    Raises
    ------
    UnreadableFileError
        If it is missing, lies in another folder, or there are several.
    """
    named = fields.get("elementdatafile") or fields.get("datafile") or "LOCAL"
    if named.upper() == "LOCAL":
        return path
    try:
        found = (path.parent / named).resolve()
        missing = not found.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        # Links in a circle, and names that no file can have.
        raise damaged(path.name) from error
    if named.split()[0].upper() == "LIST" or "%" in named or not found.is_relative_to(path.parent.resolve()):
        raise UnreadableFileError(
            f"'{path.name}' spreads its data over several files or other folders.",
            "Convert it to one .nrrd, .mha or .nii.gz file.",
        )
    if missing:
        raise UnreadableFileError(
            f"The data file that '{path.name}' names is missing.",
            "Keep header and data file together in one folder, or convert them to one .nrrd or .nii.gz file.",
        )
    return found


def damaged(name: str) -> UnreadableFileError:
    """Return the error of a file that cannot be used as it is."""
    return UnreadableFileError(
        f"'{name}' is truncated, damaged or not of the format that its name says.", "Copy or export the file again."
    )


def _skip_header(stream: BinaryIO) -> None:
    start = stream.read(_HEADER_BYTES)
    if start.startswith(b"NRRD"):
        ends = [start.index(end) + len(end) for end in (b"\n\n", b"\r\n\r\n") if end in start]
        stream.seek(min(ends))
    else:
        stream.seek(start.index(b"\n", start.index(b"ElementDataFile")) + 1)


def _needed_bytes(fields: dict[str, str], name: str) -> int | None:
    """Return the size of the voxels; None for text data and blocks, which ITK checks itself."""
    shape = tuple(int(size) for size in fields.get("dimsize", fields.get("sizes", "")).split())
    check_shape(shape, name)
    if "dimsize" in fields:
        channels = int(fields.get("elementnumberofchannels", "1"))
        return math.prod(shape) * channels * _META_BYTES[fields["elementtype"]]
    kind = fields["type"].lower()
    digits = "".join(character for character in kind if character.isdigit())
    words = [word for word in kind.split() if word not in ("signed", "unsigned")]
    size = int(digits) // 8 if digits else 8 if words[:2] == ["long", "long"] or kind.endswith("longlong") else None
    size = size or _NRRD_BYTES.get(words[0] if words else "")
    text = fields.get("encoding", "").lower() not in ("raw", "gzip", "gz")
    skipped = any(int(fields.get(field, "0")) for field in ("byteskip", "lineskip"))
    return None if size is None or text or skipped else math.prod(shape) * size


def _is_packed(fields: dict[str, str]) -> bool:
    return fields.get("compresseddata", "").lower() == "true" or fields.get("encoding", "").lower() in ("gzip", "gz")


def _unpacked_bytes(stream: BinaryIO, most: int) -> int:
    """Return how many bytes a zlib or gzip stream holds; 0 where it is cut short or holds more than `most`."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    found = 0
    while found <= most and (block := stream.read(2**16)):
        found += len(unpacker.decompress(block))
    return found if unpacker.eof and found <= most else 0
