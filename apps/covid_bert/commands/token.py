"""`covid-bert token add|list|revoke`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from covid_bert.server.access import Role
from covid_bert.server.audit import AuditLog, default_audit_folder
from covid_bert.server.tokens import TokenFile, default_tokens_file


def add(name: str, role: str, file: Path | None, console: Console) -> None:
    """Add a token and show it once.

    Raises
    ------
    ParameterError
        If the name is taken or is not one.
    OutputError
        If the file, or the audit log after it, cannot be written.
    """
    secret = _tokens(file).add(name, Role(role))
    # Alone on its line, so that a script can take it.
    console.print(secret, highlight=False, markup=False, soft_wrap=True)
    AuditLog(default_audit_folder()).append("token-added", facts={"added": name, "added_role": role})
    console.print(f"This is the token of {name}, {role}. Keep it now: it is not shown again.", highlight=False)


def show(file: Path | None, console: Console) -> None:
    """List names and roles.

    Raises
    ------
    ServerError
        If the file cannot be read.
    """
    table = Table(title="Tokens")
    for column in ("name", "role", "created"):
        table.add_column(column, overflow="fold")
    for token in _tokens(file).tokens():
        table.add_row(token.name, token.role.value, token.created)
    console.print(table)


def revoke(name: str, file: Path | None, console: Console) -> None:
    """Remove a token; a running server refuses it from then on.

    Raises
    ------
    NotFoundError
        If there is none of that name.
    OutputError
        If the file, or the audit log after it, cannot be written.
    """
    _tokens(file).revoke(name)
    AuditLog(default_audit_folder()).append("token-revoked", facts={"revoked": name})
    console.print(f"The token of {name} is revoked.", highlight=False)
    if not _tokens(file).tokens():
        console.print(
            "No token is left: a server that is started now lets every user of this computer do everything.",
            highlight=False,
        )


def _tokens(file: Path | None) -> TokenFile:
    return TokenFile(file or default_tokens_file())
