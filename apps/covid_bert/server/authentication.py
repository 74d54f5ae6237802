"""Who calls, and whether he may: the bearer token of a request, and the table of access."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from covid_bert.errors import TokensUnusableError
from covid_bert.server.access import Role, find
from covid_bert.server.replies import error_reply, route_path
from covid_bert.server.tokens import LiveTokens

_HOW = "Send the header `Authorization: Bearer TOKEN`; the operator makes tokens with `covid-bert token add`."


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Parameters
    ----------
    name, role
        Of the token.
    alone
        Whether there are no other users, since there are no tokens.
    """

    name: str
    role: Role
    alone: bool = False

    @property
    def administrator(self) -> bool:
        """Whether jobs and sessions of others may be seen and ended."""
        return self.role is Role.ADMIN


def caller_of(request: Request) -> Caller:
    """Return who sent a request that has been let in."""
    caller: Caller = request.state.caller
    return caller


_OF_PROXIES = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
# Where no token exists, only this machine's users can reach the server, or its operator has said so in words.
LOCAL = Caller("local", Role.ADMIN, alone=True)


class Authentication:
    """ASGI middleware that lets a request through if the table of access has its route and the caller's role covers it.

    Parameters
    ----------
    app
        The application behind; finds the `Caller` as ``request.state.caller``.
    tokens
        The server's tokens.
    own_machine
        Whether the server listens to its own machine only: what a proxy hands on then comes from elsewhere, and needs
        a token.
    """

    def __init__(self, app: ASGIApp, tokens: LiveTokens, *, own_machine: bool = True) -> None:
        self.app = app
        self.tokens = tokens
        self.own_machine = own_machine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401, 403 or 404; 503 if the tokens cannot be read."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is not None:
            await refusal(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        """Note the caller of a request that is let through; make the answer to one that is not."""
        entry = find(scope["method"], route_path(scope))
        if entry is not None and entry.role is None:
            return None
        try:
            caller = self._caller(scope)
        except TokensUnusableError as error:
            return error_reply(scope, error.http_status, error.code, error.message, error.hint)
        if isinstance(caller, JSONResponse):
            return caller
        scope.setdefault("state", {})["caller"] = caller
        if entry is None or entry.role is None:
            return error_reply(
                scope, 404, "not-found", "There is no such route.", "GET /openapi.json lists what there is."
            )
        if not caller.role.covers(entry.role):
            message = f"This needs the role {entry.role.value}; the token has {caller.role.value}."
            return error_reply(scope, 403, "not-allowed", message, "Ask the operator for a token with that role.")
        return None

    def _caller(self, scope: Scope) -> Caller | JSONResponse:
        headers = Headers(scope=scope)
        if not self.tokens.required and not (self.own_machine and any(name in headers for name in _OF_PROXIES)):
            return LOCAL
        sent = headers.getlist("authorization")
        if not sent:
            return _unauthorized(scope, "token-missing", "This server needs a token.", "Bearer")
        scheme, _, secret = sent[0].partition(" ")
        token = self.tokens.match(secret.strip()) if len(sent) == 1 and scheme.lower() == "bearer" else None
        if token is None:
            return token_refused(scope)
        return Caller(token.name, token.role)


def token_refused(scope: Scope) -> JSONResponse:
    """Make the answer to a token that is not known."""
    challenge = 'Bearer error="invalid_token"'
    return _unauthorized(scope, "token-refused", "The token is not known, or was revoked.", challenge)


def _unauthorized(scope: Scope, code: str, message: str, challenge: str) -> JSONResponse:
    return error_reply(scope, 401, code, message, _HOW, headers={"WWW-Authenticate": challenge})
