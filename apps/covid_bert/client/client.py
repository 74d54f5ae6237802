"""The client: one method for each thing that a server can be asked."""

from __future__ import annotations

from pathlib import Path

from .address import check_secure, parse_address
from .backoff import Backoff
from .connection import Connector
from .job_requests import JobRequests
from .label_requests import LabelRequests
from .link import Link
from .server_requests import ServerRequests
from .session_requests import SessionRequests
from .study_requests import StudyRequests
from .training_requests import TrainingRequests
from .weights_requests import WeightsRequests


class Client(
    ServerRequests,
    SessionRequests,
    JobRequests,
    StudyRequests,
    LabelRequests,
    TrainingRequests,
    WeightsRequests,
):
    """Speaks with one covid-bert server. It holds no connection open and may be used from several threads.

    Before the first request the server is asked, without the token, whether it is a covid-bert server of a fitting
    version. Every method raises a `ClientError`; only the special ones are named below.

    Parameters
    ----------
    url
        ``https://host:port/folder``, or ``http://`` for this machine.
    token
        As the server's administrator gave it, or None.
    ca_file
        Certificates (PEM) to trust in place of the system's; for https only.
    connect_timeout
        Seconds for connection and TLS handshake.
    read_timeout
        Seconds that the server may be silent.
    backoff
        How requests are tried again.
    allow_insecure_network
        Allow http to another machine, where everybody on the way can read studies and token.

    Raises
    ------
    AddressError, TokenRefusedError, CertificateError
        If a parameter cannot be used.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        ca_file: str | Path | None = None,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        *,
        backoff: Backoff | None = None,
        allow_insecure_network: bool = False,
    ) -> None:
        address = parse_address(url)
        if not allow_insecure_network:
            check_secure(address)
        certificates = None if ca_file is None else Path(ca_file)
        connector = Connector(address, token, certificates, connect_timeout, read_timeout)
        super().__init__(Link(connector, backoff or Backoff()), token)

    def __repr__(self) -> str:
        return f"Client('{self._link.address}')"
