"""`covid-bert backup` and `covid-bert restore`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from covid_bert.server import backup as backups
from covid_bert.server import restore as restoring


def backup(studies: Path, target: Path, console: Console) -> None:
    """Copy labels, versions and index into one file. See `covid_bert.server.backup.back_up` for the errors."""
    manifest = backups.back_up(studies, target)
    size = sum(file.size for file in manifest.files.values())
    console.print(f"{target.name}: {len(manifest.files)} files, {size} bytes.", highlight=False, soft_wrap=True)


def restore(source: Path, studies: Path, *, replace: bool, console: Console) -> None:
    """Bring them back. See `covid_bert.server.restore.restore` for the errors."""
    manifest, aside = restoring.restore(source, studies, replace=replace)
    console.print(f"{len(manifest.files)} files of {manifest.created} are back.", highlight=False, soft_wrap=True)
    if aside is not None:
        console.print(f"What was there is in {aside.name}.", highlight=False, soft_wrap=True)
