"""How far a corrected segmentation lies from the automatic one, as the worker finds it (`orders.comparing`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .segments import KINDS, SegmentKind


@dataclass(frozen=True)
class SegmentComparison:
    """One segment before and after correction.

    Parameters
    ----------
    kind
        The segment.
    dice
        Twice the common voxels by the voxels of both, in [0, 1]; None where both are empty.
    before_ml, after_ml
        Volumes in ml.
    mean_distance_mm
        Mean, over the surface voxels of both, of the distance to the nearest surface voxel of the other; None where
        one of them is empty.
    distance_95_mm
        The larger of the 95th percentiles of those distances from the one and from the other; None as above.
    """

    kind: SegmentKind
    dice: float | None
    before_ml: float
    after_ml: float
    mean_distance_mm: float | None
    distance_95_mm: float | None

    @property
    def change_ml(self) -> float:
        """Volume after less volume before, in ml."""
        return self.after_ml - self.before_ml


@dataclass(frozen=True)
class Comparison:
    """A mask before and after correction.

    Parameters
    ----------
    segments
        In the order of the labels: right and left lung, or ground-glass and consolidation.
    changed_voxels
        Voxels whose label differs.
    """

    segments: tuple[SegmentComparison, ...]
    changed_voxels: int


def read_comparison(found: dict[str, Any], mask: str, voxel_ml: float) -> Comparison:
    """Read what the worker found.

    Parameters
    ----------
    found
        Result of the order ``compare``.
    mask
        ``lungs`` or ``lesions``.
    voxel_ml
        Volume of a voxel in ml.
    """
    segments = tuple(
        SegmentComparison(
            kind,
            facts["dice"],
            facts["before"] * voxel_ml,
            facts["after"] * voxel_ml,
            facts["mean_distance_mm"],
            facts["distance_95_mm"],
        )
        for kind, facts in zip(KINDS[mask], found["segments"])
    )
    return Comparison(segments, int(found["changed_voxels"]))
