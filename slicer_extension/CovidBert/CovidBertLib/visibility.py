"""Which results are seen: of many in a scene, the masks of one."""

from __future__ import annotations

from . import scene


def hide(shown: scene.Shown) -> None:
    """Hide the masks of a result."""
    _set_visible(shown, False)


def show_only(shown: scene.Shown | None) -> None:
    """Show the masks of a result, and hide those of all others; None hides all."""
    for other in scene.find_all():
        _set_visible(other, shown is not None and other.record is shown.record)


def _set_visible(shown: scene.Shown, is_visible: bool) -> None:
    for node in (shown.lungs, shown.lesions):
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(is_visible)
