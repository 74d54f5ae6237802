"""The server's timer for what was derived from studies: see `covid_bert.datastore.forgetting`."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from covid_bert.datastore.forgetting import forget
from covid_bert.logs import describe

logger = logging.getLogger(__name__)

_HOUR = 3600.0


class Forgetting:
    """Removes at the start, and then from time to time, what nobody needs any more.

    Parameters
    ----------
    studies
        Folder with the studies.
    seconds
        Between two times.
    """

    def __init__(self, studies: Path, *, seconds: float = _HOUR) -> None:
        self._studies, self._seconds = studies, seconds
        self._news, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="forgetting", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def soon(self) -> None:
        """Say that there may be something to remove, for example because a training has ended."""
        self._news.set()

    def close(self) -> None:
        """End, once what is being removed is removed."""
        self._closing.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while not self._closing.is_set():
            self._news.clear()
            try:
                forget(self._studies)
            except Exception as error:
                logger.error("What was derived from studies could not be removed: %s", describe(error))
            if not self._closing.is_set():
                self._news.wait(self._seconds)
