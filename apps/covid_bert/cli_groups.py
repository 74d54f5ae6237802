"""The groups of commands: `covid-bert weights`, `evaluate` and `token`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

weights_app = typer.Typer(
    help="List, fetch, import, compare, publish, roll back and verify weights.", no_args_is_help=True
)
evaluate_app = typer.Typer(help="Measure models on studies with known answers.", no_args_is_help=True)
token_app = typer.Typer(help="Who may use the server, and as what.", no_args_is_help=True)


WeightsOrModel = Annotated[str, typer.Argument(help="Name in the list, or lungs, covid_s1, covid_s2, covid_baseline.")]


class RoleName(str, Enum):
    """Roles of tokens; a test holds them equal to the server's."""

    READER = "reader"
    ANNOTATOR = "annotator"
    ADMIN = "admin"


def console():  # type: ignore[no-untyped-def]
    """The terminal."""
    from rich.console import Console

    return Console()


@weights_app.command("list")
def weights_list() -> None:
    """Show known and installed weights."""
    from covid_bert.commands.weights import show

    show(console())


@weights_app.command("fetch")
def weights_fetch(name: Annotated[str, typer.Argument(help="Name in the list.")]) -> None:
    """Download weights; a broken download is resumed, the checksum is checked, HTTPS_PROXY is honoured."""
    from covid_bert.commands.weights import fetch

    fetch(name, console())


@weights_app.command("import")
def weights_import(
    path: Annotated[Path, typer.Argument(help="Checkpoint of the authors (.pth), or safetensors.")],
    name: Annotated[str | None, typer.Option(help="Name to install it under.")] = None,
) -> None:
    """Install a checkpoint file: read safely, checked against its network, kept as safetensors."""
    from covid_bert.commands.weights import import_file

    import_file(path, name, console())


@weights_app.command("publish")
def weights_publish(
    name: WeightsOrModel,
    version: Annotated[str, typer.Argument(help="Installed version, for example v002.")],
    despite_gate: Annotated[
        bool,
        typer.Option(
            "--despite-gate", help="Also if the gate did not let it pass, or compared it with another version."
        ),
    ] = False,
) -> None:
    """Make an installed version the live one; a running server uses it from the next request on."""
    from covid_bert.commands.weights import publish_version

    publish_version(name, version, despite_gate, console())


@weights_app.command("rollback")
def weights_rollback(
    name: WeightsOrModel,
) -> None:
    """Go back to what was live before; to what came with the program if nothing was."""
    from covid_bert.commands.weights import roll_back

    roll_back(name, console())


@weights_app.command("compare")
def weights_compare(
    name: WeightsOrModel,
    first: Annotated[str, typer.Argument(help="Version, for example v002.")],
    second: Annotated[str, typer.Argument(help="Version to compare it with.")],
    reference: Annotated[
        bool, typer.Option("--reference", help="Judge both anew on the reference studies; takes minutes.")
    ] = False,
    studies: Annotated[
        Path | None,
        typer.Option(help="Judge both anew on the held-out patients of this folder, and on the reference studies."),
    ] = None,
    readers: Annotated[
        str, typer.Option(help="Whose labels rule in that folder: newest, majority or expert:NAME.")
    ] = "newest",
    device: Annotated[str, typer.Option(help="To judge with: auto, cpu or cuda.")] = "auto",
) -> None:
    """Show the recorded numbers of two versions side by side, or judge both anew."""
    from covid_bert.commands.weights_compare import compare

    compare(
        name,
        first,
        second,
        console=console(),
        reference=reference,
        studies=studies,
        readers=readers,
        device=device,
    )


@weights_app.command("verify")
def weights_verify() -> None:
    """Check checksums, tensors and pointers of everything that is installed."""
    from covid_bert.commands.weights import verify

    verify(console())


@evaluate_app.command("default")
def evaluate_default(
    data: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder with the external data sets as subfolders.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("evaluation"),
    samples: Annotated[Path, typer.Option(help="The project's sample data.")] = Path("sample-data"),
    card: Annotated[Path | None, typer.Option(help="Folder of the documentation: write the model card too.")] = None,
) -> None:
    """Measure the default model on external studies: one JSON file, pictures, and the model card."""
    from covid_bert.commands.evaluate import evaluate_default as run

    raise typer.Exit(run(data, out, samples, card, console()))


TokensFile = Annotated[Path | None, typer.Option(help="File with the tokens, if not in the data folder.")]


@token_app.command("add")
def token_add(
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    role: Annotated[RoleName, typer.Option(help="reader asks, annotator also writes labels, admin also removes.")],
    tokens_file: TokensFile = None,
) -> None:
    """Make a token and show it this once; a running server takes it at once."""
    from covid_bert.commands.token import add

    add(name, role.value, tokens_file, console())


@token_app.command("list")
def token_list(tokens_file: TokensFile = None) -> None:
    """Show the names and roles of all tokens."""
    from covid_bert.commands.token import show

    show(tokens_file, console())


@token_app.command("revoke")
def token_revoke(name: Annotated[str, typer.Argument(help="As in the list.")], tokens_file: TokensFile = None) -> None:
    """Make a token useless; a running server refuses it at once."""
    from covid_bert.commands.token import revoke

    revoke(name, tokens_file, console())
