"""Files of a result: PDF, JSON and CSV. Their names hold no patient data, and no file is ever replaced."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from .i18n import tr as _
from .measurements import to_csv
from .pdf import write_pdf
from .pictures import Picture
from .problems import CovidBertError
from .result import Result

PDF, JSON, CSV = "pdf", "json", "csv"
_MOST_COPIES = 1000


class ReportError(CovidBertError):
    """The report cannot be saved."""

    default_code = "local-file"


def file_stem(result: Result) -> str:
    """Return the name of a report without its ending: from the study's hash and the time of the result alone."""
    study = re.sub(r"[^A-Za-z0-9]+", "", result.study.identifier)[:32] or "study"
    time = re.sub(r"[^0-9T]+", "", result.provenance.created.partition(".")[0])[:15]
    return f"covid-bert-{study}" + (f"-{time}" if time else "")


def save(result: Result, folder: Path, kinds: Iterable[str], pictures: list[Picture], private: Path) -> list[Path]:
    """Save a result.

    Parameters
    ----------
    result
        The result.
    folder
        Where to.
    kinds
        Any of ``pdf``, ``json`` and ``csv``.
    pictures
        Views for the PDF.
    private
        Folder in which the files are made before they are moved, whole, to `folder`.

    Returns
    -------
    The new files. A name that is taken gets a number.

    Raises
    ------
    ReportError
        If the folder is missing or a file cannot be written; then none of the new files is left.
    """
    if not folder.is_dir():
        raise ReportError(
            _("There is no folder {folder}.").format(folder=folder), _("Choose a folder that exists."), "missing-folder"
        )
    chosen = list(kinds)
    writers: dict[str, Callable[[Path], None]] = {
        PDF: lambda path: write_pdf(path, result, pictures),
        JSON: lambda path: _write_text(path, json.dumps(result.document, indent=2, ensure_ascii=False) + "\n"),
        CSV: lambda path: _write_text(path, to_csv(result)),
    }
    saved: list[Path] = []
    try:
        stem = _free_stem(folder, file_stem(result), chosen)
        for kind in chosen:
            made = private / f"report.{kind}"
            writers[kind](made)
            target = folder / f"{stem}.{kind}"
            with target.open("xb") as file:
                saved.append(target)
                with made.open("rb") as source:
                    shutil.copyfileobj(source, file)
            made.unlink()
    except OSError as error:
        for path in saved:
            path.unlink(missing_ok=True)
        raise ReportError(
            _("The report could not be saved in {folder}: {reason}.").format(
                folder=folder, reason=error.strerror or type(error).__name__
            ),
            _("Make space there, or choose a folder in which you may write."),
        ) from error
    return saved


def _free_stem(folder: Path, stem: str, kinds: list[str]) -> str:
    """Return a name under which no file of these kinds is there."""
    names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, _MOST_COPIES))
    free = next((name for name in names if not any((folder / f"{name}.{kind}").exists() for kind in kinds)), None)
    if free is None:
        raise ReportError(
            _("There are too many reports of this result in {folder}.").format(folder=folder),
            _("Choose another folder."),
        )
    return free


def _write_text(path: Path, text: str) -> None:
    # As bytes: the line ends of the CSV stay as they are on every system.
    path.write_bytes(text.encode("utf-8"))
