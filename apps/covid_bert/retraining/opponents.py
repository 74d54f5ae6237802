"""The versions that a candidate must not be worse than: the live one, and the anchor of its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from covid_bert.errors import WeightsError
from covid_bert.retraining.models import Model
from covid_bert.weights.companions import companions
from covid_bert.weights.serving import anchor, serviceable
from covid_bert.weights.store import standing
from covid_bert.weights.version_folder import InstalledWeights


@dataclass(frozen=True)
class Opponents:
    """Versions of the head of a model.

    Parameters
    ----------
    heads
        By what they are called: the live one (or, if that is damaged, the one that serves in its place), and the anchor
        where that is another.
    standing
        What the pointer said before they were chosen: see `covid_bert.weights.store.standing`.
    """

    heads: Mapping[str, InstalledWeights]
    standing: str

    @property
    def live(self) -> InstalledWeights:
        """The one that serves now."""
        return next(iter(self.heads.values()))


def opponents_of(model: Model) -> Opponents:
    """Find what a candidate of a model is to be compared with now.

    Raises
    ------
    WeightsError
        If no version that is intact is live.
    """

    def check(weights: InstalledWeights) -> None:
        check_companions(model, weights)

    # First: if it moves meanwhile, what was compared does not go live.
    pointed = standing(model.head)
    live = serviceable(model.head, check).weights
    if live is None:
        raise WeightsError(
            f"No version of {model.head} is live, so there is nothing to compare with.",
            "See `covid-bert weights list`, and publish one with `covid-bert weights publish`.",
        )
    first = anchor(model.head, check)
    heads = {live.version: live}
    if first is not None and first != live:
        # An update of the program may bring a version whose number a site's own has already.
        heads[first.version if first.version != live.version else f"{first.version} of the program"] = first
    return Opponents(heads, pointed)


def check_companions(model: Model, head: InstalledWeights) -> None:
    """Refuse a head whose other networks are missing or damaged.

    Raises
    ------
    WeightsError
        Naming what is missing.
    """
    configuration = model.configuration
    if configuration is not None and configuration.head is not None:
        companions({role: part.weights for role, part in configuration.parts.items()}, configuration.head, head)
