"""What the worker computes: an infer task of MONAI Label's app, in a process of its own."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covid_bert.progress import Progress

if TYPE_CHECKING:
    from covid_bert.workers import Compute, Outcome

# MONAI Label reads these when it is imported.
_SETTINGS = {
    # On the thread that calls: progress and cancelling belong to it.
    "MONAI_LABEL_INFER_CONCURRENCY": "-1",
    # The list of studies belongs to the server, which has already looked the study up.
    "MONAI_LABEL_DATASTORE_AUTO_RELOAD": "false",
    "MONAI_LABEL_DATASTORE_READ_ONLY": "true",
}


def open_app(studies: str, most_voxels: int) -> Compute:
    """Open the app in the worker, and return what runs its tasks.

    Parameters
    ----------
    studies
        Folder with the studies.
    most_voxels
        Larger studies are refused by what their header says.
    """
    os.environ.update(_SETTINGS)
    from covid_bert.main import CovidBertApp
    from covid_bert.tasks.infer import observed
    from covid_bert.volumes.assembly import voxel_limit

    logging.getLogger("monailabel").setLevel(logging.WARNING)
    app = CovidBertApp(app_dir=str(Path(__file__).resolve().parents[2]), studies=studies, conf={})

    def compute(request: dict[str, Any], progress: Progress, folder: Path) -> Outcome:
        with observed(progress, folder), voxel_limit(most_voxels):
            reply = app.infer(request)
        if reply["file"] is None:
            return {}, reply["params"]
        own = Path(reply["file"])
        paths = [own, *sorted(path for path in folder.iterdir() if path != own)]
        return {path.name.split(".")[0]: path for path in paths}, reply["params"]

    return compute
