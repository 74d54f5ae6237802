"""The group of commands `covid-bert route`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covid_bert.cli_groups import console

route_app = typer.Typer(
    help="Beside the PACS: receive studies, classify them, store the results as DICOM.", no_args_is_help=True
)

Configuration = Annotated[Path, typer.Option(help="TOML file of the router; docs/pacs.md has one.")]
Names = Annotated[list[str] | None, typer.Argument(help="Studies as in the list; the first digits suffice.")]
AllAside = Annotated[bool, typer.Option("--all-aside", help="All that were set aside.")]


@route_app.command("run")
def route_run(configuration: Configuration) -> None:
    """Run the router until it is stopped."""
    from covid_bert.commands.route import run

    run(configuration, console())


@route_app.command("list")
def route_list(
    configuration: Configuration, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the studies that came in, and how each stands."""
    from covid_bert.commands.route import show

    show(configuration, console(), as_json=as_json)


@route_app.command("retry")
def route_retry(configuration: Configuration, names: Names = None, all_aside: AllAside = False) -> None:
    """Try studies again that were set aside or lack slices, with what is there."""
    from covid_bert.commands.route import retry

    retry(configuration, names or [], console(), all_aside=all_aside)


@route_app.command("drop")
def route_drop(configuration: Configuration, names: Names = None, all_aside: AllAside = False) -> None:
    """Remove studies from the queue and the disk."""
    from covid_bert.commands.route import drop

    drop(configuration, names or [], console(), all_aside=all_aside)


@route_app.command("health")
def route_health(configuration: Configuration) -> None:
    """Say how the router is, as JSON; exit code 9 if it does not run or something is wrong."""
    from covid_bert.commands.route import health

    raise typer.Exit(health(configuration))
