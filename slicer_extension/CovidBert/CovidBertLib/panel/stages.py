"""What is going on, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..i18n import tr as _

if TYPE_CHECKING:
    from ..process import Progress

_MINUTE_SECONDS = 60


def stage_text(stage: str) -> str:
    """Return the words for a stage; those that the server alone knows as they are."""
    words = {
        "connecting": _("Connecting"),
        "copying": _("Copying"),
        "checking": _("Checking the mask"),
        "comparing": _("Comparing"),
        "reading": _("Reading the volume"),
        "compressing": _("Compressing the volume"),
        "uploading": _("Uploading the volume"),
        "waiting": _("Waiting for the server"),
        "computing": _("Computing"),
        "weights": _("Loading the weights"),
        "lungs": _("Finding the lungs"),
        "lesions": _("Finding lesions"),
        "slices": _("Scoring the slices"),
        "clips": _("Analysing groups of slices"),
        "study": _("Classifying the study"),
        "location": _("Mapping where the decision comes from"),
        "downloading": _("Downloading the result"),
        "saving": _("Saving"),
        "material": _("Reading the labelled studies"),
        "training": _("Training"),
        "judging": _("Comparing with the live version"),
        "installing": _("Keeping the new version"),
    }
    return words.get(stage, stage)


def progress_text(progress: Progress | None) -> str:
    """Return one line: the stage, the place in the queue, how long it may take."""
    if progress is None:
        return _("Starting")
    parts = [stage_text(progress.stage)]
    if progress.place:
        parts.append(_("{count} before this one").format(count=progress.place))
    if progress.seconds_left is not None and progress.seconds_left > 0:
        parts.append(_time_left(progress.seconds_left))
    return ", ".join(parts)


def _time_left(seconds: float) -> str:
    if seconds < _MINUTE_SECONDS:
        return _("about {count} s left").format(count=round(seconds))
    return _("about {count} min left").format(count=round(seconds / _MINUTE_SECONDS))
