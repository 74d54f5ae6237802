"""Where runs lie that people keep in folders of their own: these too are found when a study is removed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from covid_bert.errors import OutputError
from covid_bert.files import write_private
from covid_bert.retraining.derived import retraining_folder, retraining_folders
from covid_bert.retraining.run_folder import REQUEST_FILE, RunFolder

_NOTES, _RUNS = "elsewhere", "runs"


def note_elsewhere(studies: Path, run: RunFolder) -> None:
    """Note where a run lies, also again: it may have been moved, or killed before it was noted.

    Parameters
    ----------
    studies
        Folder with the studies.
    run
        In a folder of its own.

    Raises
    ------
    OutputError
        If that cannot be written.
    """
    note = retraining_folder(studies) / _NOTES / run.request().id
    try:
        for folder in (note.parent.parent, note.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(note, str(run.path.resolve()))
    except OSError as error:
        raise OutputError(
            f"It cannot be noted where the training lies: {error.strerror or error}.",
            "Free disk space, or mend the permissions of the program's data folder.",
        ) from error


def runs_elsewhere(own: Path) -> list[RunFolder]:
    """The runs that were noted; notes of those that are gone are removed.

    Parameters
    ----------
    own
        What `covid_bert.retraining.derived.retraining_folder` returns for the studies.
    """
    found = []
    for note in (own / _NOTES).glob("[!.]*"):
        with contextlib.suppress(OSError, ValueError):
            run = RunFolder(Path(note.read_text(encoding="utf-8")))
            if (run.path / REQUEST_FILE).exists():
                found.append(run)
            # Not where its disk is away.
            elif run.path.parent.is_dir():
                note.unlink()
    return found


def is_of_others(run: RunFolder, studies: Path) -> bool:
    """Return whether a run is known to be of another folder of studies.

    Parameters
    ----------
    run
        Wherever it lies.
    studies
        Folder with the studies.
    """
    own, request, place = retraining_folder(studies), run.request(), run.path.resolve().parent
    if place == (own / _RUNS).resolve() or (own / _NOTES / request.id).exists():
        return False
    others = (folder for folder in retraining_folders() if folder != own)
    # Runs of a server never lie elsewhere.
    return request.origin == "server" or any(
        place == (folder / _RUNS).resolve() or (folder / _NOTES / request.id).exists() for folder in others
    )
