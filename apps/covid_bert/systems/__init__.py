"""The published systems by name, each with its configurations, all ending in a `StudyResult`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from covid_bert.errors import ParameterError
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

__all__ = ["SYSTEMS", "Classification", "ClassificationSystem", "StudyResult", "SystemEntry", "create"]


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
DEFAULT_CONFIGURATION = "corrected"


def create(
    system: str,
    configuration: str = DEFAULT_CONFIGURATION,
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
        ``corrected`` or ``published``.
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
    if configuration not in entry.configurations:
        raise ParameterError(
            f"The system {system} has no configuration {configuration!r}.",
            f"Choose one of: {', '.join(entry.configurations)}.",
        )
    return entry.system(entry.configurations[configuration], device=device, lungs=lungs)
