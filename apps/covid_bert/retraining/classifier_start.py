"""The networks of a classifier at one moment: a head, and those that it was fitted with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from covid_bert.errors import WeightsError
from covid_bert.retraining.classifier_systems import IMAGE_ROLE, ImageNetwork, Reader, reader_of
from covid_bert.retraining.models import Model
from covid_bert.retraining.start import starting_versions
from covid_bert.weights.companions import DENSITY, companions
from covid_bert.weights.store import load_into
from covid_bert.weights.untrained import untrained
from covid_bert.weights.version_folder import InstalledWeights


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of one system, ready to be trained on or to be asked.

    Parameters
    ----------
    image
        On images, in evaluation mode on the CPU.
    reader
        Of its embeddings.
    """

    image: ImageNetwork
    reader: Reader

    @classmethod
    def of(cls, system: str, weights: Mapping[str, InstalledWeights]) -> Networks:
        """Load versions by role.

        Raises
        ------
        WeightsError
            If they are damaged.
        """
        modules = {role: _loaded(version) for role, version in weights.items() if role != DENSITY}
        return cls(modules[IMAGE_ROLE[system]], reader_of(system, modules))  # type: ignore[arg-type]


def starting_weights(model: Model, folder: Path) -> dict[str, InstalledWeights]:
    """Versions by role; a run that is taken up again goes on from the same head, whatever is live by then.

    Parameters
    ----------
    model
        A classifier.
    folder
        Of the run.

    Returns
    -------
    dict
        Without ``density`` where there is none of these networks.

    Raises
    ------
    WeightsError
        If no head is live, or a network that it was fitted with is missing or damaged.
    """
    return weights_with(model, starting_versions(folder, [model.head])[model.head])


def weights_with(model: Model, head: InstalledWeights) -> dict[str, InstalledWeights]:
    """Versions by role that a classifier uses if `head` is live; errors as `starting_weights`."""
    configuration = model.configuration
    assert configuration is not None
    assert configuration.head is not None
    names = {role: part.weights for role, part in configuration.parts.items()}
    return _complete(companions(names, configuration.head, head))


def _complete(found: Mapping[str, InstalledWeights | None]) -> dict[str, InstalledWeights]:
    missing = [role for role, weights in found.items() if weights is None and role != DENSITY]
    if missing:
        raise WeightsError(
            f"The weights of the {missing[0]} network are not installed, so there is nothing to begin a training with.",
            "See `covid-bert weights list`.",
        )
    return {role: weights for role, weights in found.items() if weights is not None}


def _loaded(weights: InstalledWeights) -> nn.Module:
    module, _ = untrained(weights.manifest.architecture, 0)
    load_into(module, weights)
    return module.requires_grad_(True)
