"""What the process that scores studies computes, behind everything else that wants the processor."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covid_bert.active_learning.score_store import ScoreStore
from covid_bert.progress import Progress

if TYPE_CHECKING:
    from covid_bert.workers import Compute, Outcome

_LOWEST_PRIORITY = 19


def open_scoring(studies: str, most_voxels: int) -> Compute:
    """Make way for everything else in this process, and return what scores a study in it.

    Parameters
    ----------
    studies
        Folder with the studies.
    most_voxels
        Larger studies are refused by what their header says.
    """
    _step_back()
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook

    from covid_bert.active_learning.scoring import score_into
    from covid_bert.pacs.retrieval import bring
    from covid_bert.volumes.assembly import voxel_limit

    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    store = ScoreStore.of_studies(studies)

    def compute(request: dict[str, Any], progress: Progress, _folder: Path) -> Outcome:
        # A step of a stage takes some tenths of a second on one thread; a layer, some hundredths.
        image = Path(request["image"])
        bring(image, progress)
        with voxel_limit(most_voxels), register_module_forward_pre_hook(lambda _module, _input: progress.step()):
            scored = score_into(store, request["identifier"], image, progress)
        return {}, {"scored": scored}

    return compute


def _step_back() -> None:
    """Let this thread, and those that it starts, compute only while nothing else wants the processor."""
    if hasattr(os, "SCHED_IDLE"):
        # Before a thread of mere low priority is sent away, it may finish its time slice, and inferences wait for that.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    elif hasattr(os, "nice"):
        os.nice(_LOWEST_PRIORITY)
