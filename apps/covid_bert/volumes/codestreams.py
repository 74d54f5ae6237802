"""The size that a compressed image states of itself, before a decoder makes room for it."""

from __future__ import annotations

import struct

_JPEG_START, _JPEG2000_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
_JP2_START = b"\x00\x00\x00\x0cjP"
# Frame headers of JPEG (C4, C8 and CC are other segments) and of JPEG-LS.
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
# Markers without a length.
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})


def stated_size(codestream: bytes) -> tuple[int, int]:
    """Return (columns, rows) of a JPEG, JPEG-LS or JPEG 2000 image, from its header.

    Parameters
    ----------
    codestream
        The compressed image.

    Raises
    ------
    ValueError
        If it has no such header.
    """
    if codestream.startswith(_JP2_START):  # some writers wrap it up as a file
        codestream = codestream[max(0, codestream.find(_JPEG2000_START)) :]
    try:
        if codestream.startswith(_JPEG2000_START):
            right, bottom, left, top = struct.unpack(">4L", codestream[8:24])
            return right - left, bottom - top
        if codestream.startswith(_JPEG_START):
            return _jpeg_size(codestream)
    except (struct.error, IndexError) as error:
        raise ValueError("the header of the compressed image is cut short") from error
    raise ValueError("no compressed image")


def _jpeg_size(codestream: bytes) -> tuple[int, int]:
    position = 2
    while True:
        if codestream[position] != 0xFF:
            raise ValueError("a marker is missing")
        marker = codestream[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _BARE:
            position += 2
        elif marker in _FRAME_HEADERS:
            rows, columns = struct.unpack(">2H", codestream[position + 5 : position + 9])
            return columns, rows
        else:
            (length,) = struct.unpack(">H", codestream[position + 2 : position + 4])
            position += 2 + max(2, length)
