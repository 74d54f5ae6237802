"""`covid-bert backup` and `covid-bert restore`."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from covid_bert.commands.owner import refuse_root_for
from covid_bert.server import backup as backups
from covid_bert.server import restore as restoring
from covid_bert.server.launch import SERVER_LOCK_NAME


def backup(studies: Path, target: Path, console: Console) -> None:
    """Copy labels, versions and index into one file. See `covid_bert.server.backup.back_up` for the errors."""
    refuse_root_for(studies / SERVER_LOCK_NAME, studies)
    manifest = backups.back_up(studies, target)
    size = sum(file.size for file in manifest.files.values())
    console.print(f"{target.name}: {len(manifest.files)} files, {size} bytes.", highlight=False, soft_wrap=True)


def restore(source: Path, studies: Path, *, replace: bool, console: Console) -> None:
    """Bring them back. See `covid_bert.server.restore.restore` for the errors."""
    refuse_root_for(studies / SERVER_LOCK_NAME, studies)
    # As what the server writes, the files are for its user only.
    before = os.umask(0o077)
    try:
        manifest, aside = restoring.restore(source, studies, replace=replace)
    finally:
        os.umask(before)
    console.print(f"{len(manifest.files)} files of {manifest.created} are back.", highlight=False, soft_wrap=True)
    if aside is not None:
        console.print(f"What was there is in {aside.name}.", highlight=False, soft_wrap=True)
