"""What any request would use now: the weights of all systems, lung and lesion methods, as one value to compare."""

from __future__ import annotations

from covid_bert.errors import WeightsError
from covid_bert.systems import SYSTEMS
from covid_bert.systems.loading import weights_of
from covid_bert.weights.serving import serviceable
from covid_bert.weights.store import list_names
from covid_bert.weights.version_folder import InstalledWeights


def weights_in_use() -> dict[str, list[str | None]]:
    """Return, for each name of weights and each system, the manifests of what would be used, and the warnings.

    Returns
    -------
    dict
        Differs from that of another moment if a request would be answered with other weights, or with another warning
        about them. Manifests hold the SHA-256 of the weights; None stands for an untrained network. For what cannot be
        used, the error's message.
    """
    found: dict[str, list[str | None]] = {}
    for name in list_names():
        try:
            one = serviceable(name)
            found[name] = [_manifest(one.weights), *one.warnings]
        except WeightsError as error:
            found[name] = [error.message]
    for system, entry in SYSTEMS.items():
        for configuration in entry.configurations.values():
            place = f"{system} {configuration.name}"
            try:
                used = weights_of(configuration)
                found[place] = [*map(_manifest, used.weights.values()), *used.warnings]
            except WeightsError as error:
                found[place] = [error.message]
    return found


def _manifest(weights: InstalledWeights | None) -> str | None:
    return weights.manifest.model_dump_json() if weights is not None else None
