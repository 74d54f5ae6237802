"""How the router is set up: one TOML file with checked fields."""

from __future__ import annotations

import ssl
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from covid_bert.errors import ParameterError
from covid_bert.logs import LogFormat
from covid_bert.pacs.settings import check_address
from covid_bert.router.connections import Peer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MEGABYTE = 2**20


def _title(value: str) -> str:
    if not 1 <= len(value) <= 16 or value != value.strip() or "\\" in value or not value.isascii():
        raise ValueError("an AE title has 1 to 16 ASCII characters, without backslash and without spaces around it")
    if not value.isprintable():
        raise ValueError("an AE title has no control characters")
    return value


def _network(value: str) -> str:
    return str(ip_network(value, strict=False))


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError("a path is a text that is not empty")
    return Path(value).expanduser()


def _no_switch(value: Any) -> Any:
    # Pydantic takes true for 1.
    if isinstance(value, bool):
        raise ValueError("it is not a switch, true or false")
    return value


Title = Annotated[str, AfterValidator(_title)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Port = Annotated[int, BeforeValidator(_no_switch), Field(ge=1, le=65535)]
Count = Annotated[int, BeforeValidator(_no_switch), Field(ge=1)]
Duration = Annotated[float, BeforeValidator(_no_switch), Field(gt=0, le=10_000_000, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PeerSection(_Section):
    """Who may send: an AE title, and an IP address or network like ``192.0.2.0/24``."""

    ae_title: Title
    address: Annotated[str, AfterValidator(_network)]


class TlsSection(_Section):
    """Encryption.

    Parameters
    ----------
    certificate, key
        Own ones, PEM files.
    authority
        What the other side's certificate is checked with, PEM file. A receiver without one asks for no certificate; a
        sender without one checks with those that are known publicly.
    """

    certificate: FilePath | None = None
    key: FilePath | None = None
    authority: FilePath | None = None

    @model_validator(mode="after")
    def _both(self) -> TlsSection:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate needs its key")
        return self

    def for_server(self) -> ssl.SSLContext:
        """Return the context of a receiver; it has a certificate.

        Raises
        ------
        ParameterError
            If a file cannot be used.
        """
        return self._loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), required=True)

    def for_client(self) -> ssl.SSLContext:
        """Return the context of a sender, which checks the other side's certificate and name; errors as above."""
        context = ssl.create_default_context() if self.authority is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return self._loaded(context, required=False)

    def _loaded(self, context: ssl.SSLContext, *, required: bool) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if required and self.certificate is None:
            raise ParameterError("A receiver with TLS needs a certificate and its key.", "Give both in [receiver.tls].")
        try:
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key, password=_no_passphrase)
            if self.authority is not None:
                context.load_verify_locations(self.authority)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:
            raise ParameterError(
                "A file for TLS cannot be used.", "Give PEM files: a certificate, its key without a passphrase."
            ) from error
        return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")


class ReceiverSection(_Section):
    """Receiving by C-STORE.

    Parameters
    ----------
    ae_title, host, port
        Own name, and where to listen.
    peers
        Who may send.
    associations
        Most at a time.
    object_megabytes
        Largest object, in 2^20 bytes.
    silence_seconds
        That a sender may make pauses for.
    tls
        Encrypts.
    """

    ae_title: Title = "COVIDBERT"
    host: str = "127.0.0.1"
    port: Port = 11112
    peers: Annotated[tuple[PeerSection, ...], Field(min_length=1)]
    associations: Annotated[Count, Field(le=100)] = 10
    object_megabytes: Count = 1024
    silence_seconds: Duration = 60.0
    tls: TlsSection | None = None

    @property
    def known_peers(self) -> tuple[Peer, ...]:
        """The peers, with their addresses parsed."""
        return tuple(Peer(peer.ae_title, ip_network(peer.address)) for peer in self.peers)


class WatchSection(_Section):
    """Watching a folder.

    Parameters
    ----------
    folder
        The folder.
    settle_seconds
        That a file has to stay as it is before it is taken.
    interval_seconds
        Between two looks.
    """

    folder: FilePath
    settle_seconds: Duration = 10.0
    interval_seconds: Duration = 5.0


class EntitySection(_Section):
    """Results go to an application entity by C-STORE."""

    kind: Literal["dicom"]
    host: str
    port: Port
    ae_title: Title
    calling_ae_title: Title = "COVIDBERT"
    tls: TlsSection | None = None


class WebSection(_Section):
    """Results go to an archive by DICOMweb; credentials as for ``covid-bert serve``: a file, or the environment."""

    kind: Literal["dicomweb"]
    url: Annotated[str, AfterValidator(check_address)]
    credentials: FilePath | None = None
    certificate: FilePath | None = None


class FolderSection(_Section):
    """Results go to a folder."""

    kind: Literal["folder"]
    folder: FilePath


class RouteConfiguration(_Section):
    """The router's set-up.

    Parameters
    ----------
    spool
        Own folder: studies, results and the queue.
    receiver, watch
        Where studies come from: one of them at least.
    destination
        Where results go.
    system, configuration, lungs, device
        As for ``covid-bert classify``.
    quiet_seconds
        After the last file of a study, until it is classified.
    patience_minutes
        That a study that lacks slices waits for them, until it is set aside.
    attempts
        How often a study is tried whose computation fails, and an object sent that is refused, until it is set aside.
    study_minutes
        How long a study may be computed.
    keep_hours, keep_aside_days
        How long the files of a study stay once it is done, or set aside.
    forget_days
        After which a study that was done is not known any more.
    reserve_megabytes
        Space, in 2^20 bytes, that stays free on the spool folder's disk: what would take of it is refused.
    retry_seconds, longest_retry_minutes
        After the first failure, and most, between two attempts to reach the destination.
    log_format
        How the log is written: auto (JSON except on a terminal), json or text.
    """

    spool: FilePath
    receiver: ReceiverSection | None = None
    watch: WatchSection | None = None
    destination: Annotated[EntitySection | WebSection | FolderSection, Field(discriminator="kind")]
    system: Literal["s1", "s2", "baseline"] = "s1"
    configuration: Literal["small", "corrected", "published"] | None = None
    lungs: Literal["auto", "unet", "morphological", "r231"] = "auto"
    device: str = "auto"
    quiet_seconds: Duration = 30.0
    patience_minutes: Duration = 60.0
    attempts: Annotated[Count, Field(le=100)] = 3
    study_minutes: Duration = 60.0
    keep_hours: Duration = 24.0
    keep_aside_days: Duration = 14.0
    forget_days: Duration = 30.0
    reserve_megabytes: Count = 2048
    retry_seconds: Duration = 5.0
    longest_retry_minutes: Duration = 10.0
    log_format: LogFormat = LogFormat.AUTO

    @model_validator(mode="after")
    def _fits(self) -> RouteConfiguration:
        if self.receiver is None and self.watch is None:
            raise ValueError("give [receiver], [watch] or both: studies have to come from somewhere")
        if self.receiver is not None and self.receiver.object_megabytes >= self.reserve_megabytes:
            raise ValueError("reserve_megabytes has to be more than receiver.object_megabytes")
        return self

    @property
    def reserve_bytes(self) -> int:
        """`reserve_megabytes` in bytes."""
        return self.reserve_megabytes * _MEGABYTE


def load(file: Path) -> RouteConfiguration:
    """Read and check the router's set-up.

    Parameters
    ----------
    file
        TOML file with the names of `RouteConfiguration`.

    Raises
    ------
    ParameterError
        Saying which setting is unknown, missing or wrong.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"The file {file.name} cannot be read: {error.strerror}.", "Choose another.") from error
    except ValueError as error:
        raise ParameterError(f"The file {file.name} is not TOML: {error}.", "Mend that line.") from error
    try:
        return RouteConfiguration.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "its content"
        raise ParameterError(
            f"In {file.name}, {name} is wrong: {first['msg'].removeprefix('Value error, ')}.",
            "Correct it there; docs/pacs.md says what it may be.",
        ) from error
