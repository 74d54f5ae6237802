"""One request and its answer, each over a connection of its own; everything that can fail becomes a typed error."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead, RemoteDisconnected
from pathlib import Path
from typing import Protocol

from . import errors
from .address import Address
from .answers import check_status

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{8,512}")
USER_AGENT = "covid-bert-client"
_CA_FILE_HINT = "Give the file with the certificate of its issuer (CA file), which its administrator has."
_OF_TIME = "Look at this machine's clock; if it is right, the administrator must renew the certificate."
_OF_NAME = "Use the name that the server's certificate is for; its administrator knows it."
# By OpenSSL's numbers: not yet valid, expired, another name, another address.
_CERTIFICATE_HINTS = {9: _OF_TIME, 10: _OF_TIME, 62: _OF_NAME, 64: _OF_NAME}


class Body(Protocol):
    """What a request carries; its pieces are asked for anew in each attempt."""

    @property
    def content_type(self) -> str:
        """The value of the header Content-Type."""

    @property
    def length(self) -> int:
        """Size in bytes."""

    def pieces(self) -> Iterator[bytes]:
        """The content, in order."""


class Connector:
    """Opens connections to one server. Proxies of the environment are not used and redirects not followed.

    Parameters
    ----------
    address
        The server.
    token
        Sent with each request that asks for it, or None.
    ca_file
        Certificates (PEM) to trust in place of the system's, or None; used for https only.
    connect_timeout
        Seconds for connection and TLS handshake.
    read_timeout
        Seconds that the server may be silent, or take nothing, once it is connected.

    Raises
    ------
    TokenRefusedError
        If the token has characters that no token has.
    CertificateError
        If the CA file cannot be used.
    """

    def __init__(
        self, address: Address, token: str | None, ca_file: Path | None, connect_timeout: float, read_timeout: float
    ) -> None:
        if token is not None and not _TOKEN.fullmatch(token):
            raise errors.TokenRefusedError(
                "The token has characters or a length that no token has.", "Copy it again, without blanks and quotes."
            )
        self.address = address
        self._token = token
        self._tls = _tls(ca_file) if address.scheme == "https" else None
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout

    @contextmanager
    def exchange(
        self, method: str, path: str, body: Body | None = None, *, with_token: bool = True
    ) -> Iterator[HTTPResponse]:
        """Send a request and yield its answer, whose body is still to be read.

        Parameters
        ----------
        method
            GET, POST, PUT or DELETE.
        path
            Route below the server's folder, quoted, beginning with a slash.
        body
            What the request carries, or None.
        with_token
            Whether the token goes along.

        Yields
        ------
        HTTPResponse
            A success; all else is raised.

        Raises
        ------
        ClientError
            Also for what fails while the answer is read inside the block.
        """
        connection = self._connect()
        try:
            with self._typed_errors():
                response = self._send(connection, method, path, body, self._token if with_token else None)
                yield response
        finally:
            connection.close()

    def _connect(self) -> HTTPConnection:
        host, port = self.address.host, self.address.port
        if self._tls is None:
            connection = HTTPConnection(host, port, timeout=self._connect_timeout)
        else:
            connection = HTTPSConnection(host, port, timeout=self._connect_timeout, context=self._tls)
        try:
            connection.connect()
            connection.sock.settimeout(self._read_timeout)
        except BaseException as error:
            connection.close()
            if isinstance(error, (OSError, UnicodeError)):
                raise self._connect_error(error) from None
            raise
        return connection

    def _connect_error(self, error: OSError | UnicodeError) -> errors.ClientError:
        where = self.address
        if isinstance(error, ssl.SSLCertVerificationError):
            return errors.CertificateError(
                f"The certificate of {where} is not trusted: {error.verify_message.rstrip('.')}.",
                _CERTIFICATE_HINTS.get(error.verify_code, _CA_FILE_HINT),
            )
        if isinstance(error, ssl.SSLError):
            return errors.WrongServerError(
                f"What answers at {where} does not speak TLS as it should.", "Check the port, and http or https."
            )
        if isinstance(error, (socket.gaierror, UnicodeError)):
            return errors.AddressError(f"There is no host of the name {where.host}.", "Check the server's address.")
        if isinstance(error, socket.timeout):
            return errors.TimedOutError(
                f"{where} took no connection within {self._connect_timeout:g} seconds.",
                "Check address and network; a firewall may be on the way.",
            )
        return errors.UnreachableError(
            f"Nothing can be reached at {where}.", "Check host and port, and whether the server runs."
        )

    def _send(
        self, connection: HTTPConnection, method: str, path: str, body: Body | None, token: str | None
    ) -> HTTPResponse:
        connection.putrequest(method, f"{self.address.folder}{path}", skip_accept_encoding=True)
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Connection": "close"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers.update({"Content-Type": body.content_type, "Content-Length": str(body.length)})
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        is_whole = self._send_body(connection, body)
        response = connection.getresponse()
        check_status(response, self.address, token)
        if not is_whole:
            raise ConnectionResetError
        return response

    def _send_body(self, connection: HTTPConnection, body: Body | None) -> bool:
        """Send the body, and say whether the server took all of it: one that refuses an upload answers before."""
        for piece in body.pieces() if body is not None else ():
            try:
                connection.send(piece)
            except (ConnectionError, ssl.SSLEOFError):
                return False
        return True

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        """Turn what fails on the way into typed errors, without the cause: it may repeat what the server sent."""
        try:
            yield
        except socket.timeout:  # not TimeoutError before Python 3.10
            raise errors.TimedOutError(
                f"{self.address} did not answer within {self._read_timeout:g} seconds.", "Try again later."
            ) from None
        except (OSError, RemoteDisconnected, IncompleteRead):
            raise errors.ConnectionLostError(
                f"The connection to {self.address} ended before the answer was complete.",
                "Check network and server, and http or https. The request may have arrived, or an upload be too large.",
            ) from None
        except HTTPException:
            raise errors.WrongServerError(
                f"What answers at {self.address} does not speak HTTP as it should.", "Check host and port."
            ) from None


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        name = "of the system" if ca_file is None else ca_file.name
        if isinstance(error, ssl.SSLError):
            raise errors.CertificateError(
                f"The CA file {name} holds no certificates.", "Give a file in PEM format, which begins with -----BEGIN."
            ) from None
        raise errors.CertificateError(
            f"The CA file {name} cannot be read: {error.strerror}.", "Check its path and its permissions."
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
