"""Which results are seen: of many in a scene, the masks of one."""

from __future__ import annotations

import slicer

from .correction import correction_of
from .overlay import hide_overlay
from .stored import Shown, find, find_all


def hide(shown: Shown) -> None:
    """Hide the masks of a result."""
    _set_visible(shown, False)


def hide_older(shown: Shown) -> None:
    """Hide the masks, their corrections and the maps of the other results of a study; nothing is deleted."""
    for other in find(shown.volume):
        if other.record is not shown.record:
            _set_visible(other, False)
            if other.location is not None:
                hide_overlay(other.location)


def show_only(shown: Shown | None) -> None:
    """Show the masks of a result, and hide those of all others; None hides all."""
    for other in find_all():
        _set_visible(other, shown is not None and other.record is shown.record)


def _set_visible(shown: Shown, is_visible: bool) -> None:
    for mask in (shown.lungs, shown.lesions):
        # Of a mask and its correction that one is seen which is worked on.
        corrected = correction_of(mask)
        _set_node_visible(corrected, is_visible)
        _set_node_visible(mask, is_visible and corrected is None)


def _set_node_visible(node: slicer.vtkMRMLSegmentationNode | None, is_visible: bool) -> None:
    if node is not None and node.GetDisplayNode() is not None:
        node.GetDisplayNode().SetVisibility(is_visible)
