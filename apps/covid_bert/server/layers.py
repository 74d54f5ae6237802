"""The layers that a request passes on its way to the application."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from covid_bert.server.audit import AuditLog, default_audit_folder
from covid_bert.server.authentication import Authentication
from covid_bert.server.bodies import BodyLimit
from covid_bert.server.configuration import ServerConfiguration
from covid_bert.server.guard import AddressGuard
from covid_bert.server.headers import RequestFrame
from covid_bert.server.limits import RateLimit
from covid_bert.server.metrics import Metrics
from covid_bert.server.recording import ChangesRecorded, Recorder
from covid_bert.server.tokens import LiveTokens


def protected(app: ASGIApp, configuration: ServerConfiguration, tokens: LiveTokens, metrics: Metrics) -> ASGIApp:
    """Put the layers around an application: the last one here is the first that a request meets.

    Parameters
    ----------
    app
        The routes.
    configuration
        The server's set-up.
    tokens
        Who may call.
    metrics
        Where requests are counted.
    """
    recorder = Recorder(AuditLog(default_audit_folder()))
    layered: ASGIApp = Authentication(ChangesRecorded(app, recorder), tokens, own_machine=configuration.loopback)
    layered = BodyLimit(layered, configuration.body_megabytes)
    layered = RateLimit(layered, configuration.requests_per_minute)
    if configuration.allowed_origins:
        # A browser asks, without a token, whether it may send one.
        layered = CORSMiddleware(
            layered,
            allow_origins=configuration.allowed_origins,
            allow_methods=("GET", "HEAD", "POST", "PUT", "DELETE"),
            allow_headers=("Authorization", "Content-Type"),
            expose_headers=("Retry-After", "X-Request-ID"),
        )
    layered = AddressGuard(layered, hosts=configuration.hosts, origins=configuration.allowed_origins)
    return RequestFrame(layered, metrics, recorder)
