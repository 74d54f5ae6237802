"""A site of generated studies, as if readers had labelled them, and live weights to begin with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.networks.density import EmbeddingDensity
from covid_bert.phantom import make
from covid_bert.phantom.writer import write
from covid_bert.retraining.cases import LabelledStudy, LabelSet, Part
from covid_bert.retraining.reference import ReferenceSize
from covid_bert.systems import SYSTEMS
from covid_bert.weights.importing import ROLES
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.store import live, publish
from covid_bert.weights.version_folder import InstalledWeights

SHAPE, SPACING = (44, 72, 72), (6.0, 4.6, 4.6)
REFERENCE_SIZE = ReferenceSize(1, 2, SHAPE, SPACING)


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def labelled(
    folder: Path, number: int, study_class: str | None, part: Part = Part.TRAINING, *, masked: bool = True
) -> LabelledStudy:
    """A phantom with the class that it is given; with COVID-19 it has lesions."""
    lesions = "covid-like" if study_class == "covid" else "none"
    person = make(shape=SHAPE, spacing=SPACING, seed=number, lesions=lesions, severity=0.8)
    image = write(person, folder / f"image-{number}.mha")
    mask = write(person, folder / f"mask-{number}.mha", "lungs") if masked else None
    return LabelledStudy(
        identifier=f"study-{number}",
        patient=f"patient-{number}",
        part=part,
        image=image,
        image_sha256=file_sha256(image),
        mask=mask,
        mask_sha256=file_sha256(mask) if mask else "",
        study_class=study_class,
        readers=("anna",),
    )


def label_set(*studies: LabelledStudy) -> LabelSet:
    return LabelSet(studies, (), "0" * 64, "newest")


def site(folder: Path, *, validation: int = 1) -> LabelSet:
    """Three studies of each class to learn from, one without a mask, and some of each class to be judged on."""
    studies = [labelled(folder, number, "covid" if number % 2 else "normal", masked=number != 3) for number in range(6)]
    for number in range(10, 10 + 2 * validation):
        studies.append(labelled(folder, number, "covid" if number % 2 else "non-covid", Part.VALIDATION))
    return label_set(*studies)


def install_live(system: str) -> dict[str, InstalledWeights]:
    """Untrained networks of a system as its live version, fitted with each other."""
    parts = SYSTEMS[system].configurations["small"].parts
    done: dict[str, InstalledWeights] = {}
    lesions = live("default-lesions")
    assert lesions is not None
    read = {lesions.name: lesions.sha256}
    for role, part in parts.items():
        torch.manual_seed(1)
        module = ARCHITECTURES[part.architecture]()
        if isinstance(module, EmbeddingDensity):
            module.threshold.fill_(1e6)
        provenance = Provenance(
            architecture=part.architecture,
            role=ROLES[part.architecture],
            trained_on="nothing",
            demonstration=True,
            fitted_with=read,
        )
        version = add_version(part.weights, module.state_dict(), provenance)
        done[role] = publish(part.weights, version.version)
        if role in {"clip", "slice"}:
            read = read | {part.weights: version.sha256}
    return done


class SidesSwapped(torch.nn.Module):
    """Says of each lung that it is the other one, as a network that learned from swapped labels."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, slabs: torch.Tensor) -> torch.Tensor:
        return self.module(slabs)[:, [0, 2, 1]]
