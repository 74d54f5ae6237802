"""The measurements of a result as rows, the same ones for the table in the panel, the CSV file and the report."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from .csv_cells import plain
from .i18n import tr as _
from .result import Result
from .result_parts import Lesions, Lungs

MILLILITERS, PERCENT, COUNT = "ml", "%", ""
# Names of the server's density classes, in its order.
HU_CLASSES = ("hyperaerated", "normally_aerated", "poorly_aerated", "non_aerated")
_DASH = "–"


@dataclass(frozen=True)
class Row:
    """One measurement.

    Parameters
    ----------
    key
        Name for programs, the same in every language.
    name
        Name for people.
    right, left, total
        Values in `unit` of the patient's right and left side and of both; None where there is none.
    unit
        ``ml``, ``%`` or empty for a count.
    digits
        Digits behind the point.
    """

    key: str
    name: str
    right: float | None
    left: float | None
    total: float | None
    unit: str
    digits: int = 0

    def texts(self) -> tuple[str, str, str]:
        """Return right, left and total with their unit; a dash for what there is none of."""
        return self.text(self.right), self.text(self.left), self.text(self.total)

    def text(self, value: float | None) -> str:
        """Return a value with its unit."""
        return _DASH if value is None else f"{value:.{self.digits}f} {self.unit}".rstrip()


def rows(result: Result) -> list[Row]:
    """Return lung volumes, density shares and, where lesions were looked for, lesions.

    Parameters
    ----------
    result
        Of the server.

    Returns
    -------
    Rows in the order in which they are shown. Volumes are in ml; shares are in percent of the lung of that side, but
    those below and near the border in percent of the lesions.
    """
    found = _lung_rows(result.lungs)
    return found if result.lesions is None else found + _lesion_rows(result.lesions)


def to_csv(result: Result) -> str:
    """Return the rows of a result as CSV by RFC 4180, with a heading; empty for what there is none of.

    Numbers keep all digits. Each line says of which study it is, whether the weights are trained on patients, and what
    the result may be used for: lines are copied out of tables.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["key", "name", "right", "left", "total", "unit", "study", "weights_state", "notice"])
    origin = (result.study.identifier, result.weights_state, result.research_use_only)
    for row in rows(result):
        cells = (row.key, row.name, row.right, row.left, row.total, row.unit, *origin)
        writer.writerow([plain(cell) for cell in cells])
    return text.getvalue()


def hu_class_name(key: str) -> str:
    """Return the name for people of a density class; the key itself for one that is not known here."""
    return {
        "hyperaerated": _("Lung below -900 HU (hyperaerated)"),
        "normally_aerated": _("Lung -900 to -500 HU (normally aerated)"),
        "poorly_aerated": _("Lung -500 to -100 HU (poorly aerated)"),
        "non_aerated": _("Lung from -100 HU (not aerated)"),
    }.get(key, key)


def _lung_rows(lungs: Lungs) -> list[Row]:
    found = [Row("lung_ml", _("Lung volume"), lungs.right_ml, lungs.left_ml, lungs.total_ml, MILLILITERS)]
    right, left = lungs.right_share_by_hu_class or {}, lungs.left_share_by_hu_class or {}
    others = [key for key in {**right, **left} if key not in HU_CLASSES]
    for key in (*HU_CLASSES, *others):
        if key in right or key in left:
            both = _weighted(right.get(key), left.get(key), lungs)
            values = (_percent(value) for value in (right.get(key), left.get(key), both))
            found.append(Row(f"lung_{key}_percent", hu_class_name(key), *values, PERCENT, 1))
    return found


def _lesion_rows(lesions: Lesions) -> list[Row]:
    glass = lesions.right_ground_glass_ml, lesions.left_ground_glass_ml
    dense = lesions.right_consolidation_ml, lesions.left_consolidation_ml
    sides = [_sum(pair) for pair in zip(glass, dense)]
    shares = (_percent(value) for value in (lesions.right_share, lesions.left_share, lesions.share))
    count = None if lesions.count is None else float(lesions.count)
    lower, border = _percent(lesions.lower_share), _percent(lesions.peripheral_share)
    return [
        Row("ground_glass_ml", _("Ground-glass opacity"), *glass, _sum(glass), MILLILITERS, 1),
        Row("consolidation_ml", _("Consolidation"), *dense, _sum(dense), MILLILITERS, 1),
        Row("lesion_ml", _("Lesions together"), *sides, lesions.total_ml, MILLILITERS, 1),
        Row("lesion_percent", _("Lesions, share of the lung"), *shares, PERCENT, 1),
        Row("lesion_count", _("Lesions of at least 0.1 ml"), None, None, count, COUNT),
        Row(
            "lesion_lower_percent",
            _("Lesions in the lower half of the lungs"),
            None,
            None,
            lower,
            PERCENT,
        ),
        Row("lesion_peripheral_percent", _("Lesions within 20 mm of the lung's border"), None, None, border, PERCENT),
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _sum(values: tuple[float | None, ...]) -> float | None:
    return None if any(value is None for value in values) else sum(values)


def _weighted(right: float | None, left: float | None, lungs: Lungs) -> float | None:
    """Return the share of both lungs from those of the sides; None unless all of it is known."""
    if not lungs.total_ml or lungs.right_ml is None or lungs.left_ml is None:
        return None
    if (right is None and lungs.right_ml > 0) or (left is None and lungs.left_ml > 0):
        return None
    return ((right or 0.0) * lungs.right_ml + (left or 0.0) * lungs.left_ml) / lungs.total_ml
