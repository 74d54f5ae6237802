"""`covid-bert segment`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from covid_bert import RESEARCH_USE_ONLY, __version__
from covid_bert.commands.batch import Batch
from covid_bert.commands.classify import finish, lesions_version, lungs_version
from covid_bert.files import write_atomically
from covid_bert.lesions import LESION_LABELS, LesionMask, check_possible, measure_lesions, require_lesions
from covid_bert.lungs import LungMask, measure_lungs, segment_lungs
from covid_bert.lungs.mask import LUNG_LABELS
from covid_bert.progress import Progress
from covid_bert.systems.assemble import lesion_measurement
from covid_bert.systems.memory import on_card_or_processor
from covid_bert.volumes import Volume, write_mask
from covid_bert.weights.identity import demonstration_warnings

# Masks, the last of which is written; its facts for the JSON; one line for the terminal.
Segmented = tuple[list[LungMask | LesionMask], dict[str, Any], str]


def segment(
    inputs: list[Path],
    structure: str,
    *,
    out: Path,
    lungs_method: str,
    device: str,
    suffix: str,
    series: str | None,
    report: Path | None,
    console: Console,
) -> int:
    """Segment a structure of studies and write, for each, the mask and its volumes.

    Parameters
    ----------
    inputs
        Studies.
    structure
        ``lungs`` or ``lesions``.
    out, suffix
        Folder for the results, and format of the masks.
    lungs_method
        One of `covid_bert.lungs.METHOD_CHOICES`.
    device
        For the lesion network.
    series, report, console
        As for the other commands.

    Returns
    -------
    int
        The exit code.
    """
    segment_one = STRUCTURES[structure]

    def work(volume: Volume, progress: Progress) -> dict[str, Any]:
        volume, (masks, measured, outcome) = on_card_or_processor(
            volume, device, lambda study, where: (study, segment_one(study, lungs_method, where, progress))
        )
        weights = [mask.weights for mask in masks if mask.weights is not None]
        labels = LUNG_LABELS if structure == "lungs" else LESION_LABELS
        mask = write_mask(masks[-1].array, volume, out / f"{volume.identifier}.{structure}{suffix}", names=labels)
        facts = {
            "research_use_only": RESEARCH_USE_ONLY,
            **measured,
            "mask_file_name": mask.name,
            "labels": labels,
            "weights": [identity.model_dump(mode="json") for identity in weights],
            "warnings": [
                *volume.warnings,
                *(warning for each in masks for warning in each.warnings),
                *demonstration_warnings(weights),
            ],
        }
        table = out / f"{volume.identifier}.{structure}.json"
        write_atomically(table, json.dumps(facts, indent=2) + "\n")
        return {"files": [mask.name, table.name], "weights": facts["weights"], "outcome": outcome}

    versions = lungs_version(lungs_method) + (f" {lesions_version()}" if structure == "lesions" else "")
    settings = f"{__version__} segment {structure} {versions} {suffix} {series or ''}"
    code, entries = Batch(out, settings, series, console).run(inputs, work)
    finish(entries, out, report, console)
    return code


def _lungs(volume: Volume, lungs_method: str, device: str, progress: Progress) -> Segmented:
    with progress.stage("lungs"):
        lungs = segment_lungs(volume, lungs_method, progress, device=device)
    measured = measure_lungs(volume, lungs)
    facts = {
        "method": lungs.method,
        "right_ml": measured.right_ml,
        "left_ml": measured.left_ml,
        "total_ml": measured.total_ml,
    }
    size = f"{measured.total_ml:.0f} ml" if measured.total_ml is not None else "voxel size not known"
    return [lungs], facts, f"lungs {size}"


def _lesions(volume: Volume, lungs_method: str, device: str, progress: Progress) -> Segmented:
    check_possible(volume)
    with progress.stage("lungs"):
        lungs = segment_lungs(volume, lungs_method, progress, device=device)
    with progress.stage("lesions"):
        lesions = require_lesions(volume, lungs, progress, device=device)
        measured = measure_lesions(volume, lungs, lesions)
    facts = {**lesion_measurement(lesions, measured).model_dump(mode="json"), "lungs_method": lungs.method}
    return [lungs, lesions], facts, f"lesions {measured.total_ml:.0f} ml, {measured.share:.1%} of the lungs"


STRUCTURES: dict[str, Callable[[Volume, str, str, Progress], Segmented]] = {"lungs": _lungs, "lesions": _lesions}
