"""`covid-bert classify` and `covid-bert segment`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from covid_bert import RESEARCH_USE_ONLY, __version__
from covid_bert.commands.batch import Batch
from covid_bert.commands.manifest import write_manifest
from covid_bert.files import write_atomically
from covid_bert.lungs import segment_lungs
from covid_bert.lungs.mask import LUNG_LABELS
from covid_bert.lungs.measurements import measure_lungs
from covid_bert.lungs.r231 import METHOD, WEIGHTS_NAME
from covid_bert.progress import Progress
from covid_bert.report import study_picture
from covid_bert.systems import SYSTEMS, Classification, StudyResult, create
from covid_bert.systems.assemble import FINDING
from covid_bert.systems.result import WeightsState
from covid_bert.volumes import Volume, write_map, write_mask
from covid_bert.weights.store import live


def classify(
    inputs: list[Path],
    systems: list[str],
    *,
    configuration: str,
    out: Path,
    device: str,
    lungs_method: str,
    series: str | None,
    report: Path | None,
    console: Console,
) -> int:
    """Classify studies and write, for each, the lung mask, and for each system JSON, location map and picture.

    Returns
    -------
    int
        The exit code.
    """
    made = [create(name, configuration, device=device, lungs=lungs_method) for name in systems]

    def work(volume: Volume, progress: Progress) -> dict[str, Any]:
        with progress.stage("lungs"):
            lungs = segment_lungs(volume, lungs_method, progress)
        name = volume.identifier
        files = [write_mask(lungs.array, volume, out / f"{name}.lungs.nii.gz", names=LUNG_LABELS)]
        scores = {}
        for system in made:
            classification = system.classify(volume, lungs, progress=progress.continued())
            files += write_classification(volume, classification, out, f"{name}.{system.NAME}-{configuration}")
            scores[system.NAME] = classification.result
        return {
            "files": [file.name for file in files],
            "weights": [item.model_dump() for result in scores.values() for item in result.provenance.weights],
            "seconds_by_system": {key: result.provenance.seconds for key, result in scores.items()},
            "outcome": "; ".join(f"{key}: {outcome(result)}" for key, result in scores.items()),
        }

    versions = [_weights_versions(name, configuration) for name in systems]
    settings = f"{__version__} {configuration} {_lungs_version(lungs_method)} {' '.join(versions)} {series or ''}"
    code, entries = Batch(out, settings, series, console).run(inputs, work)
    _finish(entries, out, report, console)
    return code


def segment(
    inputs: list[Path], *, out: Path, lungs_method: str, suffix: str, series: str | None, report: Path | None,
    console: Console,
) -> int:  # fmt: skip
    """Segment the lungs of studies and write, for each, the mask and its volumes.

    Returns
    -------
    int
        The exit code.
    """

    def work(volume: Volume, progress: Progress) -> dict[str, Any]:
        with progress.stage("lungs"):
            lungs = segment_lungs(volume, lungs_method, progress)
        measured = measure_lungs(volume, lungs)
        mask = write_mask(lungs.array, volume, out / f"{volume.identifier}.lungs{suffix}", names=LUNG_LABELS)
        facts = {
            "research_use_only": RESEARCH_USE_ONLY,
            "method": lungs.method,
            "mask_file_name": mask.name,
            "labels": LUNG_LABELS,
            "right_ml": measured.right_ml,
            "left_ml": measured.left_ml,
            "total_ml": measured.total_ml,
            "warnings": [*volume.warnings, *lungs.warnings],
        }
        table = out / f"{volume.identifier}.lungs.json"
        write_atomically(table, json.dumps(facts, indent=2) + "\n")
        size = f"{measured.total_ml:.0f} ml" if measured.total_ml is not None else "voxel size not known"
        return {"files": [mask.name, table.name], "outcome": f"lungs {size}"}

    settings = f"{__version__} segment {_lungs_version(lungs_method)} {suffix} {series or ''}"
    code, entries = Batch(out, settings, series, console).run(inputs, work)
    _finish(entries, out, report, console)
    return code


def write_classification(volume: Volume, classification: Classification, out: Path, stem: str) -> list[Path]:
    """Write location map, picture and, last of all, the JSON of a result; return their paths."""
    location = write_map(classification.location, volume, out / f"{stem}.location.nii.gz")
    picture = study_picture(volume, classification, out / f"{stem}.png")
    result = classification.result
    if result.location_map is not None:
        result = result.model_copy(
            update={"location_map": result.location_map.model_copy(update={"file_name": location.name})}
        )
    table = out / f"{stem}.json"
    write_atomically(table, result.model_dump_json(indent=2) + "\n")
    return [location, picture, table]


def outcome(result: StudyResult) -> str:
    """One line for a terminal, which says when a score means nothing."""
    calibrated = result.calibrated_probability
    if calibrated is not None:
        return f"{calibrated.class_name} probability {calibrated.probability:.2f}"
    score = f"score {result.class_scores[FINDING]:.2f} for {FINDING}, not calibrated"
    if result.weights_state is WeightsState.TRAINED:
        return score
    return f"[bold red]{result.weights_state.value.upper()}[/bold red]: {score}"


def _lungs_version(method: str) -> str:
    installed = live(WEIGHTS_NAME) if method == METHOD else None
    return f"{method}@{installed.sha256[:12]}" if installed else method


def _weights_versions(system: str, configuration: str) -> str:
    parts = SYSTEMS[system].configurations[configuration].parts.values()
    installed = [(part.weights, live(part.weights)) for part in parts]
    return system + ":" + ",".join(f"{name}@{item.sha256[:12] if item else 'untrained'}" for name, item in installed)


def _finish(entries: list[dict[str, Any]], out: Path, report: Path | None, console: Console) -> None:
    for entry in entries:
        if "outcome" in entry:
            console.print(f"{entry['study']}  {entry['outcome']}", highlight=False)
    if report is not None:
        write_manifest(report, entries)
    console.print(f"Results are in {escape(str(out))}. {RESEARCH_USE_ONLY}", highlight=False)
