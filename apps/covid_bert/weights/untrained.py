"""Networks with random initialisation, for trying out the program where no trained weights are at hand."""

from __future__ import annotations

import threading

import torch
from torch import nn

from covid_bert.errors import ParameterError
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.weights.identity import WeightsIdentity

# Torch has one generator for all threads: two networks built at once would draw each other's numbers.
_BUILDING = threading.Lock()


def untrained(architecture: str, seed: int) -> tuple[nn.Module, WeightsIdentity]:
    """Build a randomly initialised network that is the same for the same seed.

    Parameters
    ----------
    architecture
        Key of `covid_bert.networks.architectures.ARCHITECTURES`.
    seed
        Of torch's generator on the CPU, whose state is left as it was.

    Returns
    -------
    module
        In evaluation mode, on the CPU.
    identity
        With ``trained`` False.

    Raises
    ------
    ParameterError
        If there is no such architecture.
    """
    if architecture not in ARCHITECTURES:
        raise ParameterError(f"There is no network {architecture!r}.", f"Known are {', '.join(ARCHITECTURES)}.")
    with _BUILDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = ARCHITECTURES[architecture]().eval()
    return module, WeightsIdentity.of_untrained(architecture, seed, module.state_dict())
