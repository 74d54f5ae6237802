"""A client for a covid-bert server, of the standard library only, for Python 3.9 and later.

The folder imports nothing of the rest of the package, so that it can be carried by other programs. See `Client`.
"""

from .backoff import Backoff
from .client import Client
from .errors import (
    AddressError,
    BusyError,
    CancelledError,
    CertificateError,
    ClientError,
    ConflictError,
    ConnectionLostError,
    GoneError,
    InvalidAnswerError,
    InvalidRequestError,
    JobFailedError,
    LocalFileError,
    NotAllowedError,
    NotFoundError,
    ServerError,
    TimedOutError,
    TokenMissingError,
    TokenRefusedError,
    TooLargeError,
    UnreachableError,
    VersionMismatchError,
    WrongServerError,
)
from .jobs import Job, JobFault, JobResult
from .link import Readiness
from .records import LabelMark, LabelVersion, NextStudy, Study, StudyLabel, User

__all__ = [
    "AddressError",
    "Backoff",
    "BusyError",
    "CancelledError",
    "CertificateError",
    "Client",
    "ClientError",
    "ConflictError",
    "ConnectionLostError",
    "GoneError",
    "InvalidAnswerError",
    "InvalidRequestError",
    "Job",
    "JobFailedError",
    "JobFault",
    "JobResult",
    "LabelMark",
    "LabelVersion",
    "LocalFileError",
    "NextStudy",
    "NotAllowedError",
    "NotFoundError",
    "Readiness",
    "ServerError",
    "Study",
    "StudyLabel",
    "TimedOutError",
    "TokenMissingError",
    "TokenRefusedError",
    "TooLargeError",
    "UnreachableError",
    "User",
    "VersionMismatchError",
    "WrongServerError",
]
