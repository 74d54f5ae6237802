"""The one part of a multipart answer, written to a file piece by piece."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from covid_bert.pacs.errors import PacsAnswerError, PacsDownError

_DICOM = b"application/dicom"
_MULTIPART = b"multipart/related"


def write_only_part(content_type: str, pieces: Iterable[bytes], file: BinaryIO) -> None:
    """Write the DICOM file that an answer holds.

    Parameters
    ----------
    content_type
        Of the answer: multipart, or the file itself, as some archives send it.
    pieces
        Of its body.
    file
        Where it goes.

    Raises
    ------
    PacsAnswerError
        If it is no DICOM file, or not one.
    PacsDownError
        If the answer ends before its last boundary.
    """
    kind, options = parse_options_header(content_type)
    if kind.lower() == _DICOM:
        for piece in pieces:
            file.write(piece)
        return
    boundary = options.get(b"boundary", b"")
    if kind.lower() != _MULTIPART or not boundary:
        raise _not_one_image()
    parts, ended = 0, False

    def begin() -> None:
        nonlocal parts
        parts += 1
        if parts > 1:
            raise _not_one_image()

    def end() -> None:
        nonlocal ended
        ended = True

    def write(data: bytes, first: int, last: int) -> None:
        file.write(memoryview(data)[first:last])

    try:
        parser = MultipartParser(boundary, {"on_part_begin": begin, "on_part_data": write, "on_end": end})
        for piece in pieces:
            parser.write(piece)
    except MultipartParseError as error:
        raise _not_one_image() from error
    if not ended:
        raise PacsDownError("The archive broke off in the middle of an image.", "It is asked again.", retry_after=10)
    if not parts:
        raise _not_one_image()


def _not_one_image() -> PacsAnswerError:
    return PacsAnswerError("The archive does not send the image that it was asked for.", "Look into its log.")
