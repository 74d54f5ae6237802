"""The registry: every set of weights that the project knows of, with its origin and how it is to be used.

The facts lie in ``registry.json``. A value that is not known is null there, never a guess. This module does not import
torch, so that listing the registry is instant.
"""

from __future__ import annotations

import functools
from enum import Enum
from importlib import resources
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from covid_bert.errors import NotFoundError

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class Role(str, Enum):
    """What a set of weights does in a system."""

    TRUNK = "trunk"
    CLIP_NETWORK = "clip-network"
    STUDY_NETWORK = "study-network"
    MLP = "mlp"
    LUNGS = "lungs"
    LESIONS = "lesions"
    SLICE_NETWORK = "slice-network"
    DENSITY = "density"


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Normalisation(_Fact):
    """Mean and standard deviation of each channel, for values scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class InputContract(_Fact):
    """What the network expects.

    Parameters
    ----------
    window_hu
        Lower and upper end of the Hounsfield window that maps to [0, 1], for segmenters to [-1, 1]; None where the
        network was not trained on CT.
    window_note
        How the window came about.
    channels
        Meaning of the channels, in order.
    size
        Rows and columns.
    clip_length
        Slices (or frames) of one input; None for a network on single slices, one for an embedding.
    normalisation
        Applied after scaling to [0, 1]; None for no normalisation.
    """

    window_hu: tuple[float, float] | None = None
    window_note: str = ""
    channels: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    clip_length: int | None = None
    normalisation: Normalisation | None = None


class Calibration(_Fact):
    """Temperature that the logits are divided by, and what it was fitted on.

    Parameters
    ----------
    temperature
        Divides the logits.
    fitted_on
        The data.
    fitted_with
        SHA-256 of the other networks behind the same score, by the name of their weights: with others it is void.
    """

    temperature: float = Field(gt=0)
    fitted_on: str
    fitted_with: dict[str, str] = Field(default_factory=dict)


class OperatingPoint(_Fact):
    """Threshold on the calibrated probability of `positive_class`, and how it was chosen."""

    positive_class: str
    threshold: float = Field(ge=0, le=1)
    chosen_by: str


class Metric(_Fact):
    """One published or measured number, as a fraction (0.91, not 91 %)."""

    data: str
    measure: str
    value: float
    note: str = ""


class RegistryEntry(_Fact):
    """One set of weights.

    Parameters
    ----------
    name
        Under which it is installed.
    title
        For people.
    system
        ``S1`` to ``S5``, or ``any``.
    role
        What it does there.
    architecture
        Key of `covid_bert.networks.architectures.ARCHITECTURES`, or ``lungmask-r231``.
    url
        Where it can be downloaded; None if its authors give it out on request.
    file_name
        As published; None where the name says nothing.
    sha256, sha256_prefix
        Of the published file: all 64 digits, or the first ones, which PyTorch's file names carry. Both None if unknown.
    bytes
        Size of the published file; None if unknown.
    licence, source, trained_on
        Terms, page or paper, and training data.
    demonstration
        True for weights trained on generated data: whatever they give says so.
    input
        What the network expects.
    calibration, operating_point
        None until they have been determined.
    metrics
        Published numbers.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    title: str
    system: str
    role: Role
    architecture: str
    url: str | None
    file_name: str | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    sha256_prefix: Annotated[str, Field(pattern=r"^[0-9a-f]{8,63}$")] | None = None
    bytes: Annotated[int, Field(gt=0)] | None = None
    licence: str
    source: str
    trained_on: str
    demonstration: bool = False
    input: InputContract
    calibration: Calibration | None = None
    operating_point: OperatingPoint | None = None
    metrics: tuple[Metric, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> RegistryEntry:
        if self.url is not None and not self.url.startswith("https://"):
            raise ValueError(f"{self.name}: the URL must be https")
        if self.url is not None and self.file_name is None:
            raise ValueError(f"{self.name}: a download needs a file name")
        if self.sha256 is not None and self.sha256_prefix is not None:
            raise ValueError(f"{self.name}: give the whole SHA-256 or its prefix, not both")
        return self

    @property
    def known_sha256(self) -> str | None:
        """The SHA-256 as far as it is known: whole, prefix or None."""
        return self.sha256 or self.sha256_prefix

    def matches_sha256(self, sha256: str) -> bool:
        """Whether a file with this SHA-256 is the published one, as far as that is known."""
        known = self.known_sha256
        return known is not None and sha256.startswith(known)


class _Registry(_Fact):
    entries: tuple[RegistryEntry, ...]

    @model_validator(mode="after")
    def _unique(self) -> _Registry:
        names = [item.name for item in self.entries]
        if len(set(names)) != len(names):
            raise ValueError("names in the registry must be unique")
        return self


@functools.cache
def entries() -> tuple[RegistryEntry, ...]:
    """All entries of the registry, in its order."""
    text = resources.files("covid_bert.weights").joinpath("registry.json").read_text(encoding="utf-8")
    return _Registry.model_validate_json(text).entries


def find(name: str) -> RegistryEntry | None:
    """The entry called `name`, or None."""
    return next((item for item in entries() if item.name == name), None)


def entry(name: str) -> RegistryEntry:
    """The entry called `name`.

    Raises
    ------
    NotFoundError
        If there is none; ``details['known']`` lists the names.
    """
    found = find(name)
    if found is None:
        known = [item.name for item in entries()]
        raise NotFoundError(
            f"The registry knows no weights called {name!r}.", f"Known are {', '.join(known)}.", known=known
        )
    return found
