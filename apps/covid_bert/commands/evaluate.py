"""`covid-bert evaluate`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from covid_bert import RESEARCH_USE_ONLY
from covid_bert.commands.batch import SOME_FAILED
from covid_bert.errors import ParameterError
from covid_bert.evaluation.card_figures import slices_figure
from covid_bert.evaluation.card_tables import number, verdict
from covid_bert.evaluation.default_model import MEASUREMENT_FILE, PICTURES, measure
from covid_bert.evaluation.model_card import write_card
from covid_bert.evaluation.problems import failures, warnings_of
from covid_bert.weights.identity import demonstration_warnings


def evaluate_default(data: Path, out: Path, samples: Path, card: Path | None, console: Console) -> int:
    """Measure the default model on external studies, and write the model card if asked to.

    Parameters
    ----------
    data
        Folder with data sets as subfolders.
    out
        Gets measurement and pictures.
    samples
        The project's sample data.
    card
        Folder of the documentation, or None.
    console
        Where progress and results go.

    Returns
    -------
    int
        0, or `SOME_FAILED` where something failed.

    Raises
    ------
    ParameterError
        If the output folder lies inside the data.
    """
    if out.resolve().is_relative_to(data.resolve()):
        raise ParameterError("The output folder lies inside the data.", "Choose an --out outside of it.")

    def told(name: str, place: int, count: int) -> None:
        console.print(f"{place}/{count} {escape(name)}", highlight=False)

    measurement = measure(data, out, samples=samples, on_study=told)
    slices_figure(measurement, out / PICTURES / "slices.png")
    notes = [*demonstration_warnings(measurement.weights), RESEARCH_USE_ONLY]
    table = Table(title="Targets", caption=" ".join(notes))
    for column in ("target", "aim", "measured", ""):
        table.add_column(column, overflow="fold")
    for target in measurement.targets:
        table.add_row(target.statement, number(target.aim, 3), number(target.value, 3), verdict(target))
    console.print(table)
    for line in warnings_of(measurement):
        console.print(f"[yellow]{escape(line)}[/yellow]", highlight=False)
    for line in (failed := failures(measurement.studies)):
        console.print(f"[red]{escape(line)}[/red]", highlight=False)
    console.print(f"The measurement is {escape(str(out / MEASUREMENT_FILE))}.", highlight=False)
    if card is not None:
        console.print(f"The model card is {escape(str(write_card(out, card)))}.", highlight=False)
    return SOME_FAILED if failed else 0
