"""How the server is set up: one TOML file, then the environment, then flags; the later one wins."""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from covid_bert.errors import ParameterError
from covid_bert.logs import LogFormat
from covid_bert.pacs.settings import PacsSettings, is_address, kept_folder
from covid_bert.server.configuration_values import (
    ArchiveAddress,
    FilePath,
    Folder,
    HostName,
    Hosts,
    Origins,
    Proxies,
    RootPath,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
PREFIX = "COVID_BERT_SERVE_"
_ENVIRONMENT, _COMMAND_LINE = "the environment", "the command line"
_SECRET = frozenset({"tls_key"})
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})


class ServerConfiguration(BaseModel):
    """The server's set-up.

    Parameters
    ----------
    studies
        Folder with the studies; of an archive, the one for its labels and fetched images.
    pacs
        Address of the archive's DICOMweb service, or None.
    pacs_credentials, pacs_certificate, pacs_cache_megabytes, pacs_cache_hours, pacs_refresh_seconds
        See `covid_bert.pacs.settings.PacsSettings`.
    host, port
        Address to listen on.
    tokens_file
        File with the tokens; None for the one in the program's data folder.
    tls_certificate, tls_key
        PEM files, both or none. The certificate comes first in its file, then those that signed it.
    allowed_hosts
        Names by which clients call the server, beside ``host`` and, on this machine, its loopback names.
    allowed_origins
        Web pages that may call the server, as ``https://name``.
    trusted_proxies
        Addresses of proxies whose word on a request's sender and scheme is taken.
    root_path
        Path under which a reverse proxy offers the server, which the proxy takes off.
    body_megabytes
        Largest request, in 2^20 bytes.
    voxels_millions
        Largest study, in millions of voxels, by what its header says.
    requests_per_minute
        Most requests from one address.
    queue_length
        Most jobs that wait or run; one user may have half of them, and at least one.
    job_minutes, result_hours
        How long a job may be computed, and its result is kept.
    reservation_hours
        For how long a study that was handed out to a reader is not handed out to another.
    sessions
        Most uploaded studies that are kept at a time.
    session_megabytes
        Most of all uploaded studies together, in 2^20 bytes.
    session_minutes
        How long an uploaded study is kept after its last use.
    log_format
        How the log is written: auto (JSON except on a terminal), json or text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    studies: Folder
    pacs: ArchiveAddress | None = None
    pacs_credentials: FilePath | None = None
    pacs_certificate: FilePath | None = None
    pacs_cache_megabytes: int = Field(default=20_480, ge=1, le=10_485_760)
    pacs_cache_hours: float = Field(default=168.0, gt=0, le=87_600, allow_inf_nan=False)
    pacs_refresh_seconds: float = Field(default=5.0, ge=1, le=3600, allow_inf_nan=False)
    host: HostName = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    tokens_file: FilePath | None = None
    tls_certificate: FilePath | None = None
    tls_key: FilePath | None = None
    allowed_hosts: Hosts = ()
    allowed_origins: Origins = ()
    trusted_proxies: Proxies = ()
    root_path: RootPath = ""
    body_megabytes: int = Field(default=2048, ge=1, le=65536)
    # 1500 slices of 512 x 512: the thinnest chest CT in use.
    voxels_millions: int = Field(default=400, ge=1, le=2147)
    requests_per_minute: int = Field(default=1200, ge=1, le=1_000_000)
    queue_length: int = Field(default=32, ge=1, le=10_000)
    job_minutes: int = Field(default=60, ge=1, le=10_080)
    result_hours: float = Field(default=24.0, gt=0, le=8760, allow_inf_nan=False)
    reservation_hours: float = Field(default=12.0, gt=0, le=8760, allow_inf_nan=False)
    sessions: int = Field(default=32, ge=1, le=10_000)
    session_megabytes: int = Field(default=16384, ge=1, le=1_048_576)
    # MONAI Label takes less than two minutes for an hour.
    session_minutes: int = Field(default=60, ge=2, le=10_080)
    log_format: LogFormat = LogFormat.AUTO

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: Any) -> Any:
        # Pydantic takes true for 1.
        if isinstance(value, bool):
            raise ValueError("it is not a switch, true or false")
        return value

    @property
    def archive(self) -> PacsSettings | None:
        """The archive that has the studies; None where they are the folder's own."""
        if self.pacs is None:
            return None
        return PacsSettings(
            url=self.pacs,
            credentials=self.pacs_credentials,
            certificate=self.pacs_certificate,
            cache_megabytes=self.pacs_cache_megabytes,
            cache_hours=self.pacs_cache_hours,
            refresh_seconds=self.pacs_refresh_seconds,
        )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK_NAMES

    @property
    def tls(self) -> bool:
        """Whether the server itself encrypts."""
        return self.tls_certificate is not None

    @property
    def hosts(self) -> frozenset[str]:
        """All names of the server in requests."""
        own = LOOPBACK_NAMES if self.loopback else {self.host} - _EVERY_ADDRESS
        return frozenset({*own, *self.allowed_hosts})

    def public(self) -> dict[str, Any]:
        """The configuration as JSON, with secrets left out."""
        values = self.model_dump(mode="json")
        return {name: "(not shown)" if name in _SECRET and value else value for name, value in values.items()}

    def to_toml(self) -> str:
        """The configuration as a TOML file, with secrets left out."""
        return "\n".join(
            f"# {name} is not set" if value is None else f"{name} = {json.dumps(value)}"
            for name, value in self.public().items()
        )


def load(
    flags: Mapping[str, Any], *, file: Path | None = None, environment: Mapping[str, str] = os.environ
) -> ServerConfiguration:
    """Put the configuration together and check it.

    Parameters
    ----------
    flags
        Of the command line; those that are None were not given.
    file
        TOML file with names of `ServerConfiguration`.
    environment
        Variables ``COVID_BERT_SERVE_<NAME>``; lists with commas.

    Raises
    ------
    ParameterError
        Saying which setting of which source is unknown, missing or wrong.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    variables = {
        name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)
    }
    given = {name: value for name, value in flags.items() if value is not None}
    sources = [(_ENVIRONMENT, variables), (_COMMAND_LINE, given)]
    if file is not None:
        sources.insert(0, (file.name, _read(file)))
    for source, settings in sources:
        values.update(settings)
        origin.update(dict.fromkeys(settings, source))
    unknown = next((name for name in values if name not in ServerConfiguration.model_fields), None)
    if unknown is not None:
        raise _not_known(unknown, origin[unknown])
    if "studies" not in values and "pacs" not in values:
        raise ParameterError("No folder with studies was given.", "Give it with --studies.")
    if is_address(values.get("studies")):
        values["pacs"], origin["pacs"] = values.pop("studies"), origin["studies"]
    if "studies" not in values:
        values["studies"], origin["studies"] = kept_folder(str(values["pacs"])), origin["pacs"]
    try:
        configuration = ServerConfiguration.model_validate(values)
    except ValidationError as error:
        raise _explained(error, origin) from error
    if (configuration.tls_certificate is None) != (configuration.tls_key is None):
        raise ParameterError("TLS needs a certificate and its key.", "Give both, or none.")
    if not configuration.hosts:
        raise ParameterError(
            f"The address {configuration.host} does not say how clients call the server.",
            "Name it with --allowed-host, as often as it has names.",
        )
    return configuration


def check_network(configuration: ServerConfiguration, *, tokens: bool, insecure_network: bool) -> None:
    """Refuse to be reached from other machines without login and encryption.

    Parameters
    ----------
    configuration
        The server's set-up.
    tokens
        Whether there is any token.
    insecure_network
        Whether the operator has said in words that he wants it so.

    Raises
    ------
    ParameterError
        Saying what is missing.
    """
    behind_proxy = bool(configuration.root_path or {*configuration.allowed_hosts} - LOOPBACK_NAMES)
    if insecure_network or (configuration.loopback and not behind_proxy):
        return
    if not tokens:
        raise ParameterError(
            "Other machines could reach the server, and there is no token.",
            "Add one with `covid-bert token add`, or listen on 127.0.0.1 without root_path and allowed_hosts.",
        )
    if not configuration.loopback and not configuration.tls:
        raise ParameterError(
            f"Other machines would send tokens and studies to {configuration.host} unencrypted.",
            "Give --tls-certificate and --tls-key, or listen on 127.0.0.1 behind a proxy that encrypts.",
        )


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"The file {file.name} cannot be read: {error.strerror}.", "Choose another.") from error
    except ValueError as error:
        raise ParameterError(f"The file {file.name} is not TOML: {error}.", "Mend that line.") from error


def _not_known(name: str, source: str) -> ParameterError:
    known = list(ServerConfiguration.model_fields)
    near = difflib.get_close_matches(name, known, n=1)
    meant = [f"{PREFIX}{one.upper()}" if source == _ENVIRONMENT else one for one in near]
    hint = f"Did you mean {meant[0]}?" if meant else f"Known are {', '.join(known)}."
    return ParameterError(f"The setting {name}, from {source}, is not known.", hint)


def _explained(error: ValidationError, origin: Mapping[str, str]) -> ParameterError:
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0])
    source = origin[name]
    places = {_ENVIRONMENT: f"the variable {PREFIX}{name.upper()}", _COMMAND_LINE: "that option"}
    return ParameterError(
        f"The setting {name}, from {source}, is wrong: {first['msg'].removeprefix('Value error, ')}.",
        f"Correct {places.get(source, f'{name} in that file')}; docs/server.md says what it may be.",
    )
