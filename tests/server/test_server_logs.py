"""Nothing that a client sends, and nothing that another library says, reaches the log."""

from __future__ import annotations

import io
import json
import logging
import socket
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import requests
import uvicorn
from served import served
from starlette.applications import Starlette

from covid_bert.errors import ServerError
from covid_bert.logs import (
    FORMAT_VARIABLE,
    LogFormat,
    SafeRecord,
    configure,
    configure_child,
    current_request,
    log_request,
)
from covid_bert.server.access import Role
from covid_bert.server.configuration import load
from covid_bert.server.launch import uvicorn_options
from covid_bert.server.layers import protected
from covid_bert.server.metrics import Metrics
from covid_bert.server.tokens import LiveTokens, TokenFile

MARKER = "MarkerPatientName"
Read = Callable[[], list[dict]]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the process's logging back as it was."""
    monkeypatch.setenv(FORMAT_VARIABLE, "auto")
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    factory, handlers, raises = logging.getLogRecordFactory(), list(logging.root.handlers), logging.raiseExceptions
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    names = ["", "covid_bert", *logging.root.manager.loggerDict]
    before = {
        name: (logger.level, list(logger.handlers), logger.propagate)
        for name, logger in ((name, logging.getLogger(name)) for name in names)
    }
    yield
    logging.setLogRecordFactory(factory)
    logging.captureWarnings(False)
    logging.raiseExceptions = raises
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    for name, (level, own_handlers, propagate) in before.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers[:], logger.propagate = own_handlers, propagate
    logging.root.handlers[:] = handlers


@pytest.fixture
def stream(own_logging) -> io.StringIO:
    target = io.StringIO()
    configure(LogFormat.JSON, target)
    return target


def read(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_request_is_one_line_with_template_status_time_and_token(tmp_path: Path, port: int, stream) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    secret = tokens.add("anna", Role.READER)
    with served(tokens, port) as url:
        reply = requests.get(f"{url}/session/{MARKER}", headers={"Authorization": f"Bearer {secret}"})
        requests.get(f"{url}/healthz")
    (line,) = [line for line in read(stream) if line["logger"] == "covid_bert.request"]
    assert line["request_id"] == reply.headers["X-Request-ID"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/session/{session_id}", 200)
    assert line["token"] == "anna"
    assert 0 < line["milliseconds"] < 60_000
    assert line["time"].endswith("+00:00")
    assert set(line) == {
        *("time", "level", "logger", "message", "request_id"),
        *("method", "route", "status", "milliseconds", "token"),
    }


def test_a_marker_in_every_place_of_a_request_is_in_no_line(tmp_path: Path, port: int, stream, capfd) -> None:
    tokens = TokenFile(tmp_path / "tokens.json")
    secret = tokens.add("anna", Role.ADMIN)
    bearer = {"Authorization": f"Bearer {secret}"}
    with served(tokens, port) as url:
        for headers in (bearer, {}, {"Authorization": f"Bearer {MARKER}"}, {**bearer, "Host": MARKER}):
            requests.get(f"{url}/{MARKER}/../{MARKER}", headers=headers)
            requests.put(f"{url}/datastore/label?image={MARKER}&tag={MARKER}", headers=headers, data=MARKER)
            requests.put(f"{url}/datastore/", headers=headers, files={"file": (f"{MARKER}.nii", MARKER)})
            requests.get(f"{url}/batch/infer", headers={**headers, "X-Request-ID": MARKER, "User-Agent": MARKER})
            requests.request(MARKER, f"{url}/info/", headers=headers, cookies={MARKER: MARKER})
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(f"GET /{MARKER}\r\n{MARKER}\r\n\r\n".encode())
            raw.recv(1000)
    written = stream.getvalue() + "".join(capfd.readouterr())
    assert len(read(stream)) >= 20
    assert MARKER.lower() not in written.lower()
    assert secret not in written
    assert "RuntimeError" in written, "what failed in the application is told by its kind"
    assert "patient-name" not in written


@pytest.mark.parametrize(
    "name", ["monailabel.endpoints.infer", "uvicorn.error", "uvicorn.access", "pydicom", "covid_bertx", "root"]
)
def test_messages_of_other_libraries_are_withheld(stream, name: str) -> None:
    logging.getLogger(name).setLevel(logging.DEBUG)
    for message, arguments in ((MARKER, ()), ("%s", (MARKER,)), (f"x {MARKER} %d", (MARKER,))):
        logging.getLogger(name).critical(message, *arguments, stack_info=True)
    try:
        raise ValueError(MARKER)
    except ValueError:
        logging.getLogger(name).exception("failed")
    lines = read(stream)
    assert len(lines) == 4
    assert MARKER not in stream.getvalue()
    assert "ValueError at test_server_logs.py" in lines[3]["message"]


def test_a_handler_that_a_library_adds_later_is_covered_too(stream) -> None:
    own = io.StringIO()
    logger = logging.getLogger("monailabel.later")
    logger.addHandler(logging.StreamHandler(own))
    logger.error("%s", MARKER)
    try:
        raise ValueError(MARKER)
    except ValueError:
        logger.exception("failed", stack_info=True)
    logger.handlers.clear()
    assert own.getvalue()
    assert MARKER not in own.getvalue()


def test_own_messages_stay_and_lose_tokens_and_identifiers(stream) -> None:
    token, series = "cb_" + "a" * 43, "1.2.840.113619.2.55.3.604688"
    logging.getLogger("covid_bert.server.x").warning("Version %s, %s and %s", "1.2.3", token, series)
    (line,) = read(stream)
    assert line["message"] == "Version 1.2.3, (not shown) and (not shown)"
    assert line["level"] == "warning"


def test_exceptions_nobody_caught_and_warnings_do_not_speak(stream, capfd) -> None:
    def fail() -> None:
        raise RuntimeError(MARKER)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    warnings.warn(MARKER, stacklevel=1)
    try:
        fail()
    except RuntimeError:
        sys.excepthook(*sys.exc_info())
    logging.getLogger("covid_bert").error("%d", MARKER)
    assert [line["message"].split(" at ")[0] for line in read(stream)] == [
        *["Unexpected error: RuntimeError"] * 2,
        "A message with wrong arguments,",
    ]
    assert MARKER not in stream.getvalue() + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("error", "told"), [(RuntimeError(MARKER), "RuntimeError at"), (ServerError("The list is in use."), "in use")]
)
def test_why_a_server_does_not_start_is_told(stream, error: Exception, told: str) -> None:
    @asynccontextmanager
    async def fails(_: object) -> AsyncIterator[None]:
        raise error
        yield

    configuration = load({"studies": "unused"}, environment={})
    app = protected(Starlette(lifespan=fails), configuration, LiveTokens(TokenFile(Path("none"))), Metrics())
    with pytest.raises(SystemExit):
        uvicorn.Server(uvicorn.Config(app, **uvicorn_options(configuration))).run()
    messages = [line["message"] for line in read(stream)]
    assert any(message.startswith("The server could not start") and told in message for message in messages)
    assert "Application startup failed. Exiting." in messages
    assert MARKER not in stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("form", "target", "is_json"),
    [
        (LogFormat.AUTO, Terminal, False),
        (LogFormat.AUTO, io.StringIO, True),
        (LogFormat.JSON, Terminal, True),
        (LogFormat.TEXT, io.StringIO, False),
    ],
)
def test_readable_on_a_terminal_unless_told_otherwise(own_logging, form: LogFormat, target, is_json: bool) -> None:
    output = target()
    configure(form, output)
    named = current_request.set("f00d")
    log_request("GET", "/info/", 200, 0.0123, "anna")
    logging.getLogger("covid_bert.x").info("one\x1b[2J\ntwo")
    current_request.reset(named)
    assert output.getvalue().startswith("{") == is_json
    if not is_json:
        assert "method=GET route=/info/ status=200 milliseconds=12.3 token=anna" in output.getvalue()
        assert "request_id=f00d" in output.getvalue()
        assert "\x1b" not in output.getvalue()
        assert "\n    two" in output.getvalue(), "a second line cannot look like one of its own"


def test_child_processes_log_as_their_parent_does(own_logging, monkeypatch, capfd) -> None:
    monkeypatch.delenv(FORMAT_VARIABLE)
    configure_child()
    assert logging.getLogRecordFactory() is not SafeRecord
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    configure_child()
    logging.getLogger("monailabel").error(MARKER)
    line = json.loads(capfd.readouterr().err)
    assert line["logger"] == "monailabel"
    assert MARKER not in line["message"]
