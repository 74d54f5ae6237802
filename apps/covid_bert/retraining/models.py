"""The models that can be trained again: several weights each, of which one, the head, decides what is live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from covid_bert.errors import NotFoundError
from covid_bert.lungs import unet
from covid_bert.systems.configuration import (
    BASELINE_CONFIGURATIONS,
    S1_CONFIGURATIONS,
    S2_CONFIGURATIONS,
    Part,
    SystemConfiguration,
)


@dataclass(frozen=True)
class Model:
    """What a trainer makes.

    Parameters
    ----------
    name
        Of the trainer: one of `covid_bert.retraining.parameters.TRAINERS`.
    head
        Name of the weights whose pointer alone decides what is live.
    companions
        Names of the other weights, which are found by the SHA-256 that the head's manifest has (``fitted_with``), and
        densities by the one that theirs has; their pointers are not looked at.
    configuration
        Of the system; None for the lungs.
    """

    name: str
    head: str
    companions: tuple[str, ...] = ()
    configuration: SystemConfiguration | None = None

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of all weights, the head first."""
        return (self.head, *self.companions)

    @property
    def system(self) -> str | None:
        """``s1``, ``s2`` or ``baseline``; None for the lungs."""
        return self.name.removeprefix("covid_") if self.configuration is not None else None

    def part(self, role: str) -> Part:
        """Names of weights and architecture of a role: see `SystemConfiguration.parts`.

        Raises
        ------
        NotFoundError
            If the model has no such role.
        """
        if self.configuration is None or role not in self.configuration.parts:
            raise NotFoundError(f"The model {self.name} has no part {role!r}.", "Ask for one of its configuration.")
        return self.configuration.parts[role]


def _classifier(name: str, configuration: SystemConfiguration) -> Model:
    assert configuration.head is not None
    head = configuration.parts[configuration.head].weights
    companions = tuple(part.weights for part in configuration.parts.values() if part.weights != head)
    return Model(name, head, companions, configuration)


_ALL = (
    Model("lungs", unet.WEIGHTS_NAME),
    _classifier("covid_s1", S1_CONFIGURATIONS["small"]),
    _classifier("covid_s2", S2_CONFIGURATIONS["small"]),
    _classifier("covid_baseline", BASELINE_CONFIGURATIONS["small"]),
)
MODELS: Mapping[str, Model] = MappingProxyType({model.name: model for model in _ALL})


def model_named(name: str) -> Model:
    """Return the model of a trainer.

    Raises
    ------
    NotFoundError
        If there is none of that name.
    """
    model = MODELS.get(name)
    if model is None:
        raise NotFoundError("There is no trainer of that name.", f"There are {', '.join(MODELS)}.")
    return model


def head_of(name: str) -> str:
    """Return the name of a model's head; any other name as it is."""
    return MODELS[name].head if name in MODELS else name


def model_of_head(weights: str) -> Model | None:
    """Return the model whose head these weights are, or None."""
    return next((model for model in _ALL if model.head == weights), None)
