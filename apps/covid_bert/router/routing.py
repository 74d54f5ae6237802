"""The router: one process beside the PACS that receives studies, classifies them and stores the results."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from covid_bert.errors import CovidBertError
from covid_bert.files import write_private
from covid_bert.logs import describe
from covid_bert.router.classifying import Classifying
from covid_bert.router.configuration import EntitySection, RouteConfiguration, WebSection
from covid_bert.router.receiver import Receiver
from covid_bert.router.sender import Destination, EntityDestination, FolderDestination, WebDestination
from covid_bert.router.spool import Spool
from covid_bert.router.stages import Classifier, Deliverer, Pauses
from covid_bert.router.watching import WatchedFolder
from covid_bert.workers import MakeCompute

logger = logging.getLogger(__name__)

HEALTH_FILE = "health.json"
# Between two looks of each stage at the queue.
_POLL_SECONDS = 0.25
_HEALTH_SECONDS = 2.0
_HEALTH_LINE_SECONDS = 60.0
_TIDY_SECONDS = 60.0
_MEGABYTE = 2**20
# For an association, or an upload, that is under way when the router stops.
_END_SECONDS = 20.0


class Router:
    """Everything between a sender and the destination.

    Parameters
    ----------
    configuration
        The set-up.
    make_compute
        For `covid_bert.workers.Worker`; None for the project's own systems.

    Raises
    ------
    BusyError
        If another router uses the spool folder.
    ServerError, OutputError, ParameterError
        If the port, a folder or a file of the set-up cannot be used.
    """

    def __init__(self, configuration: RouteConfiguration, make_compute: MakeCompute | None = None) -> None:
        self._configuration = configuration
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._spool = Spool(configuration.spool, reserve_bytes=configuration.reserve_bytes)
        self._spool.own()
        # Where pynetdicom and zip files leave what they unpack.
        tempfile.tempdir = str(self._spool.incoming)
        self._spool.queue.recover(time.time(), attempts=configuration.attempts)
        self._classifier = Classifier(
            self._spool,
            make_compute or _classifying(configuration),
            attempts=configuration.attempts,
            seconds=configuration.study_minutes * 60.0,
            pauses=self._pauses(),
            stop=self._stop,
        )
        self._deliverer = Deliverer(
            self._spool, destination_of(configuration), attempts=configuration.attempts, pauses=self._pauses()
        )
        watch = configuration.watch
        self._watched = None if watch is None else WatchedFolder(watch.folder, self._spool, settle=watch.settle_seconds)
        self._watch_trouble: CovidBertError | None = None
        self._receiver = self._make_receiver()

    def start(self) -> None:
        """Begin: everything is done on threads, and in a process for the computations."""
        self._classifier.start()
        if self._receiver is not None:
            self._receiver.start()
        steps: list[tuple[Callable[[], bool], float]] = [
            (self._settle, _POLL_SECONDS),
            (self._classifier.step, _POLL_SECONDS),
            (self._deliverer.step, _POLL_SECONDS),
            (self._tell_health, _HEALTH_SECONDS),
            (self._log_health, _HEALTH_LINE_SECONDS),
            (self._tidy, _TIDY_SECONDS),
        ]
        if self._configuration.watch is not None:
            steps.append((self._look, self._configuration.watch.interval_seconds))
        for step, pause in steps:
            thread = threading.Thread(target=self._repeat, args=(step, pause), name=step.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)

    def run(self) -> None:
        """Begin, and return when `stop` was called, with everything in order."""
        self.start()
        self._stop.wait()
        self.end()

    def stop(self) -> None:
        """Ask `run` to end; for signal handlers."""
        self._stop.set()

    def end(self) -> None:
        """End in order: what is being classified is classified again after the next start."""
        self._stop.set()
        if self._receiver is not None:
            self._receiver.stop()
        for thread in self._threads:
            thread.join(_END_SECONDS)
        self._classifier.end()
        if self._watched is not None:
            self._watched.close()
        (self._spool.folder / HEALTH_FILE).unlink(missing_ok=True)
        self._spool.close()

    @property
    def port(self) -> int | None:
        """Where the receiver listens; None without one."""
        return None if self._receiver is None else self._receiver.port

    def health(self) -> dict[str, Any]:
        """How the router is, without anything of a patient."""
        troubles = {
            "classifying": self._classifier.trouble,
            "destination": self._deliverer.trouble,
            "watching": self._watch_trouble,
        }
        free = self._spool.free_bytes() // _MEGABYTE
        return {
            "time": time.time(),
            "process": os.getpid(),
            "well": free > 0 and not any(troubles.values()),
            "studies": self._spool.queue.counts(),
            "megabytes_above_reserve": free,
            "unusable_files": 0 if self._watched is None else self._watched.refused(),
            "troubles": {name: error.to_json() for name, error in troubles.items() if error is not None},
        }

    def _settle(self) -> bool:
        configuration = self._configuration
        quiet, patience = configuration.quiet_seconds, configuration.patience_minutes * 60.0
        self._spool.queue.settle(time.time(), quiet=quiet, patience=patience)
        return False

    def _look(self) -> bool:
        assert self._watched is not None
        try:
            self._watched.look(time.monotonic())
        except CovidBertError as error:
            self._watch_trouble = error
            raise
        self._watch_trouble = None
        return False

    def _tell_health(self) -> bool:
        write_private(self._spool.folder / HEALTH_FILE, json.dumps(self.health(), indent=1) + "\n")
        return False

    def _log_health(self) -> bool:
        health = self.health()
        counts = ", ".join(f"{count} {state}" for state, count in health["studies"].items() if count)
        troubles = "; ".join(f"{name}: {error['message']}" for name, error in health["troubles"].items())
        logger.info(
            "health: %s; %d MB above the reserve; %s",
            counts or "no studies",
            health["megabytes_above_reserve"],
            troubles or "no trouble",
        )
        return False

    def _tidy(self) -> bool:
        configuration = self._configuration
        self._spool.tidy(
            time.time(),
            keep=configuration.keep_hours * 3600.0,
            keep_aside=configuration.keep_aside_days * 86400.0,
            forget=configuration.forget_days * 86400.0,
        )
        return False

    def _repeat(self, step: Callable[[], bool], pause: float) -> None:
        """Do a step until the router stops; at once again where it had something to do."""
        while not self._stop.is_set():
            try:
                busy = step()
            except CovidBertError as error:
                logger.error("%s", error.message)
                busy = False
            except Exception as error:
                logger.error("An unexpected error: %s", describe(error))
                busy = False
            if not busy:
                self._stop.wait(pause)

    def _pauses(self) -> Pauses:
        return Pauses(self._configuration.retry_seconds, self._configuration.longest_retry_minutes * 60.0)

    def _make_receiver(self) -> Receiver | None:
        section = self._configuration.receiver
        if section is None:
            return None
        return Receiver(
            self._spool,
            ae_title=section.ae_title,
            host=section.host,
            port=section.port,
            peers=section.known_peers,
            associations=section.associations,
            object_bytes=section.object_megabytes * _MEGABYTE,
            seconds=section.silence_seconds,
            tls=None if section.tls is None else section.tls.for_server(),
        )


def _classifying(configuration: RouteConfiguration) -> Classifying:
    return Classifying(configuration.system, configuration.configuration, configuration.lungs, configuration.device)


def destination_of(configuration: RouteConfiguration) -> Destination:
    """Return where results go.

    Parameters
    ----------
    configuration
        The set-up.

    Raises
    ------
    ParameterError
        If files of the set-up cannot be used.
    """
    section = configuration.destination
    if isinstance(section, EntitySection):
        return EntityDestination(
            section.host,
            section.port,
            section.ae_title,
            calling_ae_title=section.calling_ae_title,
            tls=None if section.tls is None else section.tls.for_client(),
        )
    if isinstance(section, WebSection):
        from covid_bert.pacs.dicomweb import Pacs
        from covid_bert.pacs.settings import PacsSettings

        settings = PacsSettings(url=section.url, credentials=section.credentials, certificate=section.certificate)
        return WebDestination(Pacs(settings))
    return FolderDestination(Path(section.folder))
