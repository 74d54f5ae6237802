"""The published systems by name, each with its configurations, all ending in a `StudyResult`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from covid_bert.errors import ParameterError, WeightsError
from covid_bert.lesions.network import WEIGHTS_NAME as LESION_WEIGHTS
from covid_bert.systems.base import Classification, ClassificationSystem
from covid_bert.systems.baseline import SliceVotingSystem
from covid_bert.systems.configuration import (
    BASELINE_CONFIGURATIONS,
    S1_CONFIGURATIONS,
    S2_CONFIGURATIONS,
    SystemConfiguration,
)
from covid_bert.systems.result import StudyResult
from covid_bert.systems.s1 import TwoStageSystem
from covid_bert.systems.s2 import ClipMlpSystem
from covid_bert.weights.store import live

__all__ = [
    "SYSTEMS",
    "Classification",
    "ClassificationSystem",
    "StudyResult",
    "SystemEntry",
    "create",
    "default_configuration",
]


@dataclass(frozen=True)
class SystemEntry:
    """A system and its configurations."""

    system: type[ClassificationSystem[Any]]
    configurations: Mapping[str, SystemConfiguration]

    @property
    def title(self) -> str:
        """Name for people."""
        return self.system.TITLE


SYSTEMS: dict[str, SystemEntry] = {
    "s1": SystemEntry(TwoStageSystem, S1_CONFIGURATIONS),
    "s2": SystemEntry(ClipMlpSystem, S2_CONFIGURATIONS),
    "baseline": SystemEntry(SliceVotingSystem, BASELINE_CONFIGURATIONS),
}


def default_configuration(system: str) -> str:
    """The configuration of a system that is used where none is asked for.

    Parameters
    ----------
    system
        A key of `SYSTEMS`.

    Returns
    -------
    str
        ``small`` where its weights and those of the lesion network are live, which they are as long as they come with
        the program; else ``corrected``. Damaged weights count as live, so that their damage is reported.
    """
    names = [part.weights for part in SYSTEMS[system].configurations["small"].parts.values()]
    return "small" if all(_is_live(name) for name in (*names, LESION_WEIGHTS)) else "corrected"


def _is_live(name: str) -> bool:
    try:
        return live(name) is not None
    except WeightsError:
        return True


def create(
    system: str,
    configuration: str | None = None,
    *,
    device: str = "auto",
    lungs: str = "auto",
) -> ClassificationSystem[Any]:
    """Make a system.

    Parameters
    ----------
    system
        A key of `SYSTEMS`.
    configuration
        ``small``, ``corrected`` or ``published``; that of `default_configuration` when None.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    lungs
        Lung method: one of `covid_bert.lungs.METHOD_CHOICES`.

    Raises
    ------
    ParameterError
        If system, configuration or device do not exist; the message lists what there is.
    """
    if system not in SYSTEMS:
        raise ParameterError(f"There is no system {system!r}.", f"Choose one of: {', '.join(SYSTEMS)}.")
    entry = SYSTEMS[system]
    configuration = configuration or default_configuration(system)
    if configuration not in entry.configurations:
        raise ParameterError(
            f"The system {system} has no configuration {configuration!r}.",
            f"Choose one of: {', '.join(entry.configurations)}.",
        )
    return entry.system(entry.configurations[configuration], device=device, lungs=lungs)
