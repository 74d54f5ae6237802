"""Which structure each value of a mask stands for, where a client says so.

MONAI Label's module for 3D Slicer numbers the segments in their present order. Whoever removes a lung and draws it
again, or has one lung only, sends other numbers than those that the lung network learns from: right 1, left 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from covid_bert.errors import InvalidValuesError, ParameterError
from covid_bert.lungs.mask import LUNG_LABELS

_KEY, _NAME, _VALUE = "label_info", "name", "idx"
_HIGHEST = 255


def named_values(info: Mapping[str, Any]) -> dict[int, int] | None:
    """Return which label each value of a mask stands for, as its information says.

    Parameters
    ----------
    info
        Of the mask: ``label_info`` is a list of segments, each with ``name`` and the value ``idx``.

    Returns
    -------
    dict or None
        Value in the file to lung label, without segments of other names; None where the information names nothing.

    Raises
    ------
    ParameterError
        If the list is not one of names and values, or holds one of them twice.
    """
    segments = info.get(_KEY)
    if not segments:
        return None
    values: dict[int, int] = {}
    seen: set[int] = set()
    try:
        for segment in segments:
            value, label = segment[_VALUE], LUNG_LABELS.get(segment[_NAME].strip().lower())
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _HIGHEST or value in seen:
                raise ValueError
            seen.add(value)
            if label is not None:
                if label in values.values():
                    raise ValueError
                values[value] = label
    except (TypeError, KeyError, AttributeError, ValueError):
        raise ParameterError(
            "The list of segments does not say which value of the mask is which structure.",
            'Send label_info as [{"name": "right lung", "idx": 1}, {"name": "left lung", "idx": 2}], each once.',
        ) from None
    return values


def renamed(info: Mapping[str, Any], values: Mapping[int, int]) -> dict[str, Any]:
    """Return a mask's information as it holds for the mask that `relabelled` has made."""
    kept = [{**segment, _VALUE: values[segment[_VALUE]]} for segment in info[_KEY] if segment[_VALUE] in values]
    return {**info, _KEY: kept}


def relabelled(labels: npt.NDArray[np.uint8], values: Mapping[int, int]) -> npt.NDArray[np.uint8]:
    """Return a mask with our own labels in the place of the client's values.

    Parameters
    ----------
    labels
        Any shape.
    values
        See `named_values`.

    Raises
    ------
    InvalidValuesError
        If it has voxels of other structures than lungs.
    """
    table = np.zeros(_HIGHEST + 1, np.uint8)
    table[list(values)] = list(values.values())
    changed = table[labels]
    if np.any((changed == 0) & (labels != 0)):
        raise InvalidValuesError(
            "The mask holds other structures than the right and the left lung.",
            "Remove the segments that are no lungs, name the others 'right lung' and 'left lung', and submit again.",
        )
    return changed
