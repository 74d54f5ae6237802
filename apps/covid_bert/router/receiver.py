"""Receiving studies by C-STORE.

Success is answered once an object is on the disk and in the queue, never before.
"""

from __future__ import annotations

import logging
import ssl
import threading
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom import _config as pynetdicom_settings
from pynetdicom.pdu_primitives import A_ABORT
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from covid_bert.errors import CovidBertError, InputError, ServerError
from covid_bert.router.connections import GuardedServer, Peer, end_connection
from covid_bert.router.spool import CT_CLASSES, Spool, identify

logger = logging.getLogger(__name__)

SUCCESS, NOT_AUTHORIZED, OUT_OF_RESOURCES, MISMATCH, NOT_UNDERSTOOD = 0x0000, 0x0124, 0xA700, 0xA900, 0xC000
ORIGIN = "receiver"
_UNIT_BYTES = 2**17
_UNKNOWN_CALLER = (0x01, 0x01, 0x03)


class Receiver:
    """A storage service for CT images.

    Parameters
    ----------
    spool
        Where objects go.
    ae_title
        Own name; associations for others are refused.
    host, port
        Where to listen.
    peers
        Who may send, by name and address.
    associations
        Most at a time.
    object_bytes
        Largest object.
    seconds
        That a peer may be silent.
    tls
        Encrypts; None for plain connections.

    Raises
    ------
    ServerError
        If the port cannot be used.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        ae_title: str,
        host: str,
        port: int,
        peers: tuple[Peer, ...],
        associations: int,
        object_bytes: int,
        seconds: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._spool, self._peers, self._object_bytes = spool, peers, object_bytes
        self._lock = threading.Lock()
        # By association.
        self._studies: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
        self._sizes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        # Objects go to files, in `tempfile.tempdir`, and not into memory; nothing of them is logged.
        pynetdicom_settings.STORE_RECV_CHUNKED_DATASET = True
        pynetdicom_settings.LOG_HANDLER_LEVEL = "none"
        entity = AE(ae_title)
        entity.require_called_aet = True
        entity.maximum_associations = associations
        entity.maximum_pdu_size = _UNIT_BYTES
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = seconds
        entity.add_supported_context(Verification)
        for sop_class in sorted(CT_CLASSES):
            entity.add_supported_context(sop_class, ALL_TRANSFER_SYNTAXES)
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_DATA_RECV, self._measure),
            (evt.EVT_DIMSE_RECV, self._whole_message),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_ACSE_RECV, self._aborted_by_peer),
            (evt.EVT_RELEASED, lambda event: self._end(event.assoc)),
        ]
        try:
            self._server = entity.make_server(
                (host, port),
                evt_handlers=handlers,
                server_class=GuardedServer,
                peers=peers,
                tls=tls,
                seconds=seconds,
                most=associations,
            )
        except OSError as error:
            raise ServerError(
                f"Port {port} for DICOM cannot be used: {error.strerror}.", "Choose another port or host."
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def associations(self) -> int:
        """How many there are."""
        return len(self._server.active_associations)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and end all associations: what was answered is kept, what was not is sent again."""
        self._server.shutdown()
        for association in self._server.active_associations:
            association.abort()

    def _requested(self, event: Any) -> None:
        if not self._knows(event.assoc):
            logger.warning("An association was refused: no peer has that name at that address")
            event.assoc.acse.send_reject(*_UNKNOWN_CALLER)
            event.assoc.kill()

    def _knows(self, association: Any) -> bool:
        requestor = association.requestor
        name = str(requestor.primitive.calling_ae_title or "").strip()
        return any(peer.ae_title == name and peer.has(requestor.address) for peer in self._peers)

    def _measure(self, event: Any) -> None:
        """Count the bytes of a message while it comes in, and end the connection of one that is too large."""
        size = self._sizes.get(event.assoc, 0) + len(event.data)
        self._sizes[event.assoc] = size
        if size > self._object_bytes:
            logger.warning("A connection was closed: it sent an object of more bytes than are allowed")
            end_connection(event.assoc.dul.socket)

    def _whole_message(self, event: Any) -> None:
        self._sizes[event.assoc] = 0

    def _store(self, event: Any) -> int:
        if not self._knows(event.assoc):
            return NOT_AUTHORIZED
        path = Path(event.dataset_path)
        try:
            identity = identify(path)
            request = event.request
            if (identity.sop_class, identity.sop_instance) != (
                str(request.AffectedSOPClassUID),
                str(request.AffectedSOPInstanceUID),
            ):
                return MISMATCH
            with self._lock:
                self._studies.setdefault(event.assoc, set()).add(identity.key)
            self._spool.put(path, identity, ORIGIN, keep=False, transfer=True)
        except InputError:
            logger.warning("An object was refused: it is damaged, or does not say to which study it belongs")
            return NOT_UNDERSTOOD
        except CovidBertError as error:
            logger.error("An object was refused: %s", error.message)
            return OUT_OF_RESOURCES
        return SUCCESS

    def _aborted_by_peer(self, event: Any) -> None:
        # A sender that ends its association so, and not within an object, has said that this was all.
        if isinstance(event.primitive, A_ABORT) and event.assoc.dimse.message is None:
            self._end(event.assoc)

    def _end(self, association: Any) -> None:
        with self._lock:
            keys = self._studies.pop(association, set())
        try:
            self._spool.queue.end_transfer(sorted(keys))
        except CovidBertError as error:
            logger.error("The end of a transfer could not be noted: %s", error.message)
