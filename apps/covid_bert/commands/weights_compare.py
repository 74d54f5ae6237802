"""`covid-bert weights compare`: the recorded numbers of two versions side by side, or both judged anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from covid_bert.commands.owner import refuse_root_at_home, refuse_root_in
from covid_bert.errors import ParameterError
from covid_bert.retraining.cases import LabelledStudy, Part
from covid_bert.retraining.derived import label_cache
from covid_bert.retraining.models import MODELS, Model, head_of, model_of_head
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.readers import NEWEST
from covid_bert.retraining.records import Comparison, TrainingRecord
from covid_bert.retraining.versions import training_record
from covid_bert.weights.store import installed
from covid_bert.weights.version_folder import InstalledWeights

if TYPE_CHECKING:
    from covid_bert.retraining.gate import Judgement

Numbers = dict[tuple[str, str], str]


def compare(
    name: str,
    first: str,
    second: str,
    *,
    console: Console,
    reference: bool = False,
    studies: Path | None = None,
    readers: str = NEWEST,
    device: str = "auto",
) -> None:
    """Print what is known of two versions.

    Parameters
    ----------
    name
        Of a model, or of weights.
    first, second
        Versions.
    console
        The terminal.
    reference
        Whether to judge both anew on the reference studies.
    studies
        Folder with studies and labels, on whose held-out patients to judge both anew, and on the reference studies;
        the patients are drawn as for a training, and stay where they were drawn.
    readers
        Whose labels rule there; see `covid_bert.datastore.label_set.read_label_set`.
    device
        See `covid_bert.networks.devices.choose_device`.

    Raises
    ------
    WeightsError
        If a version is not installed, or damaged.
    ParameterError
        If weights that are no model's head are to be judged, the rule for readers is none, there is no such device, or
        this is root where a server of another user works.
    CovidBertError
        If the labels cannot be read; see `covid_bert.datastore.label_set.read_label_set`.
    """
    weights = head_of(name)
    versions = installed(weights, first), installed(weights, second)
    records = [training_record(version) for version in versions]
    console.print(_table(versions, records))
    for version, record in zip(versions, records, strict=True):
        if record is not None:
            outcome = "passed" if record.gate.passed else "not passed"
            console.print(f"Gate of {version.version} ({outcome}): {record.gate.reason}", highlight=False)
    if reference or studies is not None:
        from covid_bert.retraining.comparing import compare_versions

        model = model_of_head(weights)
        if model is None:
            heads = ", ".join(model.head for model in MODELS.values())
            raise ParameterError(f"{weights} cannot be judged alone.", f"Compare versions of {heads}.")
        refuse_root_at_home()
        with Bars(console=console, transient=True) as bars:
            progress = _progress(bars)
            held = () if studies is None else _held_out(model, studies, readers, progress)
            judgement = compare_versions(model, *versions, held, progress, device=device)
        console.print(_judged(versions, judgement))
        for sentence in _remarks(model, judgement, progress, asked=studies is not None):
            console.print(sentence, highlight=False, markup=False)


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


def _held_out(model: Model, studies: Path, readers: str, progress: RunProgress) -> tuple[LabelledStudy, ...]:
    """Labelled studies of patients that no training learns from; labels that cannot be used are named in `progress`."""
    from covid_bert.datastore.label_set import read_label_set

    refuse_root_in(studies)
    of_lungs = model.system is None
    # No mask that readers have drawn is looked at where classifiers are judged.
    labels = read_label_set(
        studies, readers, masks=of_lungs, classes=not of_lungs, cache=label_cache(studies), progress=progress.inner()
    )
    for left in labels.left_out:
        progress.leave_out(left.identifier, left.reason)
    for note in labels.notes:
        progress.note(note)
    return labels.of(Part.VALIDATION) + labels.of(Part.TEST)


def _progress(bars: Bars) -> RunProgress:
    task = bars.add_task("judging", total=1.0)
    return RunProgress(lambda state: bars.update(task, description=state.stage, completed=state.fraction))


def _judged(versions: tuple[InstalledWeights, InstalledWeights], judgement: Judgement) -> Table:
    first, second = (weights.version for weights in versions)
    table = Table(title="Judged anew, paired by patient", caption="difference with its 95 % interval over patients")
    for column in ("measure", "on", first, second, f"{second} minus {first}", ""):
        table.add_column(column, overflow="fold")
    for item in judgement.comparisons:
        interval = "-" if item.lower is None else f"{item.lower:+.4f} to {item.upper:+.4f}"
        table.add_row(
            item.measure,
            f"{item.patients} {item.data}",
            f"{item.other:.4f}",
            f"{item.candidate:.4f}",
            f"{item.difference:+.4f} ({interval})",
            _in_words(item, second),
        )
    return table


def _in_words(item: Comparison, version: str) -> str:
    if item.lower is None or item.upper is None:
        return "too few to say"
    if item.lower > 0:
        return f"{version} is better"
    if item.upper < 0:
        return f"{version} is worse"
    return "no sure difference"


def _remarks(model: Model, judgement: Judgement, progress: RunProgress, *, asked: bool) -> Iterator[str]:
    """What the table does not say; `asked` if held-out patients were to be judged on."""
    from covid_bert.retraining.gate import rule_for
    from covid_bert.retraining.measuring import HELD_OUT

    if asked:
        named = zip(judgement.counts, rule_for(model.system).groups, strict=True)
        groups = " and ".join(f"{count} {group}" for count, group in named)
        yield f"Held out, and usable: {groups}."
        if not any(item.data == HELD_OUT for item in judgement.comparisons):
            yield "These are too few: the versions were compared on the reference studies only."
    agreement = judgement.agreement
    if agreement is not None:
        limits = "" if agreement.lower is None else f" ({agreement.lower:.3f} to {agreement.upper:.3f})"
        yield f"Masks of the two versions agree with a mean Dice of {agreement.value:.3f}{limits}."
    yield from progress.state.notes
    for left in progress.state.left_out:
        yield f"left out: {left.identifier}: {left.reason}"
