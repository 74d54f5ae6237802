"""UIDs that follow from what they name: the same result gives the same UIDs, other weights give others."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable
from typing import Any

from covid_bert.systems.result import StudyResult
from covid_bert.weights.identity import WeightsIdentity

# What may differ between two computations of one result: when and where it was computed, and names of files.
_CIRCUMSTANCES = {
    "provenance": {"created", "seconds", "device"},
    "location_map": {"file_name"},
    "lungs": {"mask_file_name"},
    "lesions": {"mask_file_name"},
}
# Scores are written, and compared, with this many decimals.
DECIMALS = 4


def uid_of(*parts: str | bytes) -> str:
    """Return the UID of what some parts describe: "2.25." and the UUID of their SHA-256 (DICOM PS3.5 B.2).

    Parameters
    ----------
    *parts
        Anything that tells the object from others. Their order and their borders count.

    Returns
    -------
    str
        At most 44 characters.
    """
    return f"2.25.{uuid.UUID(bytes=digest_of(*parts)[:16], version=5).int}"


def digest_of(*parts: str | bytes) -> bytes:
    """Return the SHA-256 of some parts, whose order and borders count."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(content)}:".encode())
        digest.update(content)
    return digest.digest()


def weights_key(weights: Iterable[WeightsIdentity]) -> str:
    """Return names, versions and checksums of weights, in an order of their own."""
    return " ".join(sorted(f"{item.name}@{item.version}:{item.sha256}" for item in weights))


def device_uid(result: StudyResult) -> str:
    """Return the UID of the device that made a result: the system in one configuration, version and set of weights."""
    made = result.provenance
    return uid_of("device", made.system, made.configuration, made.software_version, weights_key(made.weights))


def result_key(result: StudyResult) -> str:
    """Return what a result says, without the circumstances of its computation, as text to be hashed."""
    said = result.model_dump(mode="json", exclude=_CIRCUMSTANCES)
    return json.dumps(_settled(said), sort_keys=True)


def _settled(value: Any) -> Any:
    """Round all numbers, so that the last bits of a float do not make another result."""
    if isinstance(value, float):
        return round(value, DECIMALS) + 0.0
    if isinstance(value, dict):
        return {key: _settled(each) for key, each in value.items()}
    return [_settled(each) for each in value] if isinstance(value, list) else value
