"""Requests hold what their route has; for a body that cannot come nobody waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from needed import require_module

require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")

from fastapi import Depends, FastAPI  # noqa: E402

from covid_bert.server import failures  # noqa: E402
from covid_bert.server.strict import refuse_unknown  # noqa: E402


async def _status(method: str, body: asyncio.Queue[dict[str, Any]]) -> int:
    app = FastAPI(dependencies=[Depends(refuse_unknown)])
    failures.install(app)
    app.add_api_route("/thing", lambda: {}, methods=[method])
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    # As MONAI Label's client sends them after an upload, once it has a token.
    headers = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"1000")]
    scope = {"type": "http", "method": method, "path": "/thing", "query_string": b"", "headers": headers}
    await asyncio.wait_for(app(scope, body.get, send), 120)
    return sent[0]["status"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_body_that_was_announced_and_does_not_come_is_not_waited_for(method: str) -> None:
    async def ask() -> int:
        return await _status(method, asyncio.Queue())

    assert asyncio.run(ask()) == 200


def test_a_form_that_the_route_does_not_have_is_refused() -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="no_such_key"\r\n\r\n1\r\n--x--\r\n'

    async def ask() -> int:
        body: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        body.put_nowait({"type": "http.request", "body": part, "more_body": False})
        return await _status("POST", body)

    assert asyncio.run(ask()) == 422
