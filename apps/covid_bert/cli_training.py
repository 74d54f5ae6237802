"""The commands that train: `covid-bert train default`, and one for each model that learns from labels."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from covid_bert.cli_groups import console

train_app = typer.Typer(help="Train networks.", no_args_is_help=True)

# By name of the trainer; a test holds them equal to those of the server.
MODELS = {
    "lungs": "Train the lung network on corrected masks, from the live version on.",
    "covid_s1": "Train S1 on study labels.",
    "covid_s2": "Train S2 on study labels.",
    "covid_baseline": "Train the baseline on study labels.",
}


class TrainingTarget(str, Enum):
    """Default networks that can be trained."""

    LUNGS = "lungs"
    LESIONS = "lesions"
    CLASSIFIERS = "classifiers"


@train_app.command("default")
def train_default(
    data: Annotated[list[Path], typer.Option(help="Folder of training material; may be given several times.")] = [  # noqa: B006
        Path("sample-data")
    ],
    only: Annotated[TrainingTarget | None, typer.Option(help="One network instead of all.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda, for lungs and lesions.")] = "cpu",
) -> None:
    """Train the default networks again; they become the live ones."""
    from covid_bert.commands.train import train_default as run

    run(data, only=only.value if only else None, seed=seed, device=device, console=console())


def _add(model: str, description: str) -> None:
    @train_app.command(model, help=f"{description} The version goes live if the gate lets it.")
    def train_model(
        studies: Annotated[Path, typer.Option(help="Folder with the studies and their labels, as the server has it.")],
        run: Annotated[
            Path | None, typer.Option(help="Folder of the run: taken up again if there is one in it, else made.")
        ] = None,
        readers: Annotated[str | None, typer.Option(help="newest, majority or expert:NAME.")] = None,
        epochs: Annotated[int | None, typer.Option(help="At most (20).")] = None,
        patience: Annotated[int | None, typer.Option(help="Epochs without gain before it ends (5).")] = None,
        seed: Annotated[int | None, typer.Option(help="Of everything drawn (0).")] = None,
        device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
        precision: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16.")] = None,
        accumulation: Annotated[int | None, typer.Option(help="Mini-batches behind one step (1).")] = None,
        scope: Annotated[str | None, typer.Option(help="Of classifiers: auto, whole or aggregator.")] = None,
        publish: Annotated[
            bool | None, typer.Option("--publish/--candidate", help="Whether it may go live (it may).")
        ] = None,
    ) -> None:
        from covid_bert.commands.retrain import retrain

        given = {
            **{"readers": readers, "epochs": epochs, "patience": patience, "seed": seed, "device": device},
            **{"precision": precision, "accumulation": accumulation, "scope": scope, "publish": publish},
        }
        known = {name: value for name, value in given.items() if value is not None}
        retrain(model, studies, run, known, console())


for _model, _description in MODELS.items():
    _add(_model, _description)
