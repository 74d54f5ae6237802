"""The address of a server: which URLs are taken."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from .errors import AddressError

_EXAMPLE = "Give one such as https://server.example:8000 or http://127.0.0.1:8000."
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|[0-9A-Fa-f:.]{2,45}")
_FOLDER = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """Where a server is.

    Parameters
    ----------
    scheme
        ``"http"`` or ``"https"``.
    host
        Name or number of the host, an IPv6 address without brackets.
    port
        1 to 65535.
    folder
        What stands before every route, ``""`` or such as ``"/covid"``.
    """

    scheme: str
    host: str
    port: int
    folder: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.folder}"


def parse_address(url: str) -> Address:
    """Read the URL of a server.

    Parameters
    ----------
    url
        ``http`` or ``https``, with an optional port and folder; no user, password, query or fragment.

    Returns
    -------
    Address
        The address, without a slash at its end.

    Raises
    ------
    AddressError
        If it is anything else. The message does not repeat the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise AddressError("The address of the server is not a URL.", _EXAMPLE) from None
    if parts.scheme not in _PORTS:
        raise AddressError("The address of the server does not begin with http:// or https://.", _EXAMPLE)
    if "@" in parts.netloc:
        raise AddressError("The address of the server holds a user or a password.", "Give a token instead.")
    if parts.query or parts.fragment:
        raise AddressError("The address of the server has a part after ? or #.", _EXAMPLE)
    folder = parts.path.rstrip("/")
    if not _HOST.fullmatch(host) or not _FOLDER.fullmatch(folder) or port == 0:
        raise AddressError("The address of the server has a host, port or path that cannot be.", _EXAMPLE)
    return Address(parts.scheme, host, port or _PORTS[parts.scheme], folder)


def check_secure(address: Address) -> None:
    """Refuse an address where patient data and token would go over the network in clear text.

    Raises
    ------
    AddressError
        For http to another machine.
    """
    if address.scheme != "https" and not _is_loopback(address.host):
        raise AddressError(
            f"{address} is without TLS: everybody on the way could read studies and token.",
            "Use https://, or an SSH tunnel to this machine.",
        )


def _is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or number, without asking a name server."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
