"""`covid-bert token add|list|revoke`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from covid_bert.commands.owner import refuse_root_for
from covid_bert.server.access import Role
from covid_bert.server.audit import AuditLog, default_audit_folder
from covid_bert.server.tokens import TokenFile, default_tokens_file
from covid_bert.weights.location import home


def add(name: str, role: str, file: Path | None, console: Console) -> None:
    """Add a token and show it once.

    Raises
    ------
    ParameterError
        If the name is taken or is not one.
    OutputError
        If the audit log or the file cannot be written; there is no new token then.
    ServerError
        If the key of the audit log is lost; there is no new token then.
    """
    tokens = _own_tokens(file)
    with AuditLog(default_audit_folder()).change("token-added", facts={"added": name, "added_role": role}):
        secret = tokens.add(name, Role(role))
    # Alone on its line, so that a script can take it.
    console.print(secret, highlight=False, markup=False, soft_wrap=True)
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
    known = _tokens(file).tokens()
    if not known:
        console.print("There is no token. `covid-bert token add NAME --role ROLE` makes one.", highlight=False)
        return
    for token in known:
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
    _own_tokens(file).revoke(name)
    console.print(f"The token of {name} is revoked.", highlight=False)
    if not _tokens(file).tokens():
        console.print(
            "No token is left: a server that is started now lets every user of this computer do everything.",
            highlight=False,
        )
    # Last: a token that has become known must go also where the log cannot be written.
    AuditLog(default_audit_folder()).append("token-revoked", facts={"revoked": name})


def _own_tokens(file: Path | None) -> TokenFile:
    """The tokens, for a change."""
    tokens = _tokens(file)
    refuse_root_for(tokens.path, home())
    return tokens


def _tokens(file: Path | None) -> TokenFile:
    return TokenFile(file or default_tokens_file())
