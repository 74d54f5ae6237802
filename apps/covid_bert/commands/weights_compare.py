"""`covid-bert weights compare`: the recorded numbers of two versions side by side, or both judged anew."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from covid_bert.errors import ParameterError
from covid_bert.retraining.models import MODELS, Model, head_of, model_of_head
from covid_bert.retraining.records import Comparison, TrainingRecord
from covid_bert.retraining.versions import training_record
from covid_bert.weights.store import installed
from covid_bert.weights.version_folder import InstalledWeights

Numbers = dict[tuple[str, str], str]


def compare(name: str, first: str, second: str, *, reference: bool, console: Console) -> None:
    """Print what is known of two versions.

    Parameters
    ----------
    name
        Of a model, or of weights.
    first, second
        Versions.
    reference
        Whether to judge both anew on the reference studies.
    console
        The terminal.

    Raises
    ------
    WeightsError
        If a version is not installed, or damaged.
    ParameterError
        If weights that are no model's head are to be judged.
    """
    weights = head_of(name)
    versions = installed(weights, first), installed(weights, second)
    records = [training_record(version) for version in versions]
    console.print(_table(versions, records))
    for version, record in zip(versions, records, strict=True):
        if record is not None:
            outcome = "passed" if record.gate.passed else "not passed"
            console.print(f"Gate of {version.version} ({outcome}): {record.gate.reason}", highlight=False)
    if reference:
        model = model_of_head(weights)
        if model is None:
            heads = ", ".join(model.head for model in MODELS.values())
            raise ParameterError(f"{weights} cannot be judged alone.", f"Compare versions of {heads}.")
        console.print(_judged(model, *versions))


def _table(versions: tuple[InstalledWeights, InstalledWeights], records: list[TrainingRecord | None]) -> Table:
    table = Table(title=versions[0].name)
    table.add_column("", overflow="fold")
    for version in versions:
        table.add_column(version.version, overflow="fold")
    facts = [_facts(version, record) for version, record in zip(versions, records, strict=True)]
    for fact in facts[0]:
        table.add_row(fact, facts[0][fact], facts[1][fact])
    numbers = [_numbers(version, record) for version, record in zip(versions, records, strict=True)]
    for measure, data in dict.fromkeys([*numbers[0], *numbers[1]]):
        table.add_row(f"{measure}, {data}", *(found.get((measure, data), "-") for found in numbers))
    return table


def _facts(version: InstalledWeights, record: TrainingRecord | None) -> dict[str, str]:
    manifest = version.manifest
    started = record.started_from.get("version", "-") if record is not None else "-"
    return {
        "made": manifest.created,
        "trained on": manifest.trained_on,
        "demonstration": "yes" if manifest.demonstration else "no",
        "started from": started,
        "studies": str(len(record.data)) if record is not None else "-",
        "gate": "-" if record is None else "passed" if record.gate.passed else "not passed",
    }


def _numbers(version: InstalledWeights, record: TrainingRecord | None) -> Numbers:
    if record is None:
        return {(item.measure, item.data): f"{item.value:.4g}" for item in version.manifest.metrics}
    found: Numbers = {}
    for item in record.metrics:
        interval = f" ({item.lower:.4g} to {item.upper:.4g})" if item.lower is not None else ""
        found[item.measure, item.data] = f"{item.value:.4g}{interval}, {item.patients} patients"
    return found


def _judged(model: Model, first: InstalledWeights, second: InstalledWeights) -> Table:
    table = Table(title="Judged anew, paired by patient")
    for column in ("measure", first.version, second.version, "difference (95 % interval)"):
        table.add_column(column, overflow="fold")
    for item in _comparisons(model, first, second):
        interval = "-" if item.lower is None else f"{item.lower:+.4f} to {item.upper:+.4f}"
        table.add_row(
            f"{item.measure}, {item.patients} {item.data}",
            f"{item.other:.4f}",
            f"{item.candidate:.4f}",
            f"{item.difference:+.4f} ({interval})",
        )
    return table


def _comparisons(model: Model, first: InstalledWeights, second: InstalledWeights) -> tuple[Comparison, ...]:
    from covid_bert.retraining.comparing import compare_versions
    from covid_bert.retraining.progress import RunProgress

    return compare_versions(model, first, second, (), RunProgress(), device="cpu").comparisons
