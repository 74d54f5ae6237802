"""`covid-bert weights list|fetch|import|publish|verify`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from covid_bert.errors import WeightsError
from covid_bert.progress import Progress
from covid_bert.weights import InstalledWeights, entries, list_versions, live, publish
from covid_bert.weights.store import list_names


def show(console: Console) -> None:
    """Print what is known and what is installed."""
    table = Table(
        title="Weights",
        caption="live: the version that is used, your own or shipped; without one the network is untrained",
    )
    table.add_column("name", no_wrap=True)
    for column in ("for", "live", "versions", "get with"):
        table.add_column(column, overflow="fold")
    known = {item.name: item for item in entries()}
    for name in [*known, *(name for name in list_names() if name not in known)]:
        current = live(name)
        entry = known.get(name)
        role = entry.role.value if entry else (current.manifest.role.value if current else "")
        table.add_row(
            name,
            f"{entry.system} {role}" if entry and entry.system != "any" else role,
            f"{current.version}{' (shipped)' if current.shipped else ''}" if current else "-",
            ", ".join(list_versions(name)) or "-",
            "fetch" if entry is not None and entry.url else "import",
        )
    console.print(table)


def fetch(name: str, console: Console) -> None:
    """Download and install weights of the registry."""
    from covid_bert.weights.fetching import fetch as fetch_weights

    with Bars(console=console, transient=True) as bars:
        _announce(fetch_weights(name, progress=_progress(bars, name)), console)


def import_file(path: Path, name: str | None, console: Console) -> None:
    """Install a checkpoint file."""
    from covid_bert.weights.importing import import_checkpoint

    with Bars(console=console, transient=True) as bars:
        _announce(import_checkpoint(path, name=name, progress=_progress(bars, path.name)), console)


def publish_version(name: str, version: str, console: Console) -> None:
    """Move the pointer of `name` to an installed version."""
    _announce(publish(name, version), console)


def verify(console: Console) -> None:
    """Check all installed weights.

    Raises
    ------
    WeightsError
        If anything is wrong.
    """
    from covid_bert.weights.verify import verify_installed

    with Bars(console=console, transient=True) as bars:
        findings = verify_installed(_progress(bars, "verify"))
    for finding in findings:
        console.print(f"[red]{finding.message}[/red]", highlight=False)
    if findings:
        raise WeightsError(
            f"{len(findings)} things are wrong with the installed weights.",
            "Import or fetch them again; install covid-bert again for shipped ones.",
        )
    console.print(f"{len(list_names())} sets of weights are installed or shipped, all intact.", highlight=False)


def _announce(installed: InstalledWeights, console: Console) -> None:
    current = live(installed.name)
    state = "live" if current == installed else "installed, not live"
    if installed.shipped:
        state = f"shipped, {state}"
    console.print(
        f"{installed.name} {installed.version} ({installed.manifest.architecture}) is {state}; "
        f"SHA-256 {installed.sha256[:16]}...",
        highlight=False,
    )


def _progress(bars: Bars, title: str) -> Progress:
    task = bars.add_task(title, total=1.0)
    return Progress(lambda stage, fraction: bars.update(task, description=f"{title}: {stage}", completed=fraction))
