"""Many studies in one call: progress, failures collected, finished ones skipped, nothing half written."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from covid_bert.errors import BusyError, CancelledError, CovidBertError, InternalError, OutputError, ParameterError
from covid_bert.files import remove_abandoned, write_atomically
from covid_bert.progress import Progress
from covid_bert.volumes import Volume, read
from covid_bert.volumes.study_files import study_files

logger = logging.getLogger(__name__)

INDEX_FILE = "studies.json"
LOCK_FILE = ".studies.lock"
SOME_FAILED = 10

# Gets the study and its progress; returns facts for the index, with the names of the written files under "files".
Work = Callable[[Volume, Progress], dict[str, Any]]
Entry = dict[str, Any]


@dataclass
class Index:
    """Which input became which result, in `INDEX_FILE` of the output folder.

    Results are named by pseudonymous identifiers; this file, which stays on this machine, is the only place that
    connects them with the names of the inputs.
    """

    folder: Path
    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Read the index of an output folder; an empty one where there is none."""
        path = folder / INDEX_FILE
        if not path.exists():
            return cls(folder)
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            if not (isinstance(entries, dict) and all(isinstance(entry, dict) for entry in entries.values())):
                raise ValueError("the index is not a table of studies")
            return cls(folder, entries)
        except (OSError, ValueError) as error:
            raise ParameterError(
                f"The index {INDEX_FILE} of the output folder is damaged.", "Remove it, or choose another --out."
            ) from error

    def finished(self, key: str, fingerprint: str) -> bool:
        """Whether an unchanged input was done with these settings and its files are as they were written."""
        entry = self.entries.get(key)
        if entry is None or entry.get("fingerprint") != fingerprint or "error" in entry:
            return False
        return self._intact(entry)

    def same_study(self, study: str, settings: str, owner: str | None = None) -> Entry | None:
        """The finished entry of the same image (of one owner) under another name; None if there is none."""
        for entry in self.entries.values():
            wanted = {"study": study, "settings": settings, "owner": owner}
            if all(entry.get(name) == value for name, value in wanted.items()) and self._intact(entry):
                return entry
        return None

    def record(self, key: str, entry: Entry) -> None:
        """Add an entry and write the index."""
        if "files" in entry:
            entry["written"] = self._state(entry["files"])
        self.entries[key] = entry
        write_atomically(self.folder / INDEX_FILE, json.dumps(self.entries, indent=1, sort_keys=True) + "\n")

    def _intact(self, entry: Entry) -> bool:
        return "files" in entry and entry.get("written") == self._state(entry["files"])

    def _state(self, names: list[str]) -> list[list[int]] | None:
        """Size and time of change of files; None if one is missing."""
        paths = [self.folder / name for name in names]
        if not all(path.exists() for path in paths):
            return None
        return [[path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


@dataclass(frozen=True)
class Batch:
    """A run over several inputs.

    Parameters
    ----------
    out
        Output folder.
    settings
        Everything that a result depends on beside the input; finished inputs with the same settings are skipped.
    series
        Series to take from folders with several.
    console
        Where progress and the final table go.
    other_folders
        Further folders that results are written to.
    owner_of
        Returns a hash of what else than the image the results of a study belong to: the same image of two owners is
        then two studies. None where the image is all.
    """

    out: Path
    settings: str
    series: str | None
    console: Console
    other_folders: tuple[Path, ...] = ()
    owner_of: Callable[[Volume], str] | None = None

    def run(self, inputs: list[Path], work: Work) -> tuple[int, list[Entry]]:
        """Do `work` for each input.

        Parameters
        ----------
        inputs
            Studies; relative paths are resolved, so that each has a name.
        work
            What to do.

        Returns
        -------
        exit_code
            0; the code of the error where a single input failed; `SOME_FAILED` where one of several did.
        entries
            What was done, in the order of the inputs.

        Raises
        ------
        ParameterError
            If the output folder lies inside an input, whose next reading would take results for slices.
        OutputError
            If the output folder cannot be used.
        BusyError
            If another run writes into it.
        CancelledError
            If the user interrupts; what is finished stays.
        """
        inputs = [path.resolve() for path in inputs]
        for path in inputs:
            folders = (self.out, *self.other_folders)
            if path.is_dir() and any(folder.resolve().is_relative_to(path) for folder in folders):
                raise ParameterError("Results would lie inside a study.", "Choose --out (and --dicom) outside of it.")
        with self._own_folder():
            index = Index.load(self.out)
            done: list[Entry] = []
            failures: list[CovidBertError] = []
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[stage]}"),
            )
            with Bars(*columns, TimeElapsedColumn(), console=self.console, transient=True) as bars:
                for number, path in enumerate(inputs, start=1):
                    title = f"{number}/{len(inputs)} {escape(path.name)}"
                    task = bars.add_task(title, total=1.0, stage="reading")
                    try:
                        done.append(self._one(path, index, work, _bar_progress(bars, task)))
                    except CancelledError:
                        raise
                    except CovidBertError as error:
                        failures.append(error)
                        done.append({"input": str(path), "error": error.to_json()})
                        self.console.print(f"[red]{escape(path.name)}: {escape(error.message)}[/red]", highlight=False)
                        self.console.print(f"    {escape(error.hint)}", highlight=False)
                    bars.remove_task(task)
        if len(inputs) > 1:
            self.console.print(_summary(done))
        if not failures:
            return 0, done
        return (failures[0].exit_code if len(inputs) == 1 else SOME_FAILED), done

    def _one(self, path: Path, index: Index, work: Work, progress: Progress) -> Entry:
        key = f"{path.resolve()}|{self.settings}"
        try:
            fingerprint = _fingerprint(path)
            if index.finished(key, fingerprint):
                self.console.print(f"[dim]{escape(path.name)}: done before, skipped[/dim]")
                return {**index.entries[key], "skipped": True}
            entry: Entry = {"input": str(path), "fingerprint": fingerprint, "settings": self.settings}
            try:
                with progress.stage("reading"):
                    volume = read(path, series=self.series)
                if self.owner_of is not None:
                    entry["owner"] = self.owner_of(volume)
                twin = index.same_study(volume.identifier, self.settings, entry.get("owner"))
                if twin is not None:
                    self.console.print(f"[dim]{escape(path.name)}: the same image as one done before[/dim]")
                    entry = {**twin, **entry}
                else:
                    entry |= {"study": volume.identifier, **work(volume, progress), "seconds": progress.seconds}
            except CovidBertError as error:
                index.record(key, {**entry, "error": error.to_json()})
                raise
            index.record(key, entry)
            return entry
        except CovidBertError:
            raise
        except OSError as error:
            raise OutputError(
                f"A file could not be read or written: {error.strerror or type(error).__name__}.",
                "Check that the disk has space and that the folders may be read and written.",
            ) from error
        except Exception as error:
            logger.debug("Unexpected error", exc_info=True)
            raise InternalError(
                f"An unexpected error ({type(error).__name__}): {error}",
                "Please report it, with the steps that lead to it and without patient data.",
                type=type(error).__name__,
            ) from error

    @contextmanager
    def _own_folder(self) -> Iterator[None]:
        """Make the output folder, keep other runs out of it, and clear what a killed run left."""
        lock = FileLock(self.out / LOCK_FILE)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise BusyError(
                "Another run writes into this output folder.", "Wait for it, or choose another --out."
            ) from error
        except OSError as error:
            raise OutputError(
                f"The output folder cannot be used: {error.strerror}.", "Choose another --out."
            ) from error
        try:
            remove_abandoned(self.out)
            yield
        except KeyboardInterrupt:
            raise CancelledError(
                "The run was cancelled.", "Finished studies are kept; give the command again to go on."
            ) from None
        finally:
            (self.out / LOCK_FILE).unlink(missing_ok=True)
            lock.release()


def _bar_progress(bars: Bars, task: TaskID) -> Progress:
    return Progress(lambda stage, fraction: bars.update(task, stage=stage, completed=fraction))


def _fingerprint(path: Path) -> str:
    """Hash of names, sizes and times of change of an input's files: cheap, and enough to notice a change."""
    digest = hashlib.sha256()
    for file in study_files(path):
        if file.is_file():
            status = file.stat()
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _summary(done: list[Entry]) -> Table:
    table = Table(title="Studies")
    for column in ("input", "study", "result"):
        table.add_column(column, overflow="fold")
    for entry in done:
        error = entry.get("error")
        outcome = f"[red]{error['code']}: {escape(error['message'])}[/red]" if error else entry.get("outcome", "done")
        table.add_row(escape(Path(entry["input"]).name), entry.get("study", ""), outcome)
    return table
