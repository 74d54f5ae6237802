"""A hospital's studies, made by the generator: most of them normal, some of each pneumonia, in slices of routine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from covid_bert.files import replacing
from covid_bert.lesions.network import ARCHITECTURE as LESION_ARCHITECTURE
from covid_bert.lesions.network import WEIGHTS_NAME as LESION_WEIGHTS
from covid_bert.networks.classifiers import ClipNetwork
from covid_bert.segmentation import load_segmenter
from covid_bert.systems.configuration import S1_CONFIGURATIONS
from covid_bert.training.lesion_evidence import LesionEvidence
from covid_bert.training.material import load_material
from covid_bert.training.predictions import embed_studies
from covid_bert.training.slabs import WorkingMaterial
from covid_bert.training.studies import (
    PIXEL_MILLIMETERS,
    SEVERITIES,
    StudyPlan,
    generator_digest,
    make_classifier_study,
)
from covid_bert.weights.store import live, load_into
from covid_bert.weights.untrained import untrained
from learning.pools import LabelPool, Say

NORMAL, PATTERNS = "none", ("none", "covid-like", "bacterial-like", "bronchopneumonia")
CHANCES = (0.64, 0.1, 0.14, 0.12)
# mm: slices as they are kept of most patients.
THICKNESS = (4.5, 6.0)
# Studies that are made and embedded before they are kept: what a run that is cut short loses.
_BATCH = 25


def site_pool(folders: list[Path], cache: Path, *, count: int, seed: int, say: Say) -> LabelPool:
    """Make studies and embed them by the shipped clip network, or take up those that are kept.

    The stages are mean and maximum over the windows; the kinds are `PATTERNS`.

    Parameters
    ----------
    folders
        See `covid_bert.training.material.load_material`.
    cache
        Keeps embeddings.
    count, seed
        Of the studies. The first ones of a larger pool are those of a smaller one.
    say
        Told what is under way.
    """
    lesions, part = live(LESION_WEIGHTS), S1_CONFIGURATIONS["small"].parts["clip"]
    # Not as the systems load it: `embed_studies` folds the batch norms itself.
    module, _ = untrained(part.architecture, 0)
    assert lesions is not None
    assert isinstance(module, ClipNetwork)
    facts = (generator_digest(), str(lesions.sha256), str(load_into(module, part.weights).sha256), CHANCES, THICKNESS)
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
    files = [cache / f"site-{digest}-{seed}-{first:05d}.npz" for first in range(0, count, _BATCH)]
    if not all(file.exists() for file in files):
        materials = load_material(folders)
        working = {item.name: WorkingMaterial.of(item, PIXEL_MILLIMETERS, around_lungs=False) for item in materials}
        evidence = LesionEvidence(load_segmenter(lesions, LESION_ARCHITECTURE, "cpu"))
        plans = _plans(list(working), seed)
        for file in files:
            some = [next(plans) for _ in range(_BATCH)]
            if file.exists():
                continue
            studies = [make_classifier_study(plan, working[plan.source], evidence) for plan in some]
            windows = [item.windows.numpy() for item in embed_studies(module, studies)]
            with replacing(file) as temporary:
                np.savez(
                    temporary,
                    first=np.stack([item.mean(0) for item in windows]),
                    second=np.stack([item.max(0) for item in windows]),
                    # A pattern that left nothing in the kept slices cannot be found in them.
                    pattern=[item.plan.pattern if item.lesion_share.any() else NORMAL for item in studies],
                )
            say(f"studies {some[-1].number + 1}/{count}")
    kept = [np.load(file, allow_pickle=False) for file in files]
    first, second, pattern = (np.concatenate([item[name] for item in kept]) for name in ("first", "second", "pattern"))
    return LabelPool((first[:count], second[:count]), pattern[:count], np.arange(count))


def _plans(sources: list[str], seed: int) -> Iterator[StudyPlan]:
    generator, number = np.random.default_rng([seed, 6]), 0
    while True:
        yield StudyPlan(
            number=number,
            source=sources[number % len(sources)],
            pattern=str(generator.choice(PATTERNS, p=CHANCES)),
            severity=round(float(generator.uniform(*SEVERITIES)), 4),
            seed=int(generator.integers(2**31)),
            thickness=round(float(generator.uniform(*THICKNESS)), 3),
        )
        number += 1
