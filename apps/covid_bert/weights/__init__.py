"""Weights: what is known (registry), what is installed (store), and how it gets here (download, import).

Importing this package does not import torch.
"""

from covid_bert.weights.identity import WeightsIdentity
from covid_bert.weights.manifest import Manifest, Provenance, SourceFile
from covid_bert.weights.registry import RegistryEntry, Role, entries, entry
from covid_bert.weights.serving import Serviceable, rollback, serviceable
from covid_bert.weights.store import InstalledWeights, installed, list_versions, live, publish

__all__ = [
    "InstalledWeights",
    "Manifest",
    "Provenance",
    "RegistryEntry",
    "Role",
    "Serviceable",
    "SourceFile",
    "WeightsIdentity",
    "entries",
    "entry",
    "installed",
    "list_versions",
    "live",
    "publish",
    "rollback",
    "serviceable",
]
