"""Slices that are there twice: copies are left out, contradictions are refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from covid_bert.errors import DuplicateSlicesError
from covid_bert.volumes.dicom_decoding import Decoder
from covid_bert.volumes.dicom_headers import SliceHeader
from covid_bert.volumes.dicom_pixels import slice_values


def without_copies(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], tuple[str, ...]]:
    """Leave out files that hold the same slice as another one.

    Pixels are compared only where two slices have one SOPInstanceUID, or lie at one place. Different slices at one
    place are kept: they are phases or reconstructions, which the order of the slices shows.

    Parameters
    ----------
    headers
        The slices of one series.

    Returns
    -------
    headers
        Without the copies, in their order.
    warnings
        How many were left out.

    Raises
    ------
    DuplicateSlicesError
        If two different slices have one SOPInstanceUID.
    UnreadableFileError
        If pixel data that must be compared cannot be decoded.
    """
    decoder = Decoder()
    kept = []
    for slices in _grouped(headers, _identity):
        if any(not _same(slices[0], other, decoder) for other in slices[1:]):
            raise DuplicateSlicesError(
                f"{slices[0].name} and {slices[1].name} are different slices with one SOPInstanceUID.",
                "One of them was changed or numbered wrongly: export the series again from the PACS.",
                duplicates=len(slices) - 1,
            )
        kept.append(slices[0])
    places = _grouped(kept, _place)
    if all(_same(slices[0], other, decoder) for slices in places for other in slices[1:]):
        kept = [slices[0] for slices in places]
    copies = len(headers) - len(kept)
    return kept, (f"{copies} DICOM slice(s) were left out: copies of others.",) if copies else ()


def _grouped(headers: Sequence[SliceHeader], key: Callable[[SliceHeader], Hashable]) -> list[list[SliceHeader]]:
    groups: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        groups[key(header)].append(header)
    return list(groups.values())


def _identity(header: SliceHeader) -> Hashable:
    return (header.sop_instance_uid or header.path, header.frame)


def _place(header: SliceHeader) -> Hashable:
    if header.position is None or header.orientation is None:
        return (header.path, header.frame)
    return tuple(round(number, 3) for number in (*header.position, *header.orientation))


def _same(one: SliceHeader, other: SliceHeader, decoder: Decoder) -> bool:
    if _place(one) != _place(other) or (one.rows, one.columns) != (other.rows, other.columns):
        return False
    return np.array_equal(slice_values(one, decoder), slice_values(other, decoder))
