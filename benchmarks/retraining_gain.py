"""What a site gains that corrects the lungs of a few patients whom the shipped network gets wrong.

    python benchmarks/retraining_gain.py [--epochs 6] [--device cpu]

The site's patients are phantoms whose lungs are airless towards the back, as in severe pneumonia of patients who lie on
it; the shipped network takes much of that for chest wall. Readers correct the masks of 12 patients: 7 are learned
from, 3 validate and 2 test. After one `lungs` training of the usual kind (beginning at the shipped version, with the
gate), both versions are judged on 12 further patients, on the same patients with healthy lungs, and on real scans that
are made airless in the same way, whose masks are those of the shipped network before that. Exit status 1 if patients
of the site did not gain surely.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from covid_bert.evaluation.estimates import bootstrap, units_by_group
from covid_bert.lungs import unet
from covid_bert.phantom import make
from covid_bert.retraining.cases import LabelledStudy, LabelSet, Part
from covid_bert.retraining.judging import found_lungs, mean_dice
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.run import run
from covid_bert.segmentation import LoadedSegmenter, load_segmenter
from covid_bert.training.studies import as_volume
from covid_bert.volumes import Volume, read
from covid_bert.weights.store import installed, live

SHAPE, SPACING = (50, 90, 100), (6.0, 3.4, 3.4)
PARTS = (Part.TRAINING,) * 7 + (Part.VALIDATION,) * 3 + (Part.TEST,) * 2
SEED, FURTHER_SEED, FURTHER = 300, 400, 12
# Part of a lung from its back that is airless, of the least and the most ill patient; its border is uneven.
SHARES, BORDER_MILLIMETERS, WAVES_MILLIMETERS = (0.15, 0.4), 10.0, 12.0
AIRLESS_HU, NOISE_HU = 40.0, 18.0
REAL = ("lung_dx_a0001", "lung1_image.nrrd", "chest_cta.nii.gz")
Case = tuple[Volume, npt.NDArray[np.uint8]]


def airless(volume: Volume, lungs: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.int16]:
    """Fill both lungs from the back; the mask stays what it was."""
    generator = np.random.default_rng(seed)
    share = generator.uniform(*SHARES)
    waves = gaussian_filter(generator.normal(size=lungs.shape), [WAVES_MILLIMETERS / mm for mm in volume.spacing])
    array = np.asarray(volume.array, np.float32).copy()
    for side in (1, 2):
        lung = lungs == side
        rows = np.flatnonzero(lung.any((0, 2)))
        border = rows[-1] - share * (rows[-1] - rows[0]) + waves / waves.std() * BORDER_MILLIMETERS / volume.spacing[1]
        filled = lung & (np.arange(lung.shape[1])[None, :, None] > border)
        array[filled] = generator.normal(AIRLESS_HU, NOISE_HU, int(filled.sum()))
    return np.rint(np.clip(array, -1024, 3071)).astype(np.int16)


def phantom_case(seed: int, *, ill: bool) -> Case:
    person = make(shape=SHAPE, spacing=SPACING, seed=seed)
    lungs = person.lungs.array
    return (as_volume(airless(person.volume, lungs, seed), SPACING) if ill else person.volume), lungs


def labelled(folder: Path, number: int, part: Part) -> LabelledStudy:
    """Write a patient of the site, and the mask as readers corrected it."""
    volume, lungs = phantom_case(SEED + number, ill=True)
    paths, hashes = [], []
    for kind, array in (("image", np.asarray(volume.array)), ("mask", lungs)):
        paths.append(folder / f"{kind}-{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), volume.affine), paths[-1])
        hashes.append(hashlib.sha256(paths[-1].read_bytes()).hexdigest())
    return LabelledStudy(f"study-{number}", f"patient-{number}", part, paths[0], hashes[0], paths[1], hashes[1])


def real_cases(folder: Path, shipped: LoadedSegmenter) -> list[Case]:
    cases = []
    for number, name in enumerate(REAL):
        volume = read(folder / name)
        lungs = unet.segment(volume, segmenter=shipped).array
        cases.append((as_volume(airless(volume, lungs, number), volume.spacing), lungs))
    return cases


def print_row(what: str, cases: Sequence[Case], before: LoadedSegmenter, after: LoadedSegmenter) -> float | None:
    """Print mean Dice of both versions, and the difference; return its lower limit."""
    values = np.array(
        [[mean_dice(found_lungs(version, volume), lungs) for version in (before, after)] for volume, lungs in cases]
    )
    gain = values[:, 1] - values[:, 0]
    found = bootstrap(lambda chosen: float(gain[chosen].mean()), units_by_group([str(i) for i in range(len(cases))]))
    limits = "-" if found.lower is None else f"{found.lower:+.4f} to {found.upper:+.4f}"
    means = values.mean(0)
    print(f"{what:<34}{len(cases):>4}{means[0]:>9.4f}{means[1]:>9.4f}{found.value:>+9.4f}   {limits}", flush=True)
    return found.lower


def main() -> None:
    """Correct, train, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6, help="at most")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--sample-data", type=Path, default=Path("sample-data"), help="folder with the real scans")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["COVID_BERT_HOME"] = str(folder / "home")
        shipped = live(unet.WEIGHTS_NAME)
        assert shipped is not None
        studies = tuple(labelled(folder, number, part) for number, part in enumerate(PARTS))
        start = time.monotonic()
        parameters = TrainingParameters(epochs=arguments.epochs, device=arguments.device)
        labels = LabelSet(studies, (), "0" * 64, "newest")
        progress = RunProgress(log=lambda line: print(f"  {line}", flush=True) if "Metrics" in line else None)
        outcome = run("lungs", labels, parameters, folder / "run", progress, identity=uuid.uuid4().hex)
        state = "live" if outcome.published else "a candidate"
        print(f"{outcome.head} {outcome.version} is {state} after {time.monotonic() - start:.0f} s.")
        print(f"Gate: {outcome.gate.reason}")
        versions = (shipped, installed(outcome.head, outcome.version))
        before, after = (load_segmenter(version, unet.ARCHITECTURE, arguments.device) for version in versions)
        print(f"{'mean Dice of both lungs':<34}{'n':>4}{'before':>9}{'after':>9}{'gain':>9}   95 % interval")
        further = range(FURTHER_SEED, FURTHER_SEED + FURTHER)
        lower = print_row("further patients of the site", [phantom_case(s, ill=True) for s in further], before, after)
        print_row("the same with healthy lungs", [phantom_case(s, ill=False) for s in further], before, after)
        print_row("real scans, made airless", real_cases(arguments.sample_data, before), before, after)
    sys.exit(0 if outcome.published and lower is not None and lower > 0 else 1)


if __name__ == "__main__":
    main()
