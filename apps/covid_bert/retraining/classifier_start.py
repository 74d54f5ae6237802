"""The networks that a training of a classifier begins with: the live head, and those that it was fitted with."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from covid_bert.errors import WeightsError
from covid_bert.retraining.models import Model
from covid_bert.retraining.start import starting_versions
from covid_bert.weights.store import installed, list_versions, live, load_into
from covid_bert.weights.untrained import untrained
from covid_bert.weights.version_folder import InstalledWeights

DENSITY = "density"


def starting_networks(model: Model, folder: Path) -> dict[str, InstalledWeights]:
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
        If the head is not installed or damaged, or a network that it was fitted with is not there any more.
    """
    configuration = model.configuration
    assert configuration is not None
    assert configuration.head is not None
    head = starting_versions(folder, [model.head])[model.head]
    found = {configuration.head: head}
    for role, part in configuration.parts.items():
        if role not in (DENSITY, configuration.head):
            found[role] = _fitted_with(head, part.weights).verified()
    image = next(found[role] for role in ("clip", "slice") if role in found)
    for version in reversed(list_versions(configuration.parts[DENSITY].weights)):
        density = installed(configuration.parts[DENSITY].weights, version)
        if density.manifest.fitted_with.get(image.name) == image.sha256:
            found[DENSITY] = density.verified()
            break
    return found


def loaded(weights: InstalledWeights) -> nn.Module:
    """A network with these weights, in evaluation mode on the CPU, ready to be trained on.

    Raises
    ------
    WeightsError
        If they are damaged.
    """
    module, _ = untrained(weights.manifest.architecture, 0)
    load_into(module, weights)
    return module.requires_grad_(True)


def _fitted_with(head: InstalledWeights, name: str) -> InstalledWeights:
    """The version of `name` that the head reads; the live one where its manifest does not say."""
    sha256 = head.manifest.fitted_with.get(name)
    if sha256 is None:
        weights = live(name)
        if weights is not None:
            return weights
    for version in reversed(list_versions(name)):
        weights = installed(name, version)
        if weights.sha256 == sha256:
            return weights
    raise WeightsError(
        f"{head.name} {head.version} was trained on the output of a version of {name} that is not installed any more.",
        f"Make another version of {head.name} live: `covid-bert weights list` shows them.",
    )
