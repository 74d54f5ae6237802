"""What can be wrong with an archive (PACS): each state that lasts has an error of its own."""

from __future__ import annotations

from covid_bert.errors import CovidBertError


class PacsError(CovidBertError):
    """The archive does not give what was asked for now; later it may."""

    code = "pacs"
    exit_code = 9
    http_status = 503


class PacsDownError(PacsError):
    """The archive cannot be reached, or fails."""

    code = "pacs-down"


class PacsSlowError(PacsError):
    """The archive does not answer in time, or asks for fewer requests."""

    code = "pacs-slow"


class PacsRefusedError(PacsError):
    """The archive, or this program, refuses the connection: credentials, certificate or address are wrong."""

    code = "pacs-refused"


class PacsAnswerError(PacsError):
    """The archive's answer is damaged, too large, or not what was asked for."""

    code = "pacs-answer"
    http_status = 502


class PacsArrivingError(PacsError):
    """The series changes while it is fetched: its images are still arriving at the archive."""

    code = "pacs-arriving"


class PacsRejectedError(CovidBertError):
    """The archive does not take an object, and will not later either."""

    code = "pacs-rejected"
    exit_code = 9
    http_status = 422
