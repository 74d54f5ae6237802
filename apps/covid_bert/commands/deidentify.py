"""`covid-bert deidentify`."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from covid_bert.commands.batch import SOME_FAILED
from covid_bert.deidentification import Export, Options, open_project
from covid_bert.deidentification.instance import METHOD
from covid_bert.deidentification.sources import find
from covid_bert.errors import (
    CancelledError,
    CovidBertError,
    NotFoundError,
    OutputError,
    ParameterError,
    UnreadableFileError,
)
from covid_bert.progress import Progress
from covid_bert.volumes.archive import unpacked

_MOST_REPORTS = 10_000


def deidentify(
    source: Path, target: Path, project: str, console: Console, *, keep_intervals: bool, accept_burned_in: bool
) -> int:
    """Write the DICOM studies of a folder or zip file without identity, and a report.

    Parameters
    ----------
    source
        Folder or zip file; it is not changed.
    target
        Folder for the export; what is there stays as it is.
    project
        Name of the project that the pseudonyms belong to.
    console
        Where the outcome goes.
    keep_intervals, accept_burned_in
        See `Options`.

    Returns
    -------
    int
        0; the code of the error where the only study failed; `SOME_FAILED` where one of several did.

    Raises
    ------
    NotFoundError, UnreadableFileError, ParameterError
        If the source cannot be used, or one folder lies in the other.
    CovidBertError
        As `open_project` and `Export.own_folder`.
    """
    _check(source, target)
    options = Options(keep_intervals, accept_burned_in)
    export = Export(target, open_project(project), options)
    failures: list[CovidBertError] = []
    done: list[dict[str, Any]] = []
    with nullcontext(source) if source.is_dir() else unpacked(source) as folder, export.own_folder():
        found = find(folder)
        for study in found.studies:
            try:
                entry = export.study(study, found, Progress())
                _say(entry, console)
                done.append(entry)
            except CancelledError:
                raise
            except CovidBertError as error:
                failures.append(error)
                # The message may name a file after the patient: the report gets the kind of error alone.
                done.append({"refused": error.code, "files": study.count})
                console.print(f"[red]A study of {study.count} file(s): {escape(error.message)}[/red]", highlight=False)
                console.print(f"    {escape(error.hint)}", highlight=False)
        for damage in found.damage_elsewhere:
            failures.append(damage)
            done.append({"refused": damage.code, "files": 0})
            console.print(f"[red]{escape(damage.message)}[/red]", highlight=False)
        report = _write_report(target, project, options, done, found.others)
    console.print(
        f"The export is in {escape(str(target))}, the report in {report.name}. Look at the pictures before you pass "
        "them on: only attributes were cleaned.",
        highlight=False,
    )
    if not failures:
        return 0
    return failures[0].exit_code if len(done) == 1 else SOME_FAILED


def _check(source: Path, target: Path) -> None:
    if not source.exists():
        raise NotFoundError(f"'{source.name}' does not exist.", "Give a folder or zip file of DICOM files.")
    if not source.is_dir() and source.suffix.lower() != ".zip":
        raise UnreadableFileError(
            f"'{source.name}' is neither a folder nor a zip file.", "Give the folder of the DICOM files."
        )
    inner, outer = target.resolve(), source.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ParameterError("Source and target lie in one another.", "Choose a target outside of the source.")


def _say(entry: dict[str, Any], console: Console) -> None:
    files = sum(series["files"] for series in entry["series"])
    console.print(f"{entry['patient']}/{entry['study']}: {len(entry['series'])} series, {files} files", highlight=False)
    notes = [f"{left['files']} file(s) left out: {'; '.join(left['reasons'])}" for left in entry["left_out"]]
    notes += [f"{series['series']}: {warning}" for series in entry["series"] for warning in series["face_warnings"]]
    if not entry["patient_identified"]:
        notes.append("No patient identifier: another study of the same person gets another pseudonym.")
    for note in notes:
        console.print(f"    [yellow]{escape(note)}[/yellow]", highlight=False)


def _write_report(target: Path, project: str, options: Options, studies: list[dict[str, Any]], others: int) -> Path:
    """Write what was done, without identity, under the next free number."""
    content = {
        "method": METHOD,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "project": project,
        "keep_intervals": options.keep_intervals,
        "accept_burned_in": options.accept_burned_in,
        "not_dicom": others,
        "studies": studies,
    }
    for number in range(1, _MOST_REPORTS):
        path = target / f"report-{number:04d}.json"
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.write("\n")
            return path
        except FileExistsError:
            continue
    raise OutputError("The folder holds thousands of reports.", "Choose another folder.")
