"""`covid-bert serve`: the configuration from all its sources, then the server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covid_bert.server.configuration import load
from covid_bert.server.launch import serve as run


def serve(
    settings: Mapping[str, Any], *, configuration: Path | None, show_configuration: bool, allow_insecure_network: bool
) -> None:
    """Run the server, or print its configuration.

    Parameters
    ----------
    settings
        Flags by the names of `covid_bert.server.configuration.ServerConfiguration`; None where one was not given.
    configuration
        TOML file.
    show_configuration
        Whether to print the configuration, as TOML without secrets, instead of running.
    allow_insecure_network
        Whether other machines may reach the server without tokens or TLS.

    Raises
    ------
    ParameterError
        If a setting is unknown, missing, wrong or not safe.
    ServerError
        If the server cannot be started.
    """
    effective = load(settings, file=configuration)
    if show_configuration:
        print(effective.to_toml())
    else:
        run(effective, insecure_network=allow_insecure_network)
