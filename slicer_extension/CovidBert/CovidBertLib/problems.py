"""Errors whose message and hint are shown to the user as they are."""

from __future__ import annotations

from collections.abc import Callable

from .i18n import tr


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


def words_of(code: str) -> tuple[str, str] | None:
    """Return message and hint of a code in the user's language, which name nobody; None for a code of others."""
    return _sentences(tr).get(code)


def in_users_language(code: str, message: str, hint: str) -> tuple[str, str]:
    """Return message and hint of a code as they are to be shown.

    Parameters
    ----------
    code
        Of the client or the server.
    message, hint
        In English, as the client or the server says them: they may know more than the code.

    Returns
    -------
    The panel's own sentences where they are translated into the user's language, else those that are given.
    """
    translated = words_of(code)
    return (message, hint) if translated is None or translated == _sentences(str).get(code) else translated


def _sentences(_: Callable[[str], str]) -> dict[str, tuple[str, str]]:
    """Return message and hint by code; the name of the parameter is that by which texts for translators are found."""
    return {
        "wrong-address": (_("The address is not that of a server."), _("Check the server's address.")),
        "unreachable": (
            _("Nothing can be reached at the server's address."),
            _("Check host and port, and whether the server runs."),
        ),
        "wrong-server": (_("What answers is not a covid-bert server."), _("Check host and port.")),
        "certificate-not-trusted": (
            _("The server's certificate is not trusted."),
            _("Choose the CA file of the authority that made it."),
        ),
        "version-mismatch": (
            _("The server is of a version that this module does not work with."),
            _("Update the module, or ask the administrator to update the server."),
        ),
        "token-missing": (_("The server wants a token."), _("Enter the token that its administrator gave you.")),
        "token-refused": (_("The server does not know the token."), _("Enter it again, or ask for another one.")),
        "not-allowed": (_("Your token does not allow this."), _("Ask the server's administrator for the role.")),
        "not-found": (_("The server does not have this."), _("Look at the list again.")),
        "gone": (_("The server no longer has this."), _("Start again.")),
        "conflict": (_("This does not fit what the server has now."), _("Look again, then repeat it.")),
        "too-large": (_("The study is larger than the server takes."), _("Crop it, or ask the administrator.")),
        "busy": (_("The server takes no more just now."), _("Try again later.")),
        "server-error": (_("The server failed."), _("Tell its administrator.")),
        "invalid-answer": (_("The server gave an answer that is none."), _("Tell its administrator.")),
        "connection-lost": (_("The connection ended before the answer was complete."), _("Check network and server.")),
        "timeout": (_("The server did not answer in time."), _("Try again later.")),
        "job-failed": (_("The server could not compute this study."), _("Look at the server's log.")),
        "not-ct": (_("This is no chest CT in Hounsfield units."), _("Choose another volume.")),
        "out-of-memory": (_("The memory does not suffice."), _("Close other volumes or programs.")),
        "disk": (_("There is no space on the disk, or it cannot be written to."), _("Make space, then try again.")),
        "missing-node": (_("The volume was removed."), _("Load it again.")),
        "no-result": (_("There is no result that can be shown."), _("Choose another model.")),
        "unsuitable-volume": (_("The volume cannot be sent: it is no whole chest CT."), _("Choose the CT itself.")),
        "server-changed": (_("The server was changed: nothing was sent."), _("Press the button again.")),
        "no-consent": (_("You have not agreed to send images there."), _("Press the button again: you are asked.")),
        "already-running": (_("It is being classified already."), _("Wait for its result.")),
        "unsuitable-mask": (_("The segmentation cannot be used as a mask."), _("Correct it in the Segment Editor.")),
        "worker-ended": (_("The process beside Slicer ended without an answer."), _("Try again.")),
        "worker-not-started": (
            _("The process beside Slicer could not be started."),
            _("Check that PythonSlicer lies beside Slicer's program, and that it may be run."),
        ),
        "panel-error": (_("The panel failed."), _("Report this to who maintains the extension.")),
        "internal": (_("The extension failed."), _("Report this to who maintains the extension.")),
        "volume-changed": (_("The volume was changed while it was being classified."), _("Classify it again.")),
    }
