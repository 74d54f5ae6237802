"""`covid-bert synthesize`: a real study, or a phantom, with planted lesions, their masks and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from covid_bert import RESEARCH_USE_ONLY, __version__
from covid_bert.errors import OutputError
from covid_bert.files import write_atomically
from covid_bert.lesions import LESION_LABELS
from covid_bert.lungs import LungMask, segment_lungs
from covid_bert.lungs.mask import LUNG_LABELS
from covid_bert.phantom import make
from covid_bert.report.synthetic import synthetic_picture
from covid_bert.synthesis import IGNORE, SyntheticStudy
from covid_bert.synthesis import synthesize as plant
from covid_bert.volumes import Volume, read, read_mask, write_map, write_mask

PHANTOM = "phantom"


def synthesize(
    study: str,
    *,
    out: Path,
    lungs_file: Path | None,
    lungs_method: str,
    pattern: str,
    severity: float,
    seed: int,
    count: int,
    with_distractors: bool,
    console: Console,
) -> list[Path]:
    """Write synthetic studies: CT, lung mask, lesion mask, recipe and picture of each.

    Parameters
    ----------
    study
        A chest CT in HU, or ``phantom`` for an invented chest.
    out
        Folder for the results.
    lungs_file
        Lung mask of the study (1 right, 2 left); segmented with `lungs_method` when None.
    lungs_method
        One of `covid_bert.lungs.METHOD_CHOICES`.
    pattern, severity, seed, with_distractors
        See `covid_bert.synthesis.synthesize`; with `count` above one, each study takes the next seed.
    count
        Studies to make.
    console
        Told of each study.

    Returns
    -------
    list of Path
        The recipes.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    volume, lungs = _study(study, seed, lungs_file, lungs_method)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The output folder cannot be used: {error.strerror}.", "Choose another --out.") from error
    written = []
    for number in range(seed, seed + count):
        made = plant(volume, lungs, pattern=pattern, severity=severity, seed=number, with_distractors=with_distractors)
        written.append(_write(made, out, f"{volume.identifier}.{pattern}.{severity:g}.{number}"))
        console.print(f"{written[-1].name}: {len(made.recipe['opacities'])} opacities", highlight=False)
    console.print(RESEARCH_USE_ONLY, style="dim")
    return written


def _study(study: str, seed: int, lungs_file: Path | None, lungs_method: str) -> tuple[Volume, LungMask]:
    if study == PHANTOM:
        phantom = make(shape=(128, 256, 256), spacing=(2.5, 1.4, 1.4), seed=seed)
        return phantom.volume, phantom.lungs
    volume = read(study)
    if lungs_file is not None:
        return volume, LungMask(read_mask(lungs_file, volume), "given")
    return volume, segment_lungs(volume, lungs_method)


def _write(made: SyntheticStudy, out: Path, stem: str) -> Path:
    volume = made.volume
    lesions = made.lesions.copy()
    files = {
        "ct": write_map(volume.array.astype("float32"), volume, out / f"{stem}.ct.nii.gz").name,
        "lungs": write_mask(made.lungs.array, volume, out / f"{stem}.lungs.nii.gz", names=LUNG_LABELS).name,
        "lesions": write_mask(
            lesions, volume, out / f"{stem}.lesions.nii.gz", names={**LESION_LABELS, "not to be learned from": IGNORE}
        ).name,
        "picture": synthetic_picture(made, out / f"{stem}.png").name,
    }
    facts: dict[str, Any] = {
        "research_use_only": RESEARCH_USE_ONLY,
        "synthetic": "The lesions in this study were planted by a program.",
        "software_version": __version__,
        "labels": {"lungs": LUNG_LABELS, "lesions": LESION_LABELS},
        "has_voxels_not_to_be_learned_from": bool((lesions == IGNORE).any()),
        "files": files,
        **made.recipe,
    }
    path = out / f"{stem}.json"
    write_atomically(path, json.dumps(facts, indent=2) + "\n")
    return path
