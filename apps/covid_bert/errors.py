"""The error hierarchy: every failure a user can meet has a code, a sentence and a hint.

The command line maps an error to its documented exit code, the server to its HTTP status and JSON, 3D Slicer to
the text that it shows. Messages never contain patient data: files are named by their base name, series by number.
"""

from __future__ import annotations

from typing import Any, ClassVar


class CovidBertError(Exception):
    """Base of all errors that are shown to a user.

    Parameters
    ----------
    message
        One sentence that says what is wrong.
    hint
        One sentence that says what to do about it.
    **details
        JSON-serialisable facts for programs (for example the series to choose from).
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def to_json(self) -> dict[str, Any]:
        """Return the error as ``{code, message, hint, details}``."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "details": self.details}

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InputError(CovidBertError):
    """The study that was given cannot be used."""

    code = "bad-input"
    exit_code = 3
    http_status = 422


class UnreadableFileError(InputError):
    """A file is damaged, truncated or of a format that is not read here."""

    code = "unreadable-file"
    http_status = 415


class NotComputedTomographyError(InputError):
    """The image is not CT, or its values are not Hounsfield units."""

    code = "not-ct"


class NotChestError(InputError):
    """No lungs were found: another body part, a phantom or an empty image."""

    code = "no-lungs"


class DimensionError(InputError):
    """The image is not one three-dimensional scalar volume."""

    code = "wrong-dimensions"


class GeometryError(InputError):
    """Spacing, direction or position is impossible or contradicts itself."""

    code = "bad-geometry"


class TooLargeError(InputError):
    """A volume has more voxels than are taken here."""

    code = "too-large"
    http_status = 413


class MixedSeriesError(InputError):
    """More than one series could be meant; ``details['series']`` lists them."""

    code = "mixed-series"


class MissingSlicesError(InputError):
    """There are gaps between the slices of a series."""

    code = "missing-slices"


class DuplicateSlicesError(InputError):
    """Several slices lie at one position."""

    code = "duplicate-slices"


class UnequalSlicesError(InputError):
    """The slices of a series differ in size, spacing or direction."""

    code = "unequal-slices"


class TooFewSlicesError(InputError):
    """A volume has too few slices to be a chest CT study."""

    code = "too-few-slices"


class InvalidValuesError(InputError):
    """Pixel values are NaN, infinite or constant."""

    code = "invalid-values"


class ArchiveError(InputError):
    """A zip file is damaged, too large or unsafe to unpack."""

    code = "bad-archive"
    http_status = 413


class ParameterError(CovidBertError):
    """A parameter of a request or command has a value that is not allowed."""

    code = "bad-parameter"
    exit_code = 2
    http_status = 422


class OutputError(CovidBertError):
    """A result cannot be written."""

    code = "cannot-write"
    exit_code = 11
    http_status = 507


class InternalError(CovidBertError):
    """A fault of this program; ``details['type']`` names the exception."""

    code = "internal"
    exit_code = 1


class NotAllowedError(CovidBertError):
    """The caller's role does not cover what the request asks for."""

    code = "not-allowed"
    exit_code = 2
    http_status = 403


class NotFoundError(CovidBertError):
    """A study, file, model or system with that name does not exist."""

    code = "not-found"
    exit_code = 4
    http_status = 404


class WeightsError(CovidBertError):
    """Weights are missing, damaged or do not fit their network."""

    code = "bad-weights"
    exit_code = 5
    http_status = 503


class UnwrittenWeightsError(WeightsError, OutputError):
    """Weights, or what belongs to them, cannot be written; none that are there are damaged."""

    code = OutputError.code
    exit_code = OutputError.exit_code
    http_status = OutputError.http_status


class OfflineError(WeightsError):
    """A download could not reach its source."""

    code = "offline"


class BusyError(CovidBertError):
    """The server has no place for another request just now."""

    code = "busy"
    exit_code = 6
    http_status = 429


class OutOfMemoryError(CovidBertError):
    """The computation needs more memory than there is."""

    code = "out-of-memory"
    exit_code = 7
    http_status = 507


class CardMemoryError(OutOfMemoryError):
    """The computation needs more memory than the graphics card has; the processor may still do it."""

    code = "card-out-of-memory"


class MissingProgramError(CovidBertError):
    """An optional package or program that the request needs is not installed."""

    code = "missing-program"
    exit_code = 8
    http_status = 503


class ServerError(CovidBertError):
    """The server could not be started or did not answer as it should."""

    code = "server"
    exit_code = 9


class TokensUnusableError(ServerError):
    """The running server cannot read its file of tokens."""

    http_status = 503


class WorkerDiedError(ServerError):
    """The process that computed a job ended without an answer."""

    code = "worker-died"


class InterruptedJobError(ServerError):
    """The server stopped while a job was computed."""

    code = "interrupted"
    http_status = 503


class TooLongError(CovidBertError):
    """A job was computed for longer than the server allows."""

    code = "too-long"
    exit_code = 9
    http_status = 503


class NotReadyError(CovidBertError):
    """The result of a job is asked for before there is one."""

    code = "not-ready"
    exit_code = 6
    http_status = 409


class ConflictError(CovidBertError):
    """Something else already has that name."""

    code = "conflict"
    exit_code = 2
    http_status = 409


class GoneError(CovidBertError):
    """The result of a job, or an uploaded study, was removed after its time."""

    code = "gone"
    exit_code = 4
    http_status = 410


class TrainingDivergedError(CovidBertError):
    """The loss of a training is not a number any more."""

    code = "diverged"
    exit_code = 12


class NotEnoughLabelsError(InputError):
    """There are too few labelled studies to learn from."""

    code = "not-enough-labels"
    http_status = 409


class CancelledError(CovidBertError):
    """The user cancelled the computation; nothing was written."""

    code = "cancelled"
    exit_code = 130
    http_status = 409
