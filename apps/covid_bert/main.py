"""The MONAI Label app: what the server offers.

``monailabel start_server --app apps/covid_bert --studies FOLDER`` and ``covid-bert serve`` both start it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

from covid_bert import RESEARCH_USE_ONLY, __version__
from covid_bert.datastore.forgetting import forget
from covid_bert.datastore.names import UPLOAD_PREFIX
from covid_bert.errors import NotFoundError
from covid_bert.lungs.mask import LUNG_LABELS
from covid_bert.pacs.settings import folder_of, is_address
from covid_bert.pacs.studies import open_studies
from covid_bert.tasks.batch import SequentialBatchInfer
from covid_bert.tasks.infer import infer_tasks
from covid_bert.tasks.scoring import METHOD, StudyScoring
from covid_bert.tasks.strategies import LiveScores, StudyStrategy, strategies
from covid_bert.tasks.train import newest_first, trainers

# Archives of MONAI Label's own, which do not speak DICOMweb.
_OTHER_ARCHIVES = ("xnat", "dsa")


class CovidBertApp(MONAILabelApp):
    """Chest CT: lung segmentation, and classification of the study by S1, S2 and the baseline."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        if settings.MONAI_LABEL_DATASTORE.lower() not in _OTHER_ARCHIVES:
            # A folder here, for labels and for images that are being used.
            studies = folder_of(studies)
        self.scores = LiveScores(studies)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="covid-bert",
            description=f"Chest CT study classification with 3D CNN-BERT. {RESEARCH_USE_ONLY}",
            version=__version__,
            labels=LUNG_LABELS,
        )

    def init_datastore(self) -> Datastore:
        """Open our datastore, for the folder's own studies or a DICOMweb archive's; others as MONAI Label has them."""
        if is_address(self.studies):
            return super().init_datastore()
        store = open_studies(
            self.studies,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )
        # MONAI Label's own server has no timer for that.
        forget(Path(self.studies))
        return store

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Run a model on a study of the datastore, of a session or uploaded with the request; on no other path."""
        image, store = request.get("image"), datastore or self.datastore()
        if not isinstance(image, str) or not image or not _exists(image):
            return super().infer(request, datastore)
        # MONAI Label takes whatever exists for a path, even an id that happens to be a file in its working directory.
        known = store.get_image_uri(image)
        if not known:
            allowed = self._may_be_read(Path(image))
            return super().infer(request if allowed else {**request, "image": ""}, datastore)
        reply = super().infer({**request, "image": known}, datastore)
        if request.get("save_label") and reply["file"]:
            tag = request.get("label_tag") or DefaultLabelTag.ORIGINAL
            information = {"model": request.get("model"), "params": reply["params"]}
            reply["label"] = store.save_label(image, reply["file"], tag, information)
        return reply

    def strategy(self, name: str) -> StudyStrategy:
        """Return a strategy by its name.

        Raises
        ------
        NotFoundError
            If there is none.
        """
        found = self._strategies.get(name)
        if not isinstance(found, StudyStrategy):
            raise NotFoundError("The server has no strategy with that name.", "Ask for the list with GET /info/.")
        return found

    def use_sessions(self, sessions: object) -> None:
        """Keep uploaded studies with the server's `covid_bert.server.sessions_store.SessionStore`."""
        self._sessions = sessions

    def _may_be_read(self, named: Path) -> bool:
        path, uploads = named.resolve(), Path(tempfile.gettempdir()).resolve()
        folders = [Path(self.studies).resolve()]
        if named.name != ".." and named.parent.resolve() == folders[0]:
            return True  # Also if it is a symbolic link: the operator has put it there.
        if self.sessions() is not None:
            folders.append(Path(self.sessions().store_path).resolve())
        # MONAI Label keeps an upload directly in the folder for temporary files, under a name that begins so.
        uploaded = path.parent == uploads and path.name.startswith(tempfile.gettempprefix())
        uploaded |= path.parent.parent == uploads and path.parent.name.startswith(UPLOAD_PREFIX)
        return uploaded or any(path.is_relative_to(folder) for folder in folders)

    def init_infers(self) -> dict[str, InferTask]:
        """The infer tasks by model name."""
        return infer_tasks()

    def init_trainers(self) -> dict[str, TrainTask]:
        """The train tasks by model name."""
        return trainers(self.studies)

    def init_batch_infer(self) -> Callable[..., Any]:
        """Inference over many studies."""
        return SequentialBatchInfer()

    def init_strategies(self) -> dict[str, Strategy]:
        """Which study is next."""
        return strategies(self.scores)

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """What gives studies their scores."""
        return {METHOD: StudyScoring(self.scores)}

    def info(self) -> dict[str, Any]:
        """MONAI Label's description of the app, with the line that every screen shows."""
        info = super().info()
        return {**info, "train_stats": newest_first(info["train_stats"]), "research_use_only": RESEARCH_USE_ONLY}


def _exists(image: str) -> bool:
    try:
        return Path(image).exists()
    except (OSError, ValueError):
        return False  # too long for a path, or with characters that none has
