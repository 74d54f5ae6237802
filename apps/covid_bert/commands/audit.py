"""`covid-bert audit verify|name`."""

from __future__ import annotations

from rich.console import Console

from covid_bert.server.audit import AuditKey, default_audit_folder
from covid_bert.server.audit_check import verify_audit_log
from covid_bert.weights.location import home

_SHOWN = 20


def verify(console: Console) -> int:
    """Check every line of the audit log and print what is wrong.

    Returns
    -------
    int
        Exit code: 1 if anything is wrong or there is no log, else 0.

    Raises
    ------
    ServerError
        If the key of the log is lost.
    """
    state = verify_audit_log(default_audit_folder())
    for finding in state.findings[:_SHOWN]:
        console.print(f"{finding.place}: {finding.message}", highlight=False, markup=False, soft_wrap=True)
    if state.findings:
        faults = "1 fault" if len(state.findings) == 1 else f"{len(state.findings)} faults"
        console.print(
            f"{faults} in {state.lines} lines. Keep the folder, and compare it with a copy.",
            highlight=False,
            soft_wrap=True,
        )
        return 1
    if state.lines == 0:
        console.print(
            f"There is no audit log in {home()}. Run this as the server's user and with its COVID_BERT_HOME.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        return 1
    console.print(f"All {state.lines} lines are there and unchanged.", highlight=False)
    return 0


def name_of(study: str, console: Console) -> None:
    """Print the name that a study has in the audit log.

    Raises
    ------
    ServerError
        If there is no log yet, or its key is lost.
    """
    console.print(AuditKey(default_audit_folder()).name(study), highlight=False, markup=False, soft_wrap=True)
