"""What the user has set, in Slicer's own settings file. No token is ever among it (see `secrets`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import slicer

_PREFIX = "CovidBert/"


@dataclass(frozen=True)
class Server:
    """A server in the list.

    Parameters
    ----------
    name
        What the user calls it; unique in the list.
    url
        Its address.
    ca_file
        Path of the certificates that vouch for it, "" for those of the system.
    insecure
        Whether volumes and token may travel without TLS to another machine.
    """

    name: str
    url: str
    ca_file: str = ""
    insecure: bool = False


LOCAL = Server("This computer", "http://127.0.0.1:8000")


class Settings:
    """Servers, the one used last, and the hosts that may be sent volumes."""

    def servers(self) -> list[Server]:
        """Return the list; this computer alone before anything was set."""
        servers = [server for server in map(_server, self._list("servers")) if server is not None]
        return servers or [LOCAL]

    def save_servers(self, servers: list[Server]) -> None:
        """Keep the list."""
        self._save("servers", [asdict(server) for server in servers])

    def last_server(self) -> str:
        """Return the name of the server used last, or ""."""
        return str(self._value("lastServer") or "")

    def save_last_server(self, name: str) -> None:
        """Keep the name of the server used last."""
        slicer.app.userSettings().setValue(_PREFIX + "lastServer", name)

    def consents(self) -> list[str]:
        """Return the hosts that the user lets volumes be sent to."""
        return [host for host in self._list("consents") if isinstance(host, str)]

    def save_consents(self, hosts: list[str]) -> None:
        """Keep the hosts."""
        self._save("consents", hosts)

    def model(self, server_url: str) -> str:
        """Return the model used last with a server, or ""."""
        models = self._json("models", {})
        model = models.get(server_url) if isinstance(models, dict) else None
        return model if isinstance(model, str) else ""

    def save_model(self, server_url: str, model: str) -> None:
        """Keep the model used last with a server."""
        models = self._json("models", {})
        self._save("models", {**(models if isinstance(models, dict) else {}), server_url: model})

    def _value(self, key: str) -> Any:
        return slicer.app.userSettings().value(_PREFIX + key)

    def _json(self, key: str, default: Any) -> Any:
        # As text, since Qt's own lists come back from the file as something else when they hold one entry or none.
        try:
            return json.loads(str(self._value(key) or ""))
        except (ValueError, RecursionError):
            return default

    def _list(self, key: str) -> list[Any]:
        content = self._json(key, [])
        return content if isinstance(content, list) else []

    def _save(self, key: str, content: Any) -> None:
        slicer.app.userSettings().setValue(_PREFIX + key, json.dumps(content))


def _server(entry: Any) -> Server | None:
    """Return an entry of the file as a server, or None for what another program wrote there."""
    if not isinstance(entry, dict):
        return None
    name, url, ca_file = (entry.get(key, "") for key in ("name", "url", "ca_file"))
    if not all(isinstance(value, str) for value in (name, url, ca_file)) or not name or not url:
        return None
    return Server(name, url, ca_file, entry.get("insecure") is True)
