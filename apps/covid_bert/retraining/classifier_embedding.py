"""Embeddings of many studies, kept as they are made, so that a run that was killed does not begin anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from covid_bert.retraining import distributed
from covid_bert.retraining.channel_cache import SeenChannels
from covid_bert.retraining.checkpoint import SUFFIX, read_checkpoint, write_checkpoint
from covid_bert.retraining.classifier_systems import Embedded, ImageNetwork, embed_with
from covid_bert.weights.identity import state_sha256

_KEPT_EVERY = 20.0  # seconds


class EmbeddingFolder:
    """Embeddings by network, one file for each.

    Parameters
    ----------
    folder
        Of the run.
    system
        ``s1``, ``s2`` or ``baseline``.
    device
        For the networks.
    check
        Called after each study; may raise to cancel.
    """

    def __init__(self, folder: Path, system: str, device: torch.device, check: Callable[[], None]) -> None:
        self.folder, self.system, self.device, self.check = folder, system, device, check

    def embed(self, network: ImageNetwork, studies: Sequence[SeenChannels]) -> list[Embedded]:
        """Run a network over studies that were not run over before; one process does, all get the result.

        Raises
        ------
        OutputError
            If they cannot be kept.
        """
        return distributed.from_first(lambda: self._embed(network, studies))

    def _embed(self, network: ImageNetwork, studies: Sequence[SeenChannels]) -> list[Embedded]:
        identity = state_sha256(network.state_dict())
        path = self.folder / f"embeddings-{identity[:16]}{SUFFIX}"
        state, _ = read_checkpoint(path, identity)
        kept: dict[str, Any] = state["studies"] if state is not None else {}
        missing = list({study.digest: study for study in studies if study.digest not in kept}.values())
        written = time.monotonic()
        own_place = network.to(self.device)

        def keep() -> None:
            write_checkpoint(path, {"identity": identity, "studies": kept})

        for study in missing:
            (found,) = embed_with(own_place, self.system, [study], device=self.device)
            kept[study.digest] = [found.embeddings, found.own]
            if time.monotonic() - written > _KEPT_EVERY:
                keep()
                written = time.monotonic()
            self.check()
        network.cpu()
        if missing:
            keep()
        return [Embedded(study.source, study.label, *kept[study.digest]) for study in studies]
