"""What the client makes of refusals and of answers that are damaged."""

from __future__ import annotations

import json
import traceback

import pytest
from scripted_server import TOKEN, cut, job, page, raw, refusal, reply, reset, slow

from covid_bert.client import (
    Backoff,
    BusyError,
    Client,
    ClientError,
    ConflictError,
    ConnectionLostError,
    GoneError,
    InvalidAnswerError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    ServerError,
    TimedOutError,
    TokenMissingError,
    TokenRefusedError,
    TooLargeError,
    WrongServerError,
)
from covid_bert.client.answers import JSON_LIMIT_BYTES

KINDS = {
    **{
        400: InvalidRequestError,
        401: TokenRefusedError,
        403: NotAllowedError,
        404: NotFoundError,
        405: InvalidRequestError,
    },
    **{409: ConflictError, 410: GoneError, 413: TooLargeError, 415: InvalidRequestError, 422: InvalidRequestError},
    **{429: BusyError, 500: ServerError, 502: ConnectionLostError, 503: BusyError, 507: ServerError},
}


@pytest.fixture
def client(server) -> Client:
    return Client(server.url, TOKEN, read_timeout=1.0, backoff=Backoff(attempts=1))


def failure(client: Client) -> ClientError:
    with pytest.raises(ClientError) as caught:
        client.info()
    return caught.value


@pytest.mark.parametrize("status", KINDS.keys() - {401})
def test_refusal_keeps_the_servers_words(server, client, status) -> None:
    server.script["/info/"] = [refusal(status, "busy")]
    error = failure(client)
    assert type(error) is KINDS[status]
    assert (error.message, error.hint, error.code) == ("It is busy.", "Do this.", "busy")
    assert (error.status, error.request_id) == (status, "r1")
    assert str(error) == "It is busy. Do this."


def test_refused_token_says_whom_to_ask_rather_than_which_header_to_send(server, client) -> None:
    server.script["/info/"] = [refusal(401, "token-refused")]
    error = failure(client)
    assert (error.message, error.code) == ("It is token-refused.", "token-refused")
    assert "administrator" in error.hint


@pytest.mark.parametrize("status", KINDS)
@pytest.mark.parametrize("answer", [page, lambda status: reply(status, b"")])
def test_refusal_without_words_has_ours(server, client, status, answer) -> None:
    server.script["/info/"] = [answer(status)]
    error = failure(client)
    assert type(error) is (WrongServerError if status == 404 else KINDS[status])
    assert error.message.endswith(".")
    assert error.hint.endswith(".")
    assert "html" not in str(error)


def test_token_that_is_missing(server) -> None:
    server.script["/info/"] = [refusal(401, "unauthorized")]
    assert type(failure(Client(server.url))) is TokenMissingError


@pytest.mark.parametrize(
    "detail",
    [
        *(None, [], "text", {"message": 5, "hint": None, "code": ["a"]}, {"code": "no code <b>"}),
        [{"loc": ["body"], "msg": "Field required"}],
    ],
)
def test_detail_of_another_shape(server, client, detail) -> None:
    server.script["/info/"] = [reply(422, {"detail": detail})]
    error = failure(client)
    assert (type(error), error.code, error.status) == (InvalidRequestError, "bad-request", 422)
    assert error.message == "The server refused the request with status 422."


def test_words_of_the_server_are_made_fit_to_show(server, client) -> None:
    message = "one\r\ntwo\x1b[31m\u202e three" + "x" * 10_000
    server.script["/info/"] = [reply(422, {"detail": {"message": message}})]
    shown = failure(client).message
    assert shown.startswith("one two[31m three")
    assert shown.isprintable()
    assert len(shown) <= 500


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000])
def test_json_that_is_too_deep(server, client, deep) -> None:
    server.script["/info/"] = [reply(200, deep)]
    assert type(failure(client)) is InvalidAnswerError
    server.script["/info/"] = [reply(500, deep[:60_000])]
    assert type(failure(client)) is ServerError


@pytest.mark.parametrize("content", [b"", b"not json", b"[1]", b"5", b'{"a": NaN}', b"\xff\xfe\x00", b'{"a": 1'])
def test_answer_that_is_no_json_object(server, client, content) -> None:
    server.script["/info/"] = [reply(200, content)]
    assert type(failure(client)) is InvalidAnswerError


def test_answer_that_is_too_large(server, client) -> None:
    endless = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b'"' + b"a" * (JSON_LIMIT_BYTES + 10) + b'"'
    )
    server.script["/info/"] = [raw(endless)]
    error = failure(client)
    assert type(error) is InvalidAnswerError
    assert "larger" in error.message


@pytest.mark.parametrize("answer", [cut(b'{"models"', 100), reset, raw(b"")])
def test_connection_that_ends_too_early(server, client, answer) -> None:
    server.script["/info/"] = [answer]
    assert type(failure(client)) is ConnectionLostError


def test_web_page_in_place_of_an_answer(server, client) -> None:
    server.script["/info/"] = [page(200)]
    assert type(failure(client)) is WrongServerError


def test_slow_answer(server, client) -> None:
    server.script["/info/"] = [slow(1.6, reply(200, {}))]
    error = failure(client)
    assert type(error) is TimedOutError
    assert "within 1 seconds" in error.message


@pytest.mark.parametrize("status", [302, 401, 403, 422, 429, 500])
@pytest.mark.parametrize("cause", ["body", "status line", "header"])
def test_no_error_repeats_the_token(server, client, status, cause) -> None:
    sent = {"message": f"no {TOKEN[:5]}\x00{TOKEN[5:]}", "hint": f"Bearer {TOKEN}", "request_id": TOKEN, "code": TOKEN}
    answers = {
        "body": reply(status, {"detail": sent}),
        "status line": raw(f"HTTP/9.9 {TOKEN}\r\n{TOKEN}\r\n\r\n".encode()),
        "header": reply(status, b"", {"Location": f"https://{TOKEN}.example", "Retry-After": TOKEN}),
    }
    server.script["/info/"] = [answers[cause]]
    error = failure(client)
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)) + repr(client) + str(client)
    assert TOKEN not in shown
    assert server.requests[-1].headers["Authorization"] == f"Bearer {TOKEN}", "the token was sent"


def test_no_error_of_a_job_repeats_the_token(server, client) -> None:
    fault = {"code": TOKEN, "message": f"about {TOKEN}", "hint": TOKEN}
    texts = dict.fromkeys(("model", "stage", "created", "started", "ended"), f"\x1b]0;{TOKEN}")
    server.script[f"/jobs/{job()['id']}"] = [reply(200, job("failed", error=fault, **texts))]
    found = client.job(job()["id"])
    assert "\x1b" not in repr(found).replace("\\x1b", "\x1b")
    assert TOKEN not in repr(found)
    with pytest.raises(ClientError) as caught:
        client.wait(found)
    assert TOKEN not in repr(vars(caught.value)) + str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        *({"id": "../../info"}, {"id": 5}, {"state": "asleep"}, {"state": None}, {"model": 5}, {"stage": ["a"]}),
        *({"seconds_left": 10**400}, {"fraction": 10**400}),
        *({"fraction": "half"}, {"fraction": True}, {"seconds_left": "soon"}, {"error": "text"}, {"created": 5}),
    ],
)
def test_job_with_a_damaged_field(server, client, change) -> None:
    server.script["/jobs"] = [reply(200, {"jobs": [{**job(), **change}]})]
    with pytest.raises(InvalidAnswerError):
        client.jobs()


def test_job_with_odd_numbers_and_new_fields(server, client) -> None:
    odd = {"fraction": 1.7, "place": -3, "seconds_left": None, "priority": "high"}
    server.script["/jobs"] = [reply(200, json.dumps({"jobs": [{**job(), **odd}]}).encode())]
    (found,) = client.jobs()
    assert (found.fraction, found.place, found.seconds_left) == (1.0, None, None)


def test_headers_of_a_request(server, client) -> None:
    server.script["/info/"] = [reply(200, {})]
    client.info()
    headers = server.requests[-1].headers
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"] == "covid-bert-client", "the version of Python is nobody's business"
