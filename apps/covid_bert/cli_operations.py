"""The commands for whoever runs a server, or passes studies on: `doctor`, `audit`, `labels`, `backup` and so on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covid_bert.cli_groups import console
from covid_bert.cli_route import route_app

operations_app = typer.Typer()
audit_app = typer.Typer(help="The record of who changed what on the server.", no_args_is_help=True)
operations_app.add_typer(audit_app, name="audit")
labels_app = typer.Typer(
    help="The labels of several readers: compare them, carry them elsewhere.", no_args_is_help=True
)
operations_app.add_typer(labels_app, name="labels")
operations_app.add_typer(route_app, name="route")

StudiesOption = Annotated[Path, typer.Option("--studies", help="Folder with the studies, as the server has it.")]
Studies = Annotated[Path, typer.Argument(help="Folder with the studies, as the server has it.")]


@operations_app.command()
def doctor(
    studies: Annotated[Path | None, typer.Option(help="Also check what the server needs for this folder.")] = None,
    configuration: Annotated[Path | None, typer.Option(help="Also check the server with this TOML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this installation and say how to mend what does not work; exit code 1 if there is a fault."""
    from covid_bert.commands.doctor import doctor as run

    raise typer.Exit(run(console(), studies=studies, configuration=configuration, as_json=as_json))


@audit_app.command("verify")
def audit_verify() -> None:
    """Check that every line of the audit log is there and unchanged; exit code 1 if not, or if there is none."""
    from covid_bert.commands.audit import verify

    raise typer.Exit(verify(console()))


@audit_app.command("name")
def audit_name(study: Annotated[str, typer.Argument(help="Id of a study.")]) -> None:
    """Print the name that a study has in the audit log, to look for its lines."""
    from covid_bert.commands.audit import name_of

    name_of(study, console())


@operations_app.command()
def backup(studies: Studies, target: Annotated[Path, typer.Argument(help="New file, for example labels.tar.")]) -> None:
    """Copy all labels, their versions and the index into one file, also while the server runs; no images, no tokens."""
    from covid_bert.commands.backup import backup as run

    run(studies, target, console())


@operations_app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="File of `covid-bert backup`.")],
    studies: Studies,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of labels that are there.")] = False,
) -> None:
    """Bring labels, versions and index back; what was there is kept aside. Stop the server before."""
    from covid_bert.commands.backup import restore as run

    run(source, studies, replace=replace, console=console())


@operations_app.command()
def deidentify(
    source: Annotated[Path, typer.Argument(help="Folder or zip file of DICOM studies; it is not changed.")],
    target: Annotated[Path, typer.Argument(help="Folder for the export; nothing in it is overwritten.")],
    project: Annotated[str, typer.Option(help="Name of the research project, which pseudonyms belong to.")],
    keep_intervals: Annotated[
        bool, typer.Option("--keep-intervals", help="Keep dates, moved by as many days for all studies of a person.")
    ] = False,
    accept_burned_in: Annotated[
        bool,
        typer.Option("--accept-burned-in", help="Also derived and secondary images: you looked, no text is in them."),
    ] = False,
) -> None:
    """Export CT and segmentations for research without identity (DICOM PS3.15 Basic Profile), and write a report."""
    from covid_bert.commands.deidentify import deidentify as run

    raise typer.Exit(
        run(source, target, project, console(), keep_intervals=keep_intervals, accept_burned_in=accept_burned_in)
    )


@labels_app.command("agreement")
def labels_agreement(
    studies: StudiesOption,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how far readers agree: Dice of their masks, kappa of their classes, with intervals over patients."""
    from covid_bert.commands.labels import agreement as run

    run(studies, console(), as_json=as_json)


@labels_app.command("export")
def labels_export(
    studies: StudiesOption, target: Annotated[Path, typer.Argument(help="New file, for example labels.zip.")]
) -> None:
    """Write all labels with their history into one file; no images, and no names of studies."""
    from covid_bert.commands.labels import export as run

    run(studies, target, console())


@labels_app.command("import")
def labels_import(
    studies: StudiesOption,
    source: Annotated[Path, typer.Argument(help="File of `covid-bert labels export`.")],
    known_only: Annotated[
        bool, typer.Option("--known-only", help="Leave out labels of images that are not in the folder.")
    ] = False,
) -> None:
    """Merge a label set into that of a folder with the same images; nothing that is there is lost."""
    from covid_bert.commands.labels import bring_in as run

    run(source, studies, console(), known_only=known_only)


@labels_app.command("split")
def labels_split(
    studies: StudiesOption,
    training: Annotated[int | None, typer.Option(min=1, max=98, help="Share in percent, for new patients.")] = None,
    validation: Annotated[int | None, typer.Option(min=1, max=98, help="Share in percent, for new patients.")] = None,
) -> None:
    """Show the frozen split, or change the shares by which those who come next are drawn; nobody is moved."""
    from covid_bert.commands.labels import split as run

    run(studies, console(), training=training, validation=validation)
