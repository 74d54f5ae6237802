"""Masks that clients send are decoded in a process of their own, whose end is not the server's."""

from __future__ import annotations

import functools
import logging
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covid_bert.errors import NotReadyError, TooLongError, UnreadableFileError, WorkerDiedError
from covid_bert.progress import Progress
from covid_bert.server.jobs.records import typed_error
from covid_bert.server.jobs.worker import Worker

if TYPE_CHECKING:
    from covid_bert.server.jobs.worker import Compute, Outcome

logger = logging.getLogger(__name__)
_MOST_SECONDS = 300.0


class MaskChecker:
    """`GridCheck` in a worker process, which the first mask starts.

    Parameters
    ----------
    most_voxels
        Larger studies are refused by what their header says.
    most_seconds
        A check that takes longer is given up.
    """

    def __init__(self, most_voxels: int, *, most_seconds: float = _MOST_SECONDS) -> None:
        self._make = functools.partial(open_check, most_voxels)
        self._most_seconds = most_seconds
        self._worker: Worker | None = None
        self._one = threading.Lock()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process's id, None before the first mask."""
        return None if self._worker is None else self._worker.pid

    def check(self, mask: Path, image: Path, values: Mapping[int, int] | None = None) -> None:
        """Check a mask; see `covid_bert.datastore.checks.GridCheck.check`.

        Raises
        ------
        InputError
            If it does not fit its image, or ends the process that decodes it.
        TooLongError
            If the check takes too long.
        NotReadyError
            If the server stops.
        """
        with self._one:
            try:
                if self._closed:
                    raise WorkerDiedError("There is no process any more.")
                answer = self._answer({"mask": str(mask), "image": str(image), "values": values})
            except WorkerDiedError:
                if self._closed:
                    raise NotReadyError("The server stops.", "Send the mask again when it has started.") from None
                self._end()
                raise UnreadableFileError(
                    "The process that reads masks ended while it read this one.",
                    "Export the mask once more; the server's machine may also have too little memory for the study.",
                ) from None
        if "error" in answer:
            raise typed_error(answer["error"], answer["error"].get("details", {}))

    def close(self) -> None:
        """End the process, and with it a check that still runs."""
        self._closed = True
        if (worker := self._worker) is not None:
            worker.kill()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._worker is None or not self._worker.alive:
            self._end()
            self._worker = Worker(self._make)
        end = time.monotonic() + self._most_seconds
        # It makes no files but the mask itself, which it may write again.
        self._worker.run(request, Path(tempfile.gettempdir()))
        while time.monotonic() < end:
            answer = self._worker.receive(max(0.0, end - time.monotonic()))
            if answer is not None:
                return answer
        self._end()
        logger.warning("A mask was given up after %d seconds.", self._most_seconds)
        raise TooLongError("Checking the mask took too long.", "Send it again when less runs on the server.")

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None


def open_check(most_voxels: int) -> Compute:
    """Return what the process calls for each mask.

    Parameters
    ----------
    most_voxels
        Larger studies are refused by what their header says.
    """
    from covid_bert.datastore.checks import GridCheck
    from covid_bert.volumes.assembly import voxel_limit

    grids = GridCheck()

    def compute(request: dict[str, Any], _: Progress, __: Path) -> Outcome:
        with voxel_limit(most_voxels):
            # JSON has texts for keys.
            values = None if request["values"] is None else {int(key): to for key, to in request["values"].items()}
            grids.check(Path(request["mask"]), Path(request["image"]), values)
        return {}, {}

    return compute
