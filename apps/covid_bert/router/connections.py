"""Listening for DICOM associations with what pynetdicom leaves open: who may connect, how much, and for how long.

pynetdicom takes connections from everywhere, encrypts on the thread that listens, waits for ever for the rest of a
message, and reads messages of any length into memory.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from socketserver import BaseServer
from typing import Any

from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

logger = logging.getLogger(__name__)

# Requests for an association are some kilobytes; data come in units of the length that was agreed.
LONGEST_UNIT_BYTES = 2**20
# Connections beyond the associations, for those that are told that there are too many.
_SPARE_CONNECTIONS = 8


@dataclass(frozen=True)
class Peer:
    """Who may connect.

    Parameters
    ----------
    ae_title
        Its own name.
    network
        Its address, or network of addresses.
    """

    ae_title: str
    network: IPv4Network | IPv6Network

    def has(self, address: str) -> bool:
        """Whether an address is the peer's."""
        try:
            return ip_address(address) in self.network
        except ValueError:
            return False


class GuardedServer(ThreadedAssociationServer):
    """A server for associations, from known addresses only.

    Parameters
    ----------
    *args
        Of `ThreadedAssociationServer`.
    peers
        Who may connect.
    tls
        Encrypts; None for plain connections.
    seconds
        That a peer may take for the next piece of a message.
    most
        Associations at a time.
    **keywords
        Of `ThreadedAssociationServer`.
    """

    daemon_threads = True

    def __init__(
        self,
        *args: Any,
        peers: tuple[Peer, ...],
        tls: ssl.SSLContext | None,
        seconds: float,
        most: int,
        **keywords: Any,
    ) -> None:
        self._peers, self._most = peers, most
        self.tls, self.seconds = tls, seconds
        super().__init__(*args, **{**keywords, "request_handler": _Handler})

    def verify_request(self, _request: Any, client_address: Any) -> bool:
        """Close connections from unknown addresses, and those that are too many, before anything is read."""
        if not any(peer.has(client_address[0]) for peer in self._peers):
            logger.warning("A connection from an unknown address was closed")
            return False
        return len(self.active_associations) < self._most + _SPARE_CONNECTIONS

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Say that a connection failed, without its content."""
        logger.warning("A connection failed before an association was made", exc_info=True)

    def shutdown(self) -> None:
        """Stop listening."""
        BaseServer.shutdown(self)
        self.server_close()


class _Handler(RequestHandler):
    server: GuardedServer

    def handle(self) -> None:
        """Encrypt, on the connection's own thread, and begin the association."""
        self.request.settimeout(self.server.seconds)
        if self.server.tls is not None:
            try:
                self.request = self.server.tls.wrap_socket(self.request, server_side=True)
            except OSError:
                logger.warning("A connection without the right encryption was closed")
                self.request.close()
                return
        super().handle()

    def _create_association(self) -> Any:
        association = super()._create_association()
        connection: Any = association.dul.socket
        connection.recv = _bounded(connection, connection.recv)
        return association


def _bounded(connection: AssociationSocket, receive: Callable[[int], bytearray]) -> Callable[[int], bytearray]:
    def bounded(count: int) -> bytearray:
        if count > LONGEST_UNIT_BYTES:
            logger.warning("A connection was closed: it announced a unit of data of more bytes than are allowed")
            end_connection(connection)
            return bytearray()
        return receive(count)

    return bounded


def end_connection(connection: AssociationSocket) -> None:
    """Let a connection end, so that its association is aborted; its own thread closes it."""
    if connection.socket is not None:
        try:
            connection.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            logger.debug("The connection had ended")
