"""Errors whose message and hint are shown to the user as they are."""

from __future__ import annotations


class CovidBertError(Exception):
    """Something that the user can do something about.

    Parameters
    ----------
    message
        What is wrong, one sentence.
    hint
        What to do, one sentence.
    code
        Short name of the kind of problem, for programs; never shown alone.
    """

    default_code = "problem"

    def __init__(self, message: str, hint: str, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code


class ResultError(CovidBertError):
    """What the server sent is not a result that can be shown."""

    default_code = "invalid-answer"


class ExportError(CovidBertError):
    """The volume cannot be sent."""

    default_code = "unsuitable-volume"


class MaskError(CovidBertError):
    """The segmentation cannot be used as a mask."""

    default_code = "unsuitable-mask"


class SceneError(CovidBertError):
    """The scene lacks what is needed."""

    default_code = "missing-node"
