"""The folder of one run of training: what was asked, how it stands, its lines, its curve and what it computes with.

Two write in it: whoever runs it writes ``state.json``; the process that computes writes all else. Each file is
replaced whole, so that a kill at any moment leaves the last one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from covid_bert.errors import NotFoundError, OutputError
from covid_bert.files import remove_abandoned, write_private
from covid_bert.retraining.curve import curve_table
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.records import CURVE_FILE, CurvePoint
from covid_bert.retraining.run_records import ENDED, LiveRecord, Origin, RunRequest, Standing
from covid_bert.retraining.run_recovery import recovered

REQUEST_FILE, STATE_FILE, LIVE_FILE, LOG_FILE = "request.json", "state.json", "live.json", "log.jsonl"
# Held by the one process that trains on the studies, whoever started it.
LOCK_FILE = "lock"
_TAIL_BYTES = 16_384
_Kind = TypeVar("_Kind", bound=BaseModel)


def trains(own: Path) -> bool:
    """Whether a process trains on a folder of studies now.

    Parameters
    ----------
    own
        What `covid_bert.retraining.derived.retraining_folder` returns for it.
    """
    path = own / LOCK_FILE
    if not path.exists():
        return False
    try:
        # Whoever is about to begin waits for longer than this takes.
        with FileLock(path, mode=0o600, timeout=0):
            return False
    except Timeout:
        return True


class RunFolder:
    """One run on the disk.

    Parameters
    ----------
    path
        Its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, request: RunRequest) -> RunFolder:
        """Make the folder of a new run.

        Raises
        ------
        OutputError
            If it cannot be written; nothing is left then.
        """
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = cls(path)
            folder._write(STATE_FILE, Standing())
            # The last one: a folder without it is no run.
            folder._write(REQUEST_FILE, request)
        except OSError as error:
            shutil.rmtree(path, ignore_errors=True)
            raise _not_written(error) from error
        return folder

    @property
    def work(self) -> Path:
        """Folder of the checkpoint and whatever else the training needs while it runs."""
        return self.path / "work"

    def is_at(self, path: Path) -> bool:
        """Whether it is this folder, by whatever way."""
        return self.path.resolve() == path.resolve()

    def request(self) -> RunRequest:
        """What was asked.

        Raises
        ------
        NotFoundError
            If there is no such run, or its file is damaged.
        """
        found = self._read(REQUEST_FILE, RunRequest)
        if found is None:
            raise NotFoundError("There is no training in that folder.", "Give the folder of a run.")
        return found

    def state(self) -> Standing:
        """How it stands; where that cannot be read, see `covid_bert.retraining.run_recovery.recovered`."""
        standing = self._read(STATE_FILE, Standing)
        return recovered(self._read(REQUEST_FILE, RunRequest)) if standing is None else standing

    def state_time(self) -> int:
        """When its state was written, in nanoseconds since the epoch; 0 where it was not."""
        try:
            return (self.path / STATE_FILE).stat().st_mtime_ns
        except OSError:
            return 0

    def state_outside(self, own: Path) -> Standing:
        """How it stands where no server runs it: one that was killed left word that it runs.

        Parameters
        ----------
        own
            What `retraining_folder` returns for the studies.
        """
        standing = self.state()
        return standing.changed(status="stopped") if standing.status == "running" and not trains(own) else standing

    def live(self) -> LiveRecord:
        """What the process that computes told last."""
        return self._read(LIVE_FILE, LiveRecord) or LiveRecord()

    def write_state(self, state: Standing) -> None:
        """Keep how it stands.

        Raises
        ------
        OutputError
            If it cannot be written; the last one is kept.
        """
        try:
            self._write(STATE_FILE, state)
        except OSError as error:
            raise _not_written(error) from error

    def write_live(self, live: LiveRecord) -> None:
        """Keep what the process that computes tells; see `write_state` for errors."""
        try:
            self._write(LIVE_FILE, live)
        except OSError as error:
            raise _not_written(error) from error

    def write_curve(self, curve: tuple[CurvePoint, ...]) -> None:
        """Keep the finished epochs as a table; see `write_state` for errors."""
        try:
            write_private(self.path / CURVE_FILE, curve_table(curve))
        except OSError as error:
            raise _not_written(error) from error

    def log(self, line: str) -> None:
        """Add a line for people; where the disk takes none, it is lost."""
        entry = {"time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), "line": line}
        with contextlib.suppress(OSError):
            handle = os.open(self.path / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "ab") as file:
                file.write(f"{json.dumps(entry)}\n".encode())

    def lines(self, most: int) -> list[str]:
        """The last lines for people.

        Parameters
        ----------
        most
            How many.
        """
        try:
            with (self.path / LOG_FILE).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                tail = file.read().decode(errors="replace").split("\n")
        except OSError:
            return []
        found = []
        for entry in tail:
            # The first may be half of one, and so may what a full disk or a kill cut off.
            with contextlib.suppress(ValueError, KeyError, TypeError):
                found.append(str(json.loads(entry)["line"]))
        return found[-most:]

    def remove_work(self) -> None:
        """Remove what only a run that goes on needs."""
        shutil.rmtree(self.work, ignore_errors=True)

    def remove(self) -> None:
        """Remove it with all that it has, as far as that can be removed."""
        # First what makes it a run.
        with contextlib.suppress(OSError):
            (self.path / REQUEST_FILE).unlink()
        shutil.rmtree(self.path, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a killed process left half written; the caller is the only one that writes here."""
        remove_abandoned(self.path)

    def _write(self, name: str, record: BaseModel) -> None:
        write_private(self.path / name, record.model_dump_json())

    def _read(self, name: str, kind: type[_Kind]) -> _Kind | None:
        try:
            return kind.model_validate_json((self.path / name).read_bytes())
        except (OSError, ValidationError):
            return None


def new_run(
    runs: Path,
    model: str,
    parameters: TrainingParameters,
    *,
    origin: Origin,
    owner: str = "",
    path: Path | None = None,
) -> RunFolder:
    """Make the folder of a new run among others.

    Parameters
    ----------
    runs
        Folder with one folder for each run.
    model, parameters, origin, owner
        For `RunRequest`.
    path
        Its folder, where it is to lie elsewhere.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    identifier = uuid.uuid4().hex
    request = RunRequest(
        id=identifier, model=model, parameters=parameters, created=time.time(), origin=origin, owner=owner
    )
    return RunFolder.create(path or runs / identifier, request)


def list_runs(runs: Path) -> list[tuple[RunFolder, RunRequest]]:
    """All runs in a folder, the oldest first; what is no run, or damaged, is left out."""
    found = []
    for path in runs.glob(f"*/{REQUEST_FILE}"):
        folder = RunFolder(path.parent)
        with contextlib.suppress(NotFoundError):
            found.append((folder, folder.request()))
    return sorted(found, key=lambda run: (run[1].created, run[1].id))


def forget_old_runs(runs: Path, *, keep: int, spared: Path | None = None) -> None:
    """Remove the oldest runs that have ended, also by a kill where no server goes on with them.

    Parameters
    ----------
    runs
        Folder with one folder for each run.
    keep
        How many ended ones stay.
    spared
        Folder of a run that stays however old it is.
    """
    ended = [folder for folder, request in list_runs(runs) if _has_ended(folder, request, runs.parent)]
    for folder in ended[: max(0, len(ended) - keep)]:
        if spared is None or not folder.is_at(spared):
            folder.remove()


def _has_ended(folder: RunFolder, request: RunRequest, own: Path) -> bool:
    standing = folder.state()
    if request.origin != "server" or standing.taken_up:
        standing = folder.state_outside(own)
    return standing.status in ENDED


def _not_written(error: OSError) -> OutputError:
    return OutputError(
        f"The state of the training cannot be written: {error.strerror or error}.",
        "Free disk space, or mend the permissions of the program's data folder.",
    )
