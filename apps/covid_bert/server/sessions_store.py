"""Studies that are uploaded for a while: each has a lease, and its files go with it.

Nothing about a session is kept on disk but the files themselves; what a server finds there at its start is removed.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from covid_bert.errors import BusyError, GoneError, NotFoundError, TooLargeError
from covid_bert.logs import describe
from covid_bert.server.received import not_kept

logger = logging.getLogger(__name__)

_IDENTIFIER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SWEEP_SECONDS = 5.0
_BLOCK = 2**20
_RETRY_SECONDS = 60
_FREE_ONE = "Close sessions that are not needed, or try again later."


@dataclass(frozen=True)
class Session:
    """An uploaded study.

    Parameters
    ----------
    identifier
        Random (uuid4).
    owner
        Name of the token that uploaded it.
    image
        The file, or the folder where several were sent.
    size
        Of all files, in bytes.
    lease_seconds
        How long it is kept after its last use.
    created
        Seconds since 1970, for people.
    """

    identifier: str
    owner: str
    image: Path
    size: int
    lease_seconds: float
    created: int


class SessionStore:
    """Keeps the sessions of one server. MONAI Label's app uses it in the place of its own.

    Parameters
    ----------
    folder
        For the files; what is in it is removed.
    most
        Most sessions at a time, at least 1.
    minutes
        Longest lease.
    megabytes
        Most of all sessions together, in 2^20 bytes.
    clock
        Seconds that never jump.
    """

    def __init__(
        self, folder: Path, *, most: int, minutes: float, megabytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._most = most
        self._lease_seconds = 60.0 * minutes
        self._most_bytes = megabytes * 2**20
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._ends: dict[str, float] = {}
        # How many jobs need a session, by its id.
        self._holds: Counter[str] = Counter()
        # Bytes of uploads that are being received, by session id.
        self._receiving: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)

    @property
    def store_path(self) -> str:
        """Folder with the files, as MONAI Label names it."""
        return str(self._folder)

    def start(self) -> None:
        """Begin to remove sessions whose lease is over."""
        threading.Thread(target=self._sweep, name="sessions", daemon=True).start()

    def close(self) -> None:
        """Remove all sessions, and take no more."""
        self._stopped.set()
        with self._lock:
            self._sessions.clear()
            self._ends.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def create(self, files: Sequence[tuple[str, BinaryIO]], owner: str, *, seconds: float = 0.0) -> Session:
        """Keep uploaded files as a session.

        Parameters
        ----------
        files
            Plain names, each once, with their contents; at least one.
        owner
            Name of the token.
        seconds
            A shorter lease than the longest; 0 for the longest.

        Raises
        ------
        BusyError
            If there are too many sessions, or they are too large together.
        TooLargeError
            If this one alone is larger than all may be.
        OutputError
            If the files cannot be written.
        """
        self.remove_expired()
        identifier = str(uuid.uuid4())
        with self._lock:
            if len(self._sessions) + len(self._receiving) >= self._most or self._stopped.is_set():
                raise BusyError(
                    "The server keeps no more uploaded studies just now.", _FREE_ONE, retry_after=_RETRY_SECONDS
                )
            self._receiving[identifier] = 0
        folder = self._folder / identifier
        try:
            folder.mkdir(mode=0o700)
            for name, content in files:
                self._copy(identifier, content, folder / name)
            with self._lock:
                if self._stopped.is_set():
                    raise BusyError("The server is being stopped.", "Try again later.", retry_after=_RETRY_SECONDS)
                lease = min(seconds, self._lease_seconds) if seconds > 0 else self._lease_seconds
                image = folder / files[0][0] if len(files) == 1 else folder
                size = self._receiving[identifier]
                session = Session(identifier, owner, image, size, lease, int(time.time()))
                self._sessions[identifier] = session
                self._ends[identifier] = self._clock() + lease
            return session
        except OSError as error:
            raise not_kept(error) from error
        finally:
            with self._lock:
                del self._receiving[identifier]
                kept = identifier in self._sessions
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)

    def get_session(self, session_id: str, update_ts: bool = True) -> Session:
        """Return a session, and renew its lease.

        Parameters
        ----------
        session_id
            As `create` made it.
        update_ts
            Whether to renew the lease; MONAI Label's name.

        Raises
        ------
        GoneError
            If it has ended.
        NotFoundError
            If that is no session's id.
        """
        if _IDENTIFIER.fullmatch(session_id) is None:
            raise NotFoundError("The server has no session with that id.", "Upload the study.")
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None or self._is_over(session_id):
                raise GoneError("The uploaded study is no longer kept.", "Upload it again.")
            if update_ts:
                self._ends[session_id] = self._clock() + session.lease_seconds
            return session

    def hold(self, session_id: str) -> None:
        """Keep a session for a job, whatever its lease, until `let_go`; its end by `remove_session` goes before.

        Raises
        ------
        GoneError, NotFoundError
            As in `get_session`.
        """
        self.get_session(session_id)
        with self._lock:
            self._holds[session_id] += 1

    def let_go(self, session_id: str) -> None:
        """Undo one `hold`; the lease begins anew."""
        with self._lock:
            self._holds[session_id] -= 1
            # Removes what is no longer counted.
            self._holds = +self._holds
            if session_id in self._sessions:
                self._ends[session_id] = self._clock() + self._sessions[session_id].lease_seconds

    def seconds_left(self, session_id: str) -> float:
        """Return how long a session is kept if nobody uses it; 0 for one that has ended."""
        with self._lock:
            return max(self._ends.get(session_id, 0.0) - self._clock(), 0.0) if session_id in self._ends else 0.0

    def remove_session(self, session_id: str) -> None:
        """Remove a session with its files; nothing happens for others."""
        with self._lock:
            known = self._sessions.pop(session_id, None)
            self._ends.pop(session_id, None)
        if known is not None:
            shutil.rmtree(self._folder / session_id, ignore_errors=True)

    def remove_expired(self) -> int:
        """Remove the sessions whose lease is over, and files of those that could not be removed before.

        Returns
        -------
        int
            How many sessions ended.
        """
        with self._lock:
            over = [identifier for identifier in self._ends if self._is_over(identifier)]
            for identifier in over:
                del self._sessions[identifier], self._ends[identifier]
            kept = {*self._sessions, *self._receiving}
            left = [path for path in self._folder.glob("*") if path.name not in kept]
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
            if path.exists():
                logger.error("The files of a session that has ended cannot be removed")
        return len(over)

    def _is_over(self, identifier: str) -> bool:
        return self._ends[identifier] < self._clock() and not self._holds[identifier]

    def _copy(self, identifier: str, content: BinaryIO, target: Path) -> None:
        with target.open("xb") as written:
            while block := content.read(_BLOCK):
                with self._lock:
                    self._receiving[identifier] += len(block)
                    if self._receiving[identifier] > self._most_bytes:
                        raise TooLargeError(
                            "The upload is larger than the server keeps.", "Crop the study, or send fewer files."
                        )
                    used = sum(session.size for session in self._sessions.values()) + sum(self._receiving.values())
                    if used > self._most_bytes:
                        raise BusyError(
                            "The uploaded studies fill the server's room for them.",
                            _FREE_ONE,
                            retry_after=_RETRY_SECONDS,
                        )
                written.write(block)

    def _sweep(self) -> None:
        while not self._stopped.wait(_SWEEP_SECONDS):
            try:
                self.remove_expired()
            except Exception as error:
                # Without this thread no study would ever be removed again.
                logger.error("Sessions that have ended cannot be removed now: %s", describe(error))
