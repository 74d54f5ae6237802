"""`covid-bert labels agreement|export|import|split`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from covid_bert.commands.owner import refuse_root_in
from covid_bert.datastore.label_agreement import read_agreement
from covid_bert.datastore.label_export import export_labels
from covid_bert.datastore.label_import import checked_import
from covid_bert.datastore.opinions import open_split
from covid_bert.evaluation.estimates import Estimate
from covid_bert.progress import Progress
from covid_bert.retraining.agreement import PairAgreement
from covid_bert.retraining.derived import label_cache
from covid_bert.retraining.split import Shares
from covid_bert.server.audit import AuditLog, default_audit_folder


def agreement(studies: Path, console: Console, *, as_json: bool) -> None:
    """Print how far the readers of a folder agree. See `read_agreement` for the errors."""
    refuse_root_in(studies)
    with Bars(console=console, transient=True, disable=as_json) as bars:
        task = bars.add_task("labels", total=1.0)
        progress = Progress(lambda stage, fraction: bars.update(task, description=stage, completed=fraction))
        found, left_out = read_agreement(studies, label_cache(studies), progress)
    if as_json:
        console.print_json(json.dumps({**asdict(found), "left_out": [asdict(one) for one in left_out]}))
        return
    for title, pairs in (("Masks: mean Dice of both lungs", found.masks), ("Classes: Cohen's kappa", found.classes)):
        _print_pairs(title, pairs, console)
    console.print(
        f"Fleiss' kappa of all readers: {_shown(found.fleiss)} ({found.fleiss_cases} cases of several readers)"
    )
    for one in left_out:
        # Ids stay on the operator's terminal.
        console.print(f"{one.identifier}: {one.reason}", style="yellow", highlight=False, soft_wrap=True, markup=False)


def export(studies: Path, target: Path, console: Console) -> None:
    """Write the label set of a folder into one file. See `export_labels` for the errors."""
    refuse_root_in(studies)
    exported = export_labels(studies, target, label_cache(studies))
    console.print(
        f"{target.name}: {exported.cases} cases, {exported.versions} versions.", highlight=False, soft_wrap=True
    )
    if exported.damaged:
        console.print(f"{exported.damaged} versions are damaged on the disk and are not in it.", style="yellow")
    if exported.without_image:
        console.print(f"{exported.without_image} studies whose image is away are not in it.", style="yellow")


def bring_in(source: Path, studies: Path, console: Console, *, known_only: bool) -> None:
    """Merge a label set into that of a folder. See `checked_import` and `LabelImport.merge` for the errors."""
    refuse_root_in(studies)
    # As what the server writes, the files are for its user only.
    before = os.umask(0o077)
    try:
        with checked_import(source, studies, label_cache(studies), known_only=known_only) as prepared:
            facts = {"cases": prepared.cases, "versions": prepared.versions}
            with AuditLog(default_audit_folder()).change("labels-imported", facts=facts):
                added = prepared.merge()
    finally:
        os.umask(before)
    console.print(f"{added} versions were added to the labels of {prepared.cases} cases.", highlight=False)
    for count, what in (
        (prepared.unknown, "cases whose image is not in the folder were left out."),
        (prepared.unfit, "versions that do not fit their image, or are damaged, were left out."),
        (prepared.elsewhere, "cases belong to another part of the split here, and stay there."),
    ):
        if count:
            console.print(f"{count} {what}", style="yellow", highlight=False)


def split(studies: Path, console: Console, *, training: int | None, validation: int | None) -> None:
    """Print how many patients each part of the frozen split has; new shares hold for those who come next.

    Raises
    ------
    ParameterError
        If nothing is left for the test.
    """
    refuse_root_in(studies)
    frozen = open_split(studies)
    if training is not None or validation is not None:
        shares = (
            frozen.shares.training if training is None else training / 100,
            frozen.shares.validation if validation is None else validation / 100,
        )
        frozen.change_shares(Shares(training=shares[0], validation=shares[1]))
    for part, count in frozen.counts().items():
        console.print(f"{part.value}: {count} patients", highlight=False)
    rest = 1 - frozen.shares.training - frozen.shares.validation
    console.print(
        f"Of those who come next: {frozen.shares.training:.0%} training, {frozen.shares.validation:.0%} validation, "
        f"{rest:.0%} test.",
        highlight=False,
    )


def _print_pairs(title: str, pairs: tuple[PairAgreement, ...], console: Console) -> None:
    if not pairs:
        console.print(f"{title}: no two readers have labelled one case.", highlight=False)
        return
    table = Table(title=title, caption="95 % interval by bootstrap over patients")
    for column in ("readers", "cases", "patients", "agreement"):
        table.add_column(column)
    for pair in pairs:
        patients = str(pair.estimate.count) if pair.estimate else "-"
        table.add_row(f"{pair.first}, {pair.second}", str(pair.cases), patients, _shown(pair.estimate))
    console.print(table)


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return "does not exist"
    if estimate.lower is None or estimate.upper is None:
        return f"{estimate.value:.3f} (no interval)"
    return f"{estimate.value:.3f} ({estimate.lower:.3f} to {estimate.upper:.3f})"
