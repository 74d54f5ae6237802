"""`covid-bert doctor`: what of this installation and of the server works, and how to mend what does not."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console

from covid_bert.commands.doctor_check import FAULT, NOTE, OK, Check
from covid_bert.commands.doctor_installation import INSTALLATION_CHECKS
from covid_bert.commands.doctor_server import SERVER_CHECKS, data_folder_owner
from covid_bert.commands.doctor_training import trainings
from covid_bert.errors import CovidBertError
from covid_bert.server.configuration import PREFIX, ServerConfiguration, load


def doctor(console: Console, *, studies: Path | None, configuration: Path | None, as_json: bool) -> int:
    """Print one line for each check.

    Parameters
    ----------
    console
        The terminal.
    studies, configuration
        As for ``covid-bert serve``; without either, only what every server has is checked.
    as_json
        Whether to print ``{"checks": [{subject, state, finding, remedy}], "faults": N}`` instead.

    Returns
    -------
    int
        Exit code: 1 if there is a fault, else 0.
    """
    checks = examine(studies, configuration)
    faults = sum(check.state == FAULT for check in checks)
    if as_json:
        print(json.dumps({"checks": [dataclasses.asdict(check) for check in checks], "faults": faults}, indent=2))
        return int(faults > 0)
    styles = {OK: "green", NOTE: "yellow", FAULT: "red"}
    for check in checks:
        console.print(f"{check.state:<6}", style=styles[check.state], end="", highlight=False)
        remedy = f" {check.remedy}" if check.remedy else ""
        line = f"{check.subject}: {check.finding.rstrip('.')}{'.' if remedy else ''}{remedy}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return int(faults > 0)


def examine(studies: Path | None, configuration: Path | None) -> list[Check]:
    """Run all checks; one that breaks is itself a fault.

    Parameters
    ----------
    studies, configuration
        As for `doctor`.

    Returns
    -------
    list of Check
        Those of the server only if this user is the server's.
    """
    checks = [_guarded(check.__name__, check) for check in INSTALLATION_CHECKS]
    found: ServerConfiguration | None = None
    if studies is not None or configuration is not None or f"{PREFIX}STUDIES" in os.environ:
        try:
            found = load({"studies": studies}, file=configuration)
        except CovidBertError as error:
            checks.append(Check("configuration", FAULT, error.message, error.hint))
    owner = _guarded("user", data_folder_owner)
    # As another user, looking would leave files behind that the server may not use.
    return [*checks, owner, *(_on_server(found) if owner.state != FAULT else ())]


def _on_server(configuration: ServerConfiguration | None) -> Iterable[Check]:
    for check in (*SERVER_CHECKS, trainings):
        yield _guarded(check.__name__, lambda check=check: check(configuration))  # type: ignore[misc]


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    subject = name.strip("_").replace("_", " ")
    try:
        return check()
    except CovidBertError as error:
        return Check(subject, FAULT, error.message, error.hint)
    except PermissionError as error:
        name = Path(error.filename or "a file").name
        return Check(subject, FAULT, f"{name} may not be read", "Run this as the user that the server runs as.")
    except OSError as error:
        name = Path(error.filename or "a file").name
        remedy = "Mend that, or set COVID_BERT_HOME to the server's data folder."
        return Check(subject, FAULT, f"{name} cannot be used: {error.strerror}", remedy)
    except Exception as error:
        return Check(subject, FAULT, f"{type(error).__name__}: {error}", "Install covid-bert again.")
