"""`covid-bert weights list|fetch|import|publish|rollback|verify`."""

from __future__ import annotations

import contextlib
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from covid_bert.errors import WeightsError
from covid_bert.progress import Progress
from covid_bert.weights import InstalledWeights, entries, live, serviceable
from covid_bert.weights.states import VersionState, version_states
from covid_bert.weights.store import list_names

# Who did it, in the history.
COMMAND_LINE = "command line"


def show(console: Console) -> None:
    """Print what is known and what is installed."""
    table = Table(
        title="Weights",
        caption="live: the version that is used, your own or shipped; without one the network is untrained",
    )
    table.add_column("name", no_wrap=True)
    for column in ("for", "versions", "get with"):
        table.add_column(column, overflow="fold")
    known = {item.name: item for item in entries()}
    for name in [*known, *(name for name in list_names() if name not in known)]:
        states = version_states(name)
        entry = known.get(name)
        role = next((state.weights.manifest.role.value for state in states if state.weights is not None), "")
        if entry is not None:
            role = f"{entry.system} {entry.role.value}" if entry.system != "any" else entry.role.value
        table.add_row(
            name,
            role,
            ", ".join(map(_described, states)) or "-",
            "fetch" if entry is not None and entry.url else "import",
        )
    console.print(table)
    for name in list_names():
        with contextlib.suppress(WeightsError):
            for warning in serviceable(name).warnings:
                console.print(f"[red]{warning}[/red]", highlight=False)


def _described(version: VersionState) -> str:
    states = [version.state.value]
    if version.is_live and version.state.value != "live":
        states.append("live")
    if version.weights is not None and version.weights.shipped and "shipped" not in states:
        states.append("shipped")
    return f"{version.version} ({', '.join(states)})"


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


def publish_version(name: str, version: str, despite_gate: bool, console: Console) -> None:
    """Move the pointer of `name` to an installed version; root moves none in another user's data folder."""
    from covid_bert.commands.owner import refuse_root_at_home
    from covid_bert.retraining import versions
    from covid_bert.retraining.models import MODELS

    refuse_root_at_home()
    _announce(versions.publish_version(name, version, by=COMMAND_LINE, despite_gate=despite_gate), console)
    heads = [model.head for model in MODELS.values() if name in model.companions]
    if heads:
        console.print(
            f"Systems use the version of {name} that {' and '.join(heads)} was trained with: publish one of those to "
            "change what they use.",
            highlight=False,
        )


def roll_back(name: str, console: Console) -> None:
    """Move the pointer of `name` to what was live before; root moves none in another user's data folder."""
    from covid_bert.commands.owner import refuse_root_at_home
    from covid_bert.retraining.versions import roll_back_version

    refuse_root_at_home()
    _announce(roll_back_version(name, by=COMMAND_LINE), console)


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
