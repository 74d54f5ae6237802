"""`covid-bert classify`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from covid_bert import DEMONSTRATION_MODEL, RESEARCH_USE_ONLY, __version__
from covid_bert.commands.batch import Batch
from covid_bert.commands.manifest import write_manifest
from covid_bert.errors import WeightsError
from covid_bert.files import write_atomically
from covid_bert.lesions import LESION_LABELS, segment_lesions
from covid_bert.lesions.network import WEIGHTS_NAME as LESION_WEIGHTS
from covid_bert.lungs import WEIGHTS_BY_METHOD, segment_lungs
from covid_bert.lungs.mask import LUNG_LABELS
from covid_bert.progress import Progress
from covid_bert.report import study_picture
from covid_bert.systems import Classification, ClassificationSystem, StudyResult, create
from covid_bert.systems.assemble import FINDING
from covid_bert.systems.loading import weights_of
from covid_bert.systems.memory import on_card_or_processor
from covid_bert.systems.result import WeightsState
from covid_bert.volumes import Volume, write_map, write_mask
from covid_bert.weights.serving import serviceable
from covid_bert.weights.version_folder import InstalledWeights


def classify(
    inputs: list[Path],
    systems: list[str],
    *,
    configuration: str | None,
    out: Path,
    device: str,
    lungs_method: str,
    series: str | None,
    report: Path | None,
    console: Console,
    dicom: Path | None = None,
) -> int:
    """Classify studies and write, for each, lungs and lesions, and for each system JSON, location map and picture.

    With `dicom`, a folder, the results of DICOM studies are also written there as DICOM objects.

    Returns
    -------
    int
        The exit code.
    """

    @functools.cache
    def made(where: str) -> list[ClassificationSystem]:
        return [create(name, configuration, device=where, lungs=lungs_method) for name in systems]

    def work(volume: Volume, progress: Progress) -> dict[str, Any]:
        return on_card_or_processor(volume, device, lambda study, where: work_on(study, where, progress))

    def work_on(volume: Volume, where: str, progress: Progress) -> dict[str, Any]:
        # Before anything is computed: a study that is not DICOM is refused at once.
        objects = None if dicom is None else DicomResults(volume, dicom.resolve())
        with progress.stage("lungs"):
            lungs = segment_lungs(volume, lungs_method, progress, device=where)
        name = volume.identifier
        with progress.stage("lesions"):
            lesions = segment_lesions(volume, lungs, progress, device=where)
        masks = {"lungs": write_mask(lungs.array, volume, out / f"{name}.lungs.nii.gz", names=LUNG_LABELS)}
        if lesions is not None:
            path = out / f"{name}.lesions.nii.gz"
            masks["lesions"] = write_mask(lesions.array, volume, path, names=LESION_LABELS)
        files, scores = list(masks.values()), {}
        for system in made(where):
            classification = system.classify(volume, lungs, lesions, progress=progress.continued())
            stem = f"{name}.{system.NAME}-{system.configuration.name}"
            files += write_classification(volume, classification, masks, out, stem)
            if objects is not None:
                with progress.stage("dicom"):
                    files += objects.write(classification)
            scores[system.NAME] = classification.result
        return {
            "files": [file.name if file.parent == out else str(file) for file in dict.fromkeys(files)],
            "weights": [item.model_dump() for result in scores.values() for item in result.provenance.weights],
            "seconds_by_system": {key: result.provenance.seconds for key, result in scores.items()},
            "outcome": "; ".join(f"{key}: {outcome(result)}" for key, result in scores.items()),
        }

    versions = [
        lungs_version(lungs_method),
        lesions_version(),
        *(_weights_versions(it) for it in made(device)),
    ]
    settings = f"{__version__} {' '.join(versions)} {series or ''}"
    if dicom is not None:
        settings += f" dicom {dicom.resolve()}"
    batch = Batch(
        out,
        settings,
        series,
        console,
        other_folders=(dicom,) if dicom is not None else (),
        owner_of=owner_of_objects if dicom is not None else None,
    )
    code, entries = batch.run(inputs, work)
    finish(entries, out, report, console)
    if dicom is not None:
        console.print(f"DICOM objects are in {escape(str(dicom))}.", highlight=False)
    return code


def owner_of_objects(volume: Volume) -> str:
    """Return a hash of the series and the patient that DICOM objects of a study name; errors as `DicomResults`.

    The same image in another series, or under a name that was corrected, is another study to an archive.
    """
    from covid_bert.report.dicom import read_source
    from covid_bert.report.dicom.identity import digest_of

    source = read_source(volume)
    return digest_of(source.series_uid, source.patient.to_json(suppress_invalid_tags=True)).hex()[:16]


class DicomResults:
    """The DICOM objects of one study, for all systems that classify it.

    Parameters
    ----------
    volume
        Read from DICOM files.
    folder
        Where the study gets a folder of its own.

    Raises
    ------
    InputError
        If the study is not DICOM, or its files lack what results need.
    """

    def __init__(self, volume: Volume, folder: Path) -> None:
        # highdicom and reportlab are for those who ask for DICOM.
        from covid_bert.report.dicom import folder_name, read_source

        self._volume, self._source = volume, read_source(volume)
        self._folder = folder / folder_name(volume)

    def write(self, classification: Classification) -> list[Path]:
        """Write the objects of a result and return their files."""
        from covid_bert.report.dicom import dicom_results, write_objects

        made = classification.result.provenance
        objects = dicom_results(self._source, self._volume, classification)
        return write_objects(objects, self._folder, f"{made.system}-{made.configuration}")


def write_classification(
    volume: Volume, classification: Classification, masks: dict[str, Path], out: Path, stem: str
) -> list[Path]:
    """Write location map, picture and, last of all, the JSON of a result, which names the masks; return their paths."""
    location = write_map(classification.location, volume, out / f"{stem}.location.nii.gz")
    picture = study_picture(volume, classification, out / f"{stem}.png")
    result = classification.result
    written = {name: {"mask_file_name": mask.name} for name, mask in masks.items()}
    written["location_map"] = {"file_name": location.name}
    parts = {name: getattr(result, name) for name in written}
    result = result.model_copy(
        update={name: part.model_copy(update=written[name]) for name, part in parts.items() if part is not None}
    )
    table = out / f"{stem}.json"
    write_atomically(table, result.model_dump_json(indent=2) + "\n")
    return [location, picture, table]


def outcome(result: StudyResult) -> str:
    """One line for a terminal, which says when a score means nothing."""
    calibrated = result.calibrated_probability
    if calibrated is not None:
        score = f"{calibrated.class_name} probability {calibrated.probability:.2f}"
        score += f", calibrated on {calibrated.calibrated_on}"
    else:
        score = f"score {result.class_scores[FINDING]:.2f} for {FINDING}, not calibrated"
        if result.is_unlike_training:
            score += "; unlike the training studies"
    if result.weights_state is WeightsState.TRAINED:
        return score
    return f"[bold red]{result.weights_state.value.upper()}[/bold red]: {score}"


def lungs_version(method: str) -> str:
    """The lung method with the content of its weights, which a result depends on."""
    name = WEIGHTS_BY_METHOD.get(method)
    if name is None:
        return method
    try:
        return f"{method}:{_version(name, serviceable(name).weights)}"
    except WeightsError:
        # The method says so of each study, or does without.
        return f"{method}:{name}@damaged"


def lesions_version() -> str:
    """The lesion network with the content of its weights, which a result depends on."""
    return _version(LESION_WEIGHTS, serviceable(LESION_WEIGHTS).weights)


def _weights_versions(system: ClassificationSystem[Any]) -> str:
    configuration = system.configuration
    used = weights_of(configuration).weights
    weights = ",".join(_version(part.weights, used[role]) for role, part in configuration.parts.items())
    return f"{system.NAME}-{configuration.name}:{weights}"


def _version(name: str, used: InstalledWeights | None) -> str:
    """Version and content: a later version may hold the same tensors with another operating point."""
    return f"{name}@{used.version}:{used.sha256[:12]}" if used else f"{name}@none"


def finish(entries: list[dict[str, Any]], out: Path, report: Path | None, console: Console) -> None:
    """Print one line for each study, write the manifest of the run, and say what holds for all outputs."""
    for entry in entries:
        if "outcome" in entry:
            console.print(f"{entry['study']}  {entry['outcome']}", highlight=False)
    if report is not None:
        write_manifest(report, entries)
    if any(weights["demonstration"] for entry in entries for weights in entry.get("weights", [])):
        console.print(DEMONSTRATION_MODEL, highlight=False)
    console.print(f"Results are in {escape(str(out))}. {RESEARCH_USE_ONLY}", highlight=False)
