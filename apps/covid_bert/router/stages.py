"""The two stages of the router that take time: classifying one study after the other, and storing their results."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from covid_bert.errors import (
    CovidBertError,
    InputError,
    InternalError,
    MissingProgramError,
    NotFoundError,
    OutputError,
    TooLongError,
    WeightsError,
    WorkerDiedError,
)
from covid_bert.logs import describe
from covid_bert.pacs.errors import PacsError, PacsRejectedError
from covid_bert.router.classifying import INCOMPLETE
from covid_bert.router.queue_list import QueuedStudy
from covid_bert.router.sender import Destination
from covid_bert.router.spool import Spool
from covid_bert.workers import MakeCompute, Worker

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
# Until a study whose computation failed is tried again.
_LONGEST_DELAY = 60.0


class StoppedError(Exception):
    """The router was asked to stop."""


class Pauses:
    """Seconds between attempts, that double with each failure.

    Parameters
    ----------
    first, longest
        Seconds.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self._failures = 0
        self.trouble: CovidBertError | None = None

    def failed(self, error: CovidBertError) -> float:
        """Note a failure, and return how long to wait."""
        # Not beyond what a float holds.
        pause = min(self._first * 2.0 ** min(self._failures, 60), self._longest)
        self._failures, self.trouble = self._failures + 1, error
        return pause

    def went_well(self) -> None:
        """Note a success."""
        self._failures, self.trouble = 0, None


class Classifier:
    """Classifies studies in a process of its own, which may crash, hang or run out of memory without harm to others.

    Parameters
    ----------
    spool
        Where studies are.
    make_compute
        For `covid_bert.workers.Worker`.
    attempts
        After which a study is set aside.
    seconds
        That a study may take.
    pauses
        Between attempts.
    stop
        Set when the router stops.
    """

    def __init__(
        self,
        spool: Spool,
        make_compute: MakeCompute,
        *,
        attempts: int,
        seconds: float,
        pauses: Pauses,
        stop: threading.Event,
    ) -> None:
        self._spool, self._make_compute, self._stop = spool, make_compute, stop
        self._attempts, self._seconds, self._pauses = attempts, seconds, pauses
        self._worker: Worker | None = None
        self._due = 0.0

    @property
    def trouble(self) -> CovidBertError | None:
        """What keeps all studies from being classified; None where nothing does."""
        return self._pauses.trouble

    def start(self) -> None:
        """Start the process, whose imports take seconds, before there is a study."""
        if self._worker is None:
            self._worker = Worker(self._make_compute)

    def step(self) -> bool:
        """Classify one study; False if there is none."""
        queue, now = self._spool.queue, time.time()
        study = queue.claim(now) if now >= self._due else None
        if study is None:
            return False
        logger.info("study %s: classifying %d files", study.short, study.files)
        try:
            logger.info("study %s: %s", study.short, self._classify(study))
            self._pauses.went_well()
        except StoppedError:
            queue.release(study.key)
        except (WeightsError, MissingProgramError, OutputError) as error:
            # Not this study's fault: the next one would fare no better.
            queue.release(study.key)
            self._due = time.time() + self._pauses.failed(error)
            logger.error("Studies cannot be classified now: %s", error.message)
        except CovidBertError as error:
            self._failed(study, error)
        return True

    def end(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _classify(self, study: QueuedStudy) -> str:
        folder = self._spool.working / study.key
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise OutputError(f"Results cannot be written: {error.strerror}.", "Free disk space.") from error
        try:
            request = {"study": str(self._spool.study(study.key)), "known": study.answer, "forced": study.forced}
            told = self._compute(request, folder)
            queue = self._spool.queue
            if not told["files"]:
                return "the same as before" if queue.unchanged(study.key, time.time()) else "more files came"
            self._spool.keep_results(folder, study.key)
            done = queue.classified(study.key, told["params"]["answer"], time.time())
            return "classified" if done else "more files came"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _compute(self, request: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Return what the process says, or raise what it raised."""
        self.start()
        worker, end = self._worker, time.monotonic() + self._seconds
        assert worker is not None
        try:
            worker.run(request, folder)
            while True:
                told = worker.receive(_POLL_SECONDS)
                if told is not None and "error" in told:
                    raise _error_of(told["error"])
                if told is not None and "files" in told:
                    return told
                if self._stop.is_set():
                    self.end()
                    raise StoppedError
                if time.monotonic() > end:
                    self.end()
                    raise TooLongError("The study was computed for longer than is allowed.", "See study_minutes.")
        except WorkerDiedError:
            self.end()
            raise

    def _failed(self, study: QueuedStudy, error: CovidBertError) -> None:
        self._pauses.went_well()
        queue, now = self._spool.queue, time.time()
        if isinstance(error, INCOMPLETE) and not study.forced:
            queue.wait(study.key, error)
        elif isinstance(error, (InputError, NotFoundError)):
            queue.set_aside(study.key, error, now)
        else:
            delay = min(2.0 ** (study.attempts - 1), _LONGEST_DELAY)
            queue.fail(study.key, error, now, attempts=self._attempts, delay=delay)
        logger.warning("study %s: %s: %s", study.short, error.code, error.message)


class Deliverer:
    """Stores results at the destination.

    Parameters
    ----------
    spool
        Where results are.
    destination
        Where they go.
    attempts
        After which a study whose objects are refused is set aside. One that cannot be reached is waited for.
    pauses
        Between attempts.
    """

    def __init__(self, spool: Spool, destination: Destination, *, attempts: int, pauses: Pauses) -> None:
        self._spool, self._destination, self._attempts, self._pauses = spool, destination, attempts, pauses
        self._due = 0.0

    @property
    def trouble(self) -> CovidBertError | None:
        """What keeps results from being stored; None where nothing does."""
        return self._pauses.trouble

    def step(self) -> bool:
        """Store the results of one study; False if there are none, or the destination could not be reached."""
        queue, now = self._spool.queue, time.time()
        study = queue.sendable(now) if now >= self._due else None
        if study is None:
            return False
        files = sorted(self._spool.outbox(study.key).glob("*.dcm"))
        if not files:
            queue.again(study.key)
            return True
        try:
            self._store(files, study.key)
        except (PacsError, OutputError) as error:
            pause = self._pauses.failed(error)
            self._due = time.time() + pause
            queue.postpone(study.key, error, self._due, counts=False)
            logger.warning("Results cannot be stored now (%s); tried again in %.0f s", error.message, pause)
            return False
        except (PacsRejectedError, InternalError) as error:
            delay = 2.0**study.attempts
            if queue.postpone(study.key, error, time.time() + delay, counts=True) >= self._attempts:
                queue.set_aside(study.key, error, time.time())
            logger.warning("study %s: %s: %s", study.short, error.code, error.message)
            return True
        self._pauses.went_well()
        queue.sent(study.key, time.time())
        shutil.rmtree(self._spool.outbox(study.key), ignore_errors=True)
        logger.info("study %s: %d objects stored", study.short, len(files))
        return True

    def _store(self, files: list[Path], key: str) -> None:
        try:
            self._destination.store(files, key)
        except CovidBertError:
            raise
        except Exception as error:
            logger.error("Storing failed: %s", describe(error))
            raise InternalError(
                f"An unexpected error ({type(error).__name__}) while results were stored.", "Look for it in the log."
            ) from error


def _error_of(told: dict[str, Any]) -> CovidBertError:
    """Return the error that another process told of."""
    kinds = {kind.code: kind for kind in _kinds(CovidBertError)}
    return kinds.get(told["code"], InternalError)(told["message"], told["hint"])


def _kinds(kind: type[CovidBertError]) -> Iterator[type[CovidBertError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds(each)
