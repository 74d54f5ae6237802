"""The manifest: what is written beside each installed set of weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from covid_bert.weights.registry import (
    NAME_PATTERN,
    Calibration,
    InputContract,
    Metric,
    OperatingPoint,
    RegistryEntry,
    Role,
)

NOT_STATED = "not stated"
# Of further files of a version: never a path.
FILE_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceFile(_Record):
    """The file that the weights were imported from.

    Parameters
    ----------
    name
        Base name.
    sha256
        Of that file.
    registry_match
        How far it is the published file: its whole SHA-256 agrees, the known prefix agrees, or nothing is known.
    """

    name: str
    sha256: str
    registry_match: Literal["sha256", "sha256-prefix", "none"] = "none"


class Provenance(_Record):
    """Where weights come from and what they are for: the part of the manifest that their maker knows.

    Parameters
    ----------
    architecture
        Key of `covid_bert.networks.architectures.ARCHITECTURES`, or ``lungmask-r231``.
    role
        What they do in a system.
    trained_on, licence, source
        Sentences for people.
    demonstration
        True for weights that only show how the program works (trained on generated data): never for real studies.
    fitted_with
        SHA-256 of the networks whose outputs these weights read, by the name of their weights: with others they are
        void. For a network on images those of the lesion network, and of the lung network where that found the lungs
        of what was learned from: another version of it does not make anything void.
    source_file
        The imported file; None for weights that were trained here.
    input, calibration, operating_point, metrics
        As in the registry.
    """

    architecture: str
    role: Role
    trained_on: str = NOT_STATED
    licence: str = NOT_STATED
    source: str = NOT_STATED
    demonstration: bool = False
    fitted_with: dict[str, str] = Field(default_factory=dict)
    source_file: SourceFile | None = None
    input: InputContract | None = None
    calibration: Calibration | None = None
    operating_point: OperatingPoint | None = None
    metrics: tuple[Metric, ...] = ()

    @classmethod
    def of_entry(cls, entry: RegistryEntry, source_file: SourceFile) -> Provenance:
        """Provenance of a file that was imported as a registry entry.

        Where no published checksum confirms the file, its origin is what the importing person said: that is noted, and
        the entry's numbers, which may be of another file, are left out.
        """
        if source_file.registry_match == "none":
            return cls(
                architecture=entry.architecture,
                role=entry.role,
                trained_on=f"{entry.trained_on} (as stated on import; no published checksum confirms the file)",
                licence=entry.licence,
                source=entry.source,
                demonstration=entry.demonstration,
                source_file=source_file,
            )
        return cls(
            architecture=entry.architecture,
            role=entry.role,
            trained_on=entry.trained_on,
            licence=entry.licence,
            source=entry.source,
            demonstration=entry.demonstration,
            source_file=source_file,
            input=entry.input,
            calibration=entry.calibration,
            operating_point=entry.operating_point,
            metrics=entry.metrics,
        )


class Manifest(Provenance):
    """Provenance, and what the store adds.

    Parameters
    ----------
    schema_version
        Of this file's format.
    name, version
        Under which it is installed.
    sha256, bytes
        Of ``model.safetensors``.
    created
        ISO 8601, UTC.
    code_version
        Version of covid-bert that wrote it.
    files
        SHA-256 of what else lies in the folder of the version, by name: how a training went.
    """

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    version: Annotated[str, Field(pattern=r"^[rv]\d{3,}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: int
    created: str
    code_version: str
    files: dict[Annotated[str, Field(pattern=FILE_PATTERN)], Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(
        default_factory=dict
    )
