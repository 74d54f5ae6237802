"""What can go wrong between client and server; each error says what to do about it."""

from __future__ import annotations

from typing import ClassVar


class ClientError(Exception):
    """Base of all errors of the client.

    Parameters
    ----------
    message
        One sentence that says what is wrong.
    hint
        One sentence that says what to do about it.
    code
        The server's code of the error (for example ``"not-ct"``); the code of the class where the server gave none.
    status
        The answer's HTTP status, or None where there was no answer.
    request_id
        What to look for in the server's log, or None.
    """

    default_code: ClassVar[str] = "client-error"

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code
        self.status = status
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class AddressError(ClientError):
    """The address is not a URL of a server, or no host has that name."""

    default_code = "wrong-address"


class UnreachableError(AddressError):
    """The host is known, but nothing can be reached at that port."""

    default_code = "unreachable"


class WrongServerError(ClientError):
    """Something answers at the address, but it is not a covid-bert server."""

    default_code = "wrong-server"


class CertificateError(ClientError):
    """The server's TLS certificate is not trusted, or the CA file cannot be used."""

    default_code = "certificate-not-trusted"


class VersionMismatchError(ClientError):
    """The server is of a version that this client does not speak with."""

    default_code = "version-mismatch"


class TokenMissingError(ClientError):
    """The server wants a token, and none was given."""

    default_code = "token-missing"


class TokenRefusedError(ClientError):
    """The server does not know the token, or the token cannot be one."""

    default_code = "token-refused"


class NotAllowedError(ClientError):
    """The token's role does not allow the request."""

    default_code = "not-allowed"


class InvalidRequestError(ClientError):
    """The request cannot be served as it is; repeating it does not help."""

    default_code = "bad-request"


class NotFoundError(ClientError):
    """The server has no study, job or model of that name."""

    default_code = "not-found"


class ConflictError(ClientError):
    """The request does not fit the present state, for example the result of a job that still runs."""

    default_code = "conflict"


class GoneError(ClientError):
    """It was there and has expired: a session, or the result of a job."""

    default_code = "gone"


class TooLargeError(ClientError):
    """The server does not take uploads of that size."""

    default_code = "too-large"


class BusyError(ClientError):
    """The server takes no more requests just now; ``retry_after`` holds the seconds it asks to wait, or None."""

    default_code = "busy"
    retry_after: float | None = None


class ServerError(ClientError):
    """The server failed."""

    default_code = "server-error"


class InvalidAnswerError(ServerError):
    """The server's answer is damaged, too large or without what it must hold."""

    default_code = "invalid-answer"


class ConnectionLostError(ClientError):
    """The connection ended before the answer was complete."""

    default_code = "connection-lost"


class TimedOutError(ClientError):
    """The server did not answer in time."""

    default_code = "timeout"


class CancelledError(ClientError):
    """The user cancelled, here or on the server."""

    default_code = "cancelled"


class JobFailedError(ClientError):
    """The server accepted the job and could not finish it; code, message and hint are the server's."""

    default_code = "job-failed"


class LocalFileError(ClientError):
    """A file on this machine cannot be read or written."""

    default_code = "local-file"
