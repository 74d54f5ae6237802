"""What is said before a mask is compared or sent where the scene is no longer what the server knows of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import correction
from ..i18n import tr as _

if TYPE_CHECKING:
    import slicer

    from .context import Panel


def other_image_words(panel: Panel) -> str:
    """Return that the volume on show is no longer the study that the server in use has, "" where it is or never was."""
    if panel.server is None or correction.former_image_of(panel.volume, panel.server["url"]) is None:
        return ""
    return _("The volume is no longer the study that the server has: its voxels or their place were changed.")


def ask_own_study(panel: Panel, then: Callable[[], None]) -> None:
    """Call ``then``, by which a mask is sent; where the volume is no longer the server's study, only if that is agreed.

    The mask is never sent to the former study: ``then`` adds the volume as one of its own.
    """
    words = other_image_words(panel)
    if not words:
        then()
        return
    volume, server = panel.volume, panel.server

    def agreed() -> None:
        if panel.volume is volume and panel.server is server:
            then()
        else:
            panel.messages.attention(_("The study was changed: nothing was sent."), _("Press the button again."))

    panel.messages.ask(
        words + " " + _("Its mask cannot be sent to that study. Add volume and mask as a study of its own?"),
        _("Add as a study of its own"),
        _("Do not send"),
        panel.guarded(agreed),
        lambda: panel.messages.attention(
            _("Nothing was sent."), _("Open the study from the worklist again, or classify the volume as it is now.")
        ),
    )


def tell_edited(panel: Panel, automatic: slicer.vtkMRMLSegmentationNode | None, mask: str) -> None:
    """Say that an automatic mask is not as the server sent it: it is what a correction is compared with."""
    if automatic is None or panel.volume is None or correction.is_as_sent(automatic, panel.volume, mask):
        return
    panel.messages.attention(
        _("{name} was changed in the scene: it is no longer the mask that the server sent.").format(
            name=automatic.GetName()
        ),
        _("The comparison is with the changed mask. Classify the volume again for one as the server makes it."),
    )
