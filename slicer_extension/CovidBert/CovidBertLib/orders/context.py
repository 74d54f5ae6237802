"""What an order is carried out with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..client import Backoff, Client, ClientError
from .order import Order

Progress = Callable[..., None]
_QUICK = Backoff(attempts=1)


@dataclass(frozen=True)
class OrderKind:
    """One kind of order.

    Parameters
    ----------
    run
        Carries it out and returns the result.
    changes
        Whether it changes what others see on the server. Such an order, once cancelled, still tells what became of it.
    is_test
        Whether it is tried once only, since somebody waits to hear what is wrong.
    is_local
        Whether it needs no server.
    """

    run: Callable[[Order, Context], dict[str, Any]]
    changes: bool = False
    is_test: bool = False
    is_local: bool = False


class Context:
    """The client, the folder, and the ways to tell progress and to hear that the order is cancelled.

    Parameters
    ----------
    order
        Names server, unless it needs none, and folder.
    kind
        Of the order.
    cancelled
        Returns whether the order is no longer wanted.
    progress
        Takes stage, fraction, place and seconds left.

    Raises
    ------
    ClientError
        If address, token or CA file cannot be used.
    """

    def __init__(self, order: Order, kind: OrderKind, cancelled: Callable[[], bool], progress: Progress) -> None:
        self._order = order
        self.cancelled = cancelled
        self.progress = progress
        if not kind.is_local:
            self.client = self._client(None, _QUICK if kind.is_test else None)
        #: What the next order can go on with, also after a failure: a session, or a study that was added.
        self.kept: dict[str, Any] = {}
        self._own_files: list[Path] = []

    def _client(self, longest_seconds: float | None, backoff: Backoff | None) -> Client:
        server = self._order.object("server")
        seconds = (server.number("connect_timeout", 10.0), server.number("read_timeout", 60.0))
        if longest_seconds is not None:
            seconds = (min(seconds[0], longest_seconds), min(seconds[1], longest_seconds))
        return Client(
            server.text("url"),
            server.optional_text("token"),
            server.optional_text("ca_file"),
            *seconds,
            backoff=backoff,
            allow_insecure_network=server.flag("insecure_network", False),
        )

    def folder(self) -> Path:
        """Return the order's folder, which exists and is only for this order."""
        return self._order.path("folder")

    def own_file(self, name: str) -> Path:
        """Return the path of a file in the order's folder that is removed when the order ends."""
        path = self.folder() / name
        self._own_files.append(path)
        return path

    def remove_own_files(self) -> None:
        """Remove the files of `own_file`."""
        for path in self._own_files:
            try:
                path.unlink(missing_ok=True)
            except OSError:
                # Windows keeps files that are still read; the folder is removed later.
                continue

    def stage(self, name: str) -> Callable[[float], None]:
        """Return what takes the finished fraction of a stage."""
        self.progress(name, 0.0)
        return lambda fraction: self.progress(name, fraction)

    def tidy(self) -> None:
        """End the session that was kept, since nobody will use it any more. A server that is away ends it itself."""
        session_id = self.kept.get("session_id")
        if isinstance(session_id, str):
            try:
                self._client(3.0, _QUICK).close_session(session_id)
            except ClientError:
                return
