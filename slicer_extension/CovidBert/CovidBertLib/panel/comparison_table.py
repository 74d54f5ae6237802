"""The table that compares a corrected mask with the automatic one."""

from __future__ import annotations

from typing import Any

from ..comparison import Comparison, SegmentComparison
from ..i18n import tr as _
from .tables import fit_height, set_columns, set_row, text_cell


class ComparisonTable:
    """Shows a comparison until the mask is another one.

    Parameters
    ----------
    table
        A QTableWidget.
    label
        A QLabel for what the numbers are.
    """

    def __init__(self, table: Any, label: Any) -> None:
        self._table, self._label = table, label
        set_columns(table, [_("Segment"), _("Dice"), _("ml (change)"), _("Mean mm"), _("95 % mm")])
        self.forget()

    def show(self, comparison: Comparison) -> None:
        """Show a comparison."""
        self._table.setRowCount(len(comparison.segments))
        for row, segment in enumerate(comparison.segments):
            set_row(self._table, row, [text_cell(text) for text in _texts(segment)])
        self._table.setVisible(True)
        fit_height(self._table, len(comparison.segments))
        self._label.text = _(
            "{count} voxels differ. Dice: 1 is equal. Distances: mean and 95th percentile between the surfaces."
        ).format(count=comparison.changed_voxels)
        self._label.setVisible(True)

    def forget(self) -> None:
        """Show nothing."""
        self._table.setVisible(False)
        self._label.setVisible(False)


def _texts(segment: SegmentComparison) -> list[str]:
    def shown(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    return [
        segment.kind.name,
        shown(segment.dice, 3),
        f"{segment.after_ml:.0f} ({segment.change_ml:+.0f})",
        shown(segment.mean_distance_mm, 2),
        shown(segment.distance_95_mm, 2),
    ]
