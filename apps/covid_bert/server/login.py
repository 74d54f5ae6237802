"""MONAI Label's routes of a login with name and password: 3D Slicer's module knows no other way to hold a token."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Form, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from covid_bert.server.access import Role
from covid_bert.server.authentication import caller_of, token_refused
from covid_bert.server.tokens import LiveTokens

_Text = Annotated[str, Form(max_length=1024)]


class LoginState(BaseModel):
    """Whether a login is needed; ``client_id`` and ``realm`` belong to a login server, which there is not."""

    enabled: bool
    client_id: str = ""
    realm: str = ""


class Login(BaseModel):
    """The token for the header ``Authorization``, and the word before it; None where no token is needed."""

    access_token: str | None
    token_type: str | None


class User(BaseModel):
    """Who holds a token, in MONAI Label's form."""

    username: str
    email: str | None = None
    name: str | None = None
    roles: list[str]


def install(app: FastAPI, tokens: LiveTokens) -> None:
    """Add the routes to an application.

    Parameters
    ----------
    app
        The application.
    tokens
        The server's tokens.
    """
    # Plain functions run on threads: the file of tokens is not waited for on the event loop.

    @app.get("/auth/", tags=["Auth"], summary="Ask whether a login is needed")
    def state() -> LoginState:
        return LoginState(enabled=tokens.required)

    @app.post(
        "/auth/token", tags=["Auth"], summary="Log in: any name, and a token as the password", response_model=Login
    )
    def log_in(
        request: Request,
        password: _Text,
        username: _Text = "",  # noqa: ARG001 - the token says who it is
        grant_type: Annotated[Literal["password"], Form()] = "password",  # noqa: ARG001
        scope: _Text = "",  # noqa: ARG001 - as OAuth 2 has it
        client_id: _Text = "",  # noqa: ARG001
        client_secret: _Text = "",  # noqa: ARG001
    ) -> Login | JSONResponse:
        if not tokens.required:
            return Login(access_token=None, token_type=None)
        if tokens.match(password) is None:
            return token_refused(request.scope)
        return Login(access_token=password, token_type="bearer")

    @app.get("/auth/token/valid", tags=["Auth"], summary="Ask whose token it is")
    def holder(request: Request) -> User:
        caller = caller_of(request)
        return User(username=caller.name, roles=[role.value for role in Role if caller.role.covers(role)])
