"""The folder of one router: files as they come in, studies, and results until they are stored.

    incoming/             objects that are being received
    studies/KEY/          the files of a study; KEY is a hash of its StudyInstanceUID
    results/KEY/          its results, until they are sent
    working/              results that are being made
    queue.sqlite          the queue

A file is on the disk, whole and under its final name, before the queue knows of it, and the queue has it on the disk
before a sender is told so.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from covid_bert.errors import BusyError, OutputError, UnreadableFileError
from covid_bert.files import remove_abandoned, replacing, sync
from covid_bert.router.queue import Queue
from covid_bert.volumes.dicom_files import guarded, read_header_of

# CT Image, Enhanced CT Image, Legacy Converted Enhanced CT Image. Nothing else is taken: results of this program, which
# an archive may send on to all its listeners, would otherwise come back as new files of their study for ever.
CT_CLASSES = frozenset(
    {"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"},
)
_ABANDONED_SECONDS = 3600.0
_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True)
class Identity:
    """What a file says it is: identifiers, for this process alone."""

    sop_class: str
    sop_instance: str
    study: str

    @property
    def key(self) -> str:
        """The study's pseudonymous name."""
        return hashlib.sha256(self.study.encode()).hexdigest()[:32]

    @property
    def is_ct(self) -> bool:
        """Whether it can be part of a CT series."""
        return self.sop_class in CT_CLASSES


class Spool:
    """The folder and its queue.

    Parameters
    ----------
    folder
        Made with mode 0700.
    reserve_bytes
        Space that always stays free on its disk.
    """

    def __init__(self, folder: Path, *, reserve_bytes: int) -> None:
        self.folder = folder
        self._reserve = reserve_bytes
        self.incoming, self.studies, self.results, self.working = (
            folder / name for name in ("incoming", "studies", "results", "working")
        )
        try:
            for each in (folder, self.incoming, self.studies, self.results, self.working):
                each.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OutputError(f"The spool folder cannot be made: {error.strerror}.", "Choose another.") from error
        self.queue = Queue(folder)
        self._lock = FileLock(folder / "lock", mode=0o600)

    def own(self) -> None:
        """Take the folder for this process, and put right what a killed one left.

        Raises
        ------
        BusyError
            If another process has it.
        """
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise BusyError("Another router uses this spool folder.", "Stop it first, or choose another.") from error
        for folder in (self.incoming, self.working):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        for folder in self.studies.iterdir():
            remove_abandoned(folder)
            # Files that were written and not noted any more: their sender was told nothing, and may not come again.
            noted = self.queue.names(folder.name)
            for path in folder.glob("*.dcm"):
                if path.name not in noted:
                    self.queue.add(folder.name, path.name, "receiver", time.time(), transfer=False)

    def close(self) -> None:
        """Give the folder back."""
        self.queue.close()
        self._lock.release()

    def free_bytes(self) -> int:
        """Free space above the reserve; negative where it is used up."""
        return shutil.disk_usage(self.folder).free - self._reserve

    def check_room(self) -> None:
        """Raise `OutputError` if the disk has less space than the reserve."""
        if self.free_bytes() <= 0:
            raise OutputError("The disk of the spool folder is full.", "Free disk space.")

    def put(self, path: Path, identity: Identity, origin: str, *, keep: bool, transfer: bool) -> bool:
        """Add a file to its study, and return whether it is a new one.

        Parameters
        ----------
        path
            The file.
        identity
            Of `identify`.
        origin
            How it came.
        keep
            Whether it is copied; it is moved otherwise.
        transfer
            See `Queue.add`.

        Raises
        ------
        OutputError
            If the disk does not take it, or has less space than the reserve.
        """
        self.check_room()
        folder = self.studies / identity.key
        try:
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
                sync(self.studies)
            # The same object sent twice is one file; two objects with one name are two, which the reader finds.
            target = folder / f"{_digest(identity.sop_instance)}-{_content(path)}.dcm"
            restored = not target.exists()
            if restored:
                with replacing(target) as temporary:
                    (shutil.copyfile if keep else shutil.move)(path, temporary)
        except OSError as error:
            raise OutputError(f"A file cannot be kept: {error.strerror}.", "Free disk space.") from error
        return self.queue.add(identity.key, target.name, origin, time.time(), transfer=transfer, restored=restored)

    def study(self, key: str) -> Path:
        """Where the files of a study are."""
        return self.studies / key

    def outbox(self, key: str) -> Path:
        """Where its results are until they are sent."""
        return self.results / key

    def keep_results(self, made: Path, key: str) -> None:
        """Bring the results of a study, that lie in a folder of `working`, to its outbox; they are then on the disk.

        Raises
        ------
        OutputError
            If the disk does not take them.
        """
        try:
            for path in made.iterdir():
                sync(path)
            sync(made)
            shutil.rmtree(self.outbox(key), ignore_errors=True)
            made.rename(self.outbox(key))
            sync(self.results)
        except OSError as error:
            raise OutputError(f"Results cannot be kept: {error.strerror}.", "Free disk space.") from error

    def remove(self, key: str) -> None:
        """Remove the files of a study and its results."""
        for folder in (self.study(key), self.outbox(key)):
            shutil.rmtree(folder, ignore_errors=True)

    def tidy(self, now: float, *, keep: float, keep_aside: float, forget: float) -> None:
        """Remove what is not needed any more.

        Parameters
        ----------
        now
            Seconds since the epoch.
        keep, keep_aside
            Seconds that the files of a study stay once it is done, or set aside.
        forget
            Seconds after which a study without files is forgotten, and would be classified if it came again.
        """
        for key in self.queue.ended_before(now - keep, now - keep_aside):
            self.remove(key)
        for key in self.queue.ended_before(now - forget, now - forget):
            self.queue.drop(key)
        # What broken connections left: their files grow no more.
        for path in self.incoming.iterdir():
            with contextlib.suppress(OSError):
                if path.is_file() and path.stat().st_mtime < now - _ABANDONED_SECONDS:
                    path.unlink()


def identify(path: Path) -> Identity:
    """Read what a DICOM file says it is.

    Raises
    ------
    UnreadableFileError
        If it is damaged, or does not say.
    """
    dataset = read_header_of(path, _IDENTITY)
    values = guarded(path, lambda: [str(dataset.get(keyword) or "").strip() for keyword in _IDENTITY])
    if not all(values):
        raise UnreadableFileError(
            "A DICOM file does not say to which study and series it belongs.", "Export the series again from the PACS."
        )
    return Identity(values[0], values[1], values[2])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _content(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()[:8]
