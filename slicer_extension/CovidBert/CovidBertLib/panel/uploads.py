"""The uploaded studies that the server still keeps: used again for the same volume, and closed when nobody needs them.

Closing is best effort: what is not closed goes with its session's time on the server. A study of the server's own
worklist is no session, and nothing here touches it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import qt

from ..problems import CovidBertError

if TYPE_CHECKING:
    from .context import Panel

_SECONDS = {"connect_timeout": 3, "read_timeout": 10}


@dataclass(frozen=True)
class Upload:
    """An uploaded study.

    Parameters
    ----------
    server
        ``order["server"]`` of the connection by which it was sent: only its owner may close it.
    session_id, sha256
        As the worker says them.
    """

    server: dict[str, Any]
    session_id: str
    sha256: str | None


class Uploads:
    """What is uploaded for which volume. While a job uses an upload, it is the job's (`take`), and is not closed.

    Parameters
    ----------
    panel
        What the sections share.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._uploads: dict[str, Upload] = {}
        self._unwanted: list[Upload] = []
        self._is_waiting = self._is_closed = False

    def take(self, volume_id: str) -> Upload | None:
        """Give out the upload of a volume for a job, which returns it by `end`."""
        return self._uploads.pop(volume_id, None)

    def end(
        self,
        volume_id: str,
        before: Upload | None,
        kept: dict[str, Any],
        server: dict[str, Any] | None,
        is_wanted: bool,
    ) -> None:
        """Note what the server keeps after a job.

        Parameters
        ----------
        volume_id
            Of the volume's node.
        before
            What `take` gave.
        kept
            What the worker said it kept: ``session_id`` and ``sha256``, {} for nothing.
        server
            The connection of the job.
        is_wanted
            Whether volume and server are still there, so that it can be used again.
        """
        session_id = kept.get("session_id")
        now = None
        if server is not None and session_id:
            now = Upload(server, str(session_id), kept.get("sha256"))
        if before is not None and (now is None or now.session_id != before.session_id):
            # Of a volume that was edited since.
            self._close([before])
        if now is not None and is_wanted:
            self._uploads[volume_id] = now
        elif now is not None:
            self._close([now])

    def forget(self, volume_id: str) -> None:
        """The volume is gone."""
        upload = self._uploads.pop(volume_id, None)
        if upload is not None:
            self._close([upload])

    def clear(self) -> None:
        """The scene or the server is another."""
        uploads = list(self._uploads.values())
        self._uploads.clear()
        self._close(uploads)

    def cleanup(self) -> None:
        """Slicer ends, or the module is reloaded: processes that nobody waits for close what is left."""
        self._is_closed = True
        left = [*self._unwanted, *self._uploads.values()]
        self._unwanted, self._uploads = [], {}
        for order in _orders(left):
            self._panel.tasks.send_off(order)

    def _close(self, uploads: list[Upload]) -> None:
        self._unwanted += uploads
        if self._unwanted and not self._is_waiting:
            # Together, and after whatever is going on: closing a scene takes the orders on their way with it.
            self._is_waiting = True
            qt.QTimer.singleShot(0, self._send)

    def _send(self) -> None:
        self._is_waiting = False
        if self._is_closed:
            return
        unwanted, self._unwanted = self._unwanted, []
        for order in _orders(unwanted):
            mine = [upload for upload in unwanted if upload.session_id in order["session_ids"]]
            try:
                self._panel.start(
                    order,
                    done=lambda _result: None,
                    failed=lambda failure: logging.info("COVID-BERT: uploads not closed (%s)", failure.code),
                    cancelled=lambda mine=mine: self._close(mine),
                    quiet=True,
                )
            except CovidBertError as problem:
                logging.info("COVID-BERT: uploads not closed (%s)", problem.code)


def _orders(uploads: list[Upload]) -> list[dict[str, Any]]:
    """Return one order for each server."""
    orders: dict[tuple[str, str], dict[str, Any]] = {}
    for upload in uploads:
        key = (upload.server["url"], str(upload.server.get("token")))
        order = orders.setdefault(
            key, {"kind": "close_sessions", "server": {**upload.server, **_SECONDS}, "session_ids": []}
        )
        order["session_ids"].append(upload.session_id)
    return list(orders.values())
