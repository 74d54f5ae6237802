"""Many studies in one call: progress, failures collected, finished ones skipped, nothing half written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from covid_bert.errors import CovidBertError, ParameterError
from covid_bert.files import write_atomically
from covid_bert.progress import Progress
from covid_bert.volumes import Volume, read

INDEX_FILE = "studies.json"
SOME_FAILED = 10

# Gets the study and its progress; returns facts for the index, with the names of the written files under "files".
Work = Callable[[Volume, Progress], dict[str, Any]]


@dataclass
class Index:
    """Which input became which result, in `INDEX_FILE` of the output folder.

    Results are named by pseudonymous identifiers; this file, which stays on this machine, is the only place that
    connects them with the names of the inputs.
    """

    folder: Path
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Read the index of an output folder; an empty one where there is none."""
        path = folder / INDEX_FILE
        if not path.exists():
            return cls(folder)
        try:
            return cls(folder, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ParameterError(
                f"The index {INDEX_FILE} of the output folder is damaged.", "Remove it, or choose another --out."
            ) from error

    def finished(self, key: str, fingerprint: str) -> bool:
        """Whether an unchanged input was done with these settings and its files are still there."""
        entry = self.entries.get(key)
        if entry is None or entry.get("fingerprint") != fingerprint or "error" in entry:
            return False
        return all((self.folder / name).exists() for name in entry.get("files", []))

    def record(self, key: str, entry: dict[str, Any]) -> None:
        """Add an entry and write the index."""
        self.entries[key] = entry
        write_atomically(self.folder / INDEX_FILE, json.dumps(self.entries, indent=1, sort_keys=True) + "\n")


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
    """

    out: Path
    settings: str
    series: str | None
    console: Console

    def run(self, inputs: list[Path], work: Work) -> tuple[int, list[dict[str, Any]]]:
        """Do `work` for each input.

        Returns
        -------
        exit_code
            0; the code of the error where a single input failed; `SOME_FAILED` where one of several did.
        entries
            What was done, in the order of the inputs.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ParameterError(
                f"The output folder cannot be made: {error.strerror}.", "Choose another --out."
            ) from error
        index = Index.load(self.out)
        done: list[dict[str, Any]] = []
        failures: list[CovidBertError] = []
        with Bars(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[stage]}"),
            TimeElapsedColumn(), console=self.console, transient=True,
        ) as bars:  # fmt: skip
            for number, path in enumerate(inputs, start=1):
                task = bars.add_task(f"{number}/{len(inputs)} {path.name}", total=1.0, stage="reading")
                key = f"{path.resolve()}|{self.settings}"
                fingerprint = _fingerprint(path)
                if index.finished(key, fingerprint):
                    done.append({**index.entries[key], "skipped": True})
                    self.console.print(f"[dim]{path.name}: done before, skipped[/dim]")
                    bars.remove_task(task)
                    continue
                progress = Progress(
                    lambda stage, fraction, task=task: bars.update(task, stage=stage, completed=fraction)  # type: ignore[misc]
                )
                entry: dict[str, Any] = {"input": str(path), "fingerprint": fingerprint, "settings": self.settings}
                try:
                    with progress.stage("reading"):
                        volume = read(path, series=self.series)
                    entry |= {"study": volume.identifier, **work(volume, progress), "seconds": progress.seconds}
                except CovidBertError as error:
                    entry["error"] = error.to_json()
                    failures.append(error)
                    self.console.print(f"[red]{path.name}: {error.message}[/red]\n    {error.hint}", highlight=False)
                index.record(key, entry)
                done.append(entry)
                bars.remove_task(task)
        if len(inputs) > 1:
            self.console.print(_summary(done))
        if not failures:
            return 0, done
        return (failures[0].exit_code if len(inputs) == 1 else SOME_FAILED), done


def _fingerprint(path: Path) -> str:
    """Hash of names, sizes and times of change of an input's files: cheap, and enough to notice a change."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            status = file.stat()
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _summary(done: list[dict[str, Any]]) -> Table:
    table = Table(title="Studies")
    for column in ("input", "study", "result"):
        table.add_column(column)
    for entry in done:
        error = entry.get("error")
        outcome = f"[red]{error['code']}: {error['message']}[/red]" if error else entry.get("outcome", "done")
        table.add_row(Path(entry["input"]).name, entry.get("study", ""), outcome)
    return table
