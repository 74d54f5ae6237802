"""Which series of a folder is the chest CT."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covid_bert.errors import (
    MixedSeriesError,
    NotComputedTomographyError,
    NotFoundError,
    TooFewSlicesError,
    UnreadableFileError,
)
from covid_bert.volumes.assembly import MIN_SLICES
from covid_bert.volumes.dicom_headers import GREY, SliceHeader

LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SCANOGRAM", "SURVIEW"}
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_HOUNSFIELD_TYPES = {"", "HU", "US", "HU_MOD"}
# Positions closer than this are one position (a monitoring series stays at one place).
SAME_POSITION_MM = 0.02


@dataclass(frozen=True)
class Series:
    """The images of one SeriesInstanceUID; of a multi-frame one with several, one stack or phase."""

    uid: str
    headers: tuple[SliceHeader, ...]
    part: str = ""

    @property
    def number(self) -> str:
        """SeriesNumber as stored, without leading zeros, and the part of a multi-frame series."""
        plain = self.headers[0].series_number
        return self._with_part(plain.lstrip("0") or plain)

    @property
    def names(self) -> frozenset[str]:
        """What a user may call it: number or SeriesInstanceUID, with the part or without."""
        plain = self.headers[0].series_number
        return frozenset({self.uid, self._with_part(self.uid), plain, plain.lstrip("0") or plain, self.number})

    def _with_part(self, name: str) -> str:
        return f"{name}/{self.part}" if self.part else name

    @property
    def places(self) -> int:
        """Number of different positions; the number of images where positions are missing."""
        heights = _heights(self.headers)
        if heights is None:
            return len(self.headers)
        return 1 + int(np.count_nonzero(np.diff(heights) > SAME_POSITION_MM))

    def describe(self) -> dict[str, Any]:
        """Return what a user needs to choose among series; nothing about the patient."""
        first = self.headers[0]
        heights = _heights(self.headers)
        steps = np.diff(heights) if heights is not None else np.empty(0)
        return {
            "number": self.number,
            "modality": first.modality,
            "slices": len(self.headers),
            "spacing": round(float(np.median(steps)), 4) if len(steps) else None,
            "rows": first.rows,
            "columns": first.columns,
            "kernel": first.kernel,
            "series_instance_uid": self._with_part(self.uid),
        }


def select_series(headers: list[SliceHeader], wanted: str | None, path: Path) -> tuple[Series, tuple[str, ...]]:
    """Return the one series that can be the chest CT, and warnings about what was left aside.

    Parameters
    ----------
    headers
        All DICOM files that were found.
    wanted
        SeriesInstanceUID or SeriesNumber that the user chose; of a multi-frame series with several stacks or phases
        followed by ``/`` and the part.
    path
        The folder or archive, for messages.

    Raises
    ------
    MixedSeriesError
        If several could be meant; ``details['series']`` lists them.
    NotComputedTomographyError, TooFewSlicesError, UnreadableFileError, NotFoundError
        If none is left.
    """
    if wanted is not None:
        headers = _matching(headers, wanted, path)
    reasons = [reason_against(header) for header in headers]
    candidates = _group(header for header, reason in zip(headers, reasons, strict=True) if not reason)
    aside = Counter(reason for reason in reasons if reason)
    if not candidates:
        raise _nothing_left(aside, path)
    long = [series for series in candidates if series.places >= MIN_SLICES]
    if len(candidates) > 1 and not long:
        raise TooFewSlicesError(
            f"'{path.name}' holds {len(candidates)} CT series, none with {MIN_SLICES} slices or more.",
            "Give one whole series of one patient.",
            series=[series.describe() for series in candidates],
        )
    if len(long) > 1:
        numbers = ", ".join(series.number or "?" for series in long)
        raise MixedSeriesError(
            f"'{path.name}' holds {len(long)} CT series (numbers {numbers}).",
            "Choose one with series=, by its number or SeriesInstanceUID (on the command line: --series).",
            series=[series.describe() for series in long],
        )
    chosen = long[0] if long else candidates[0]
    studies = {header.study_instance_uid for header in chosen.headers} - {""}
    if len(studies) > 1:
        raise MixedSeriesError(
            f"The images of one series in '{path.name}' belong to {len(studies)} studies.",
            "They may be of different patients: export the series again from the PACS.",
            series=[chosen.describe()],
        )
    short = len(candidates) - 1
    if short:
        aside[f"in {short} CT series of fewer than {MIN_SLICES} positions"] = sum(
            len(series.headers) for series in candidates if series is not chosen
        )
    return chosen, tuple(f"{count} DICOM file(s) were left aside: {reason}." for reason, count in aside.items())


def reason_against(header: SliceHeader) -> str:
    """Return why a file cannot be a slice of a CT volume; empty where it can."""
    if not header.rows or not header.columns:
        return "not an image"
    if header.modality != "CT":
        return f"modality {header.modality or 'unknown'}"
    if LOCALIZERS & {part.upper() for part in header.image_type}:
        return "localizer"
    if header.frames > 1:
        return "multi-frame"
    if header.samples != 1 or header.photometric not in GREY:
        return "colour image"
    if header.sop_class_uid.startswith(SECONDARY_CAPTURE) and header.position is None:
        return "screen capture"
    if header.rescale_type not in _HOUNSFIELD_TYPES:
        return f"values in {header.rescale_type}, not HU"
    return ""


def _group(headers: Iterable[SliceHeader]) -> list[Series]:
    groups: dict[str, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        groups[header.series_instance_uid].append(header)
    return [series for uid, members in groups.items() for series in _parts(Series(uid, tuple(members)))]


def _parts(series: Series) -> list[Series]:
    """Return the stacks and phases of a multi-frame series; one series where they lie one behind the other."""
    parts: dict[str, list[SliceHeader]] = defaultdict(list)
    for header in series.headers:
        parts[header.part].append(header)
    directions = {header.orientation for header in series.headers}
    if len(parts) == 1 or (len(directions) == 1 and series.places == len(series.headers)):
        return [series]
    return [Series(series.uid, tuple(members), part) for part, members in parts.items()]


def _matching(headers: list[SliceHeader], wanted: str, path: Path) -> list[SliceHeader]:
    every = _group(headers)
    wanted = str(wanted).strip()
    exact = [series for series in every if wanted in (series.uid, series._with_part(series.uid))]
    found = exact or [series for series in every if {wanted, wanted.lstrip("0")} & series.names]
    if not found:
        raise NotFoundError(
            f"'{path.name}' holds no series '{wanted}'.",
            f"Its series numbers are {', '.join(sorted({series.number or '?' for series in every}))}.",
            series=[series.describe() for series in every],
        )
    if len(found) > 1:
        hint = "Choose by SeriesInstanceUID instead."
        if all(series.part for series in found):
            hint = f"Choose one of {', '.join(series.number for series in found)}."
        raise MixedSeriesError(
            f"'{path.name}' holds {len(found)} series of number {wanted}.",
            hint,
            series=[series.describe() for series in found],
        )
    return list(found[0].headers)


def _nothing_left(aside: Counter[str], path: Path) -> Exception:
    found = ", ".join(f"{count} x {reason}" for reason, count in aside.most_common())
    if aside["multi-frame"]:
        return UnreadableFileError(
            f"'{path.name}' is a multi-frame image that does not say where its frames lie.",
            "Give the CT series that it was made of.",
        )
    return NotComputedTomographyError(
        f"'{path.name}' holds no CT slices (found: {found}).", "Give the axial series of a chest CT."
    )


def _heights(headers: tuple[SliceHeader, ...]) -> Any:
    """Return the sorted positions along the normal of the first slice in mm; None where geometry is missing."""
    first = headers[0].orientation
    positions = [header.position for header in headers if header.position is not None]
    if first is None or len(positions) < len(headers):
        return None
    return np.sort(np.asarray(positions) @ np.cross(first[:3], first[3:]))
