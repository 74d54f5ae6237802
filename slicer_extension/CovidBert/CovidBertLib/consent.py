"""Whether volumes may be sent to a host: asked once for each, kept until it is taken back."""

from __future__ import annotations

from urllib.parse import urlsplit

from .settings import Settings


def host_of(url: str) -> str:
    """Return host and port of a server's address, as the user is asked about it."""
    parts = urlsplit(url.strip())
    try:
        port = parts.port
    except ValueError:
        port = None
    host = parts.hostname or url.strip()
    return f"{host}:{port or (443 if parts.scheme == 'https' else 80)}"


class Consent:
    """The hosts that the user agreed to.

    Parameters
    ----------
    settings
        Where they are kept.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def given(self, url: str) -> bool:
        """Return whether volumes may be sent to the server of an address."""
        return host_of(url) in self._settings.consents()

    def give(self, url: str) -> None:
        """Note that volumes may be sent there."""
        if not self.given(url):
            self._settings.save_consents([*self._settings.consents(), host_of(url)])

    def withdraw(self, url: str) -> None:
        """Note that the user has to be asked again."""
        self._settings.save_consents([host for host in self._settings.consents() if host != host_of(url)])
