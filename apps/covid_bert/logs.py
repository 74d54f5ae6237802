"""The server's log: JSON lines, or readable ones on a terminal, that hold nothing of a patient and no token.

Messages of other libraries are withheld, since they may name files and studies; only where they came from is kept.
Records are made safe when they are made, so that no handler, whoever adds it, can write what was left out.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
from contextvars import ContextVar
from datetime import datetime, timezone
from enum import Enum
from types import TracebackType
from typing import Any, TextIO

# Inherited by the server's child processes, which log in the same form.
FORMAT_VARIABLE = "COVID_BERT_LOG_FORMAT"
REQUEST_LOGGER = "covid_bert.request"
# What a line about a request may hold beside its id.
REQUEST_FIELDS = ("method", "route", "status", "milliseconds", "token")

# The id of the request that is being answered here; it follows the work onto threads.
current_request: ContextVar[str | None] = ContextVar("current_request", default=None)

# uvicorn's words on its start and end; they hold process numbers and the server's own address.
_UVICORN_MESSAGES = frozenset(
    {
        "Started server process [%d]",
        "Waiting for application startup.",
        "Application startup complete.",
        "Application startup failed. Exiting.",
        "Uvicorn running on %s://%s:%d (Press CTRL+C to quit)",
        "Uvicorn running on %s://[%s]:%d (Press CTRL+C to quit)",
        "Shutting down",
        "Waiting for connections to close. (CTRL+C to force quit)",
        "Waiting for background tasks to complete. (CTRL+C to force quit)",
        "Cancel %s running task(s), timeout graceful shutdown exceeded",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
        "Finished server process [%d]",
        "Invalid HTTP request received.",
    }
)
# Tokens, and DICOM's identifiers. Our own messages hold none; this is for the day that one does.
_SECRETS = re.compile(r"cb_[A-Za-z0-9_-]{20,}|\b\d+(?:\.\d+){5,}\b")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_OWN = "covid_bert"


class LogFormat(str, Enum):
    """How lines are written: JSON, for people, or for people on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class SafeRecord(logging.LogRecord):
    """A record without what may name a patient: other libraries' messages, and the messages of exceptions.

    The parameters are those of `logging.LogRecord`.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.msg, self.args = self._safe_message(), None
        if self.exc_info and self.exc_info[1] is not None:
            self.msg = f"{self.msg} {describe(self.exc_info[1])}"
        self.exc_info, self.exc_text, self.stack_info = None, None, None
        self.request_id = current_request.get()

    def _safe_message(self) -> str:
        own = self.name == _OWN or self.name.startswith(f"{_OWN}.")
        if own or (self.name.startswith("uvicorn") and self.msg in _UVICORN_MESSAGES):
            try:
                return _SECRETS.sub("(not shown)", self.getMessage())
            except (TypeError, ValueError, KeyError):
                return f"A message with wrong arguments, at {self.filename}:{self.lineno}"
        return f"A message of another library, at {self.filename}:{self.lineno}"


class JsonFormatter(logging.Formatter):
    """One JSON object on each line: time (ISO 8601, UTC), level, logger, message, request_id and a request's facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        facts = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        return json.dumps({name: value for name, value in facts.items() if value is not None})


class TextFormatter(logging.Formatter):
    """Lines for people, with the same content."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line; what could move a terminal's cursor is left out."""
        facts = [f"{name}={value}" for name, value in _facts(record).items() if value is not None]
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {' '.join([record.getMessage(), *facts])}"
        return _CONTROL.sub("", line).replace("\n", "\n    ")


def configure(form: LogFormat = LogFormat.AUTO, stream: TextIO | None = None) -> None:
    """Let all loggers of this process write safe lines to one stream, and so those of its child processes.

    Parameters
    ----------
    form
        How lines are written.
    stream
        Where to; standard error if None.
    """
    os.environ[FORMAT_VARIABLE] = form.value
    # Python's helper process cleans up after a worker that was killed, and would say so in lines of its own.
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"
    target = stream if stream is not None else sys.stderr
    readable = form is LogFormat.TEXT or (form is LogFormat.AUTO and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(TextFormatter() if readable else JsonFormatter())
    logging.setLogRecordFactory(SafeRecord)
    # A failing handler would print the record's arguments.
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    for logger in map(logging.getLogger, list(logging.root.manager.loggerDict)):
        logger.handlers.clear()
        logger.propagate = True
    logging.root.handlers[:] = [handler]
    for name, level in (("", logging.WARNING), (_OWN, logging.INFO), ("uvicorn", logging.INFO)):
        logging.getLogger(name).setLevel(level)
    # Warnings are about code, not about what the server does; uvicorn's lines on requests hold their paths.
    for name in ("py.warnings", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.excepthook = _log_exception
    threading.excepthook = lambda failed: _log_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)
    sys.unraisablehook = lambda failed: _log_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)


def configure_child() -> None:
    """Do the same in a child process, in the form that its parent was given; nothing if the parent's is not ours."""
    form = os.environ.get(FORMAT_VARIABLE)
    if form is not None:
        configure(LogFormat(form))


def log_request(method: str, route: str, status: int, seconds: float, token: str | None) -> None:
    """Write the line on an answered request.

    Parameters
    ----------
    method, route
        HTTP method and template of the route, never what the client sent.
    status
        HTTP status; 0 if the client left before there was one.
    seconds
        From the request's head to the answer's end, at least 0.
    token
        Name of the caller's token, None if he has none.
    """
    values = (method, route, status, round(seconds * 1000, 1), token)
    logging.getLogger(REQUEST_LOGGER).info("request", extra=dict(zip(REQUEST_FIELDS, values, strict=True)))


def describe(error: BaseException) -> str:
    """Type and place of an error, without its message, which may name a study or a path of one."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = " > ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__} at {places}"


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    facts = {"request_id": getattr(record, "request_id", None)}
    if record.name == REQUEST_LOGGER:
        facts.update({name: getattr(record, name, None) for name in REQUEST_FIELDS})
    return facts


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")


def _log_exception(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), trace)
    elif not issubclass(kind, SystemExit):
        logging.getLogger(_OWN).error("Unexpected error: %s", describe(error) if error else kind.__name__)
