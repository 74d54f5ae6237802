"""Scoring all studies, as MONAI Label's own server runs it: in the process that it starts for it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod

from covid_bert.active_learning.score_store import ScoreStore
from covid_bert.active_learning.scores import check_weights, signature, weights_digest
from covid_bert.active_learning.scoring import score_into
from covid_bert.errors import CovidBertError, OutputError, WeightsError
from covid_bert.pacs.kept import worth_fetching
from covid_bert.pacs.retrieval import bring
from covid_bert.progress import Progress
from covid_bert.tasks.strategies import LiveScores

METHOD = "study_scores"


class StudyScoring(ScoringMethod):
    """Uncertainty and embedding of each study that has none of the live weights.

    Parameters
    ----------
    scores
        Of all studies.
    """

    def __init__(self, scores: LiveScores) -> None:
        super().__init__("Uncertainty and embedding of each study, for the strategies that need them")
        self._scores = scores

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score what has no scores yet.

        Returns
        -------
        dict
            ``total``, ``skipped``, ``executed`` and ``failed`` studies, and ``latency`` in seconds.

        Raises
        ------
        WeightsError
            If weights are missing or damaged.
        OutputError
            If the scores cannot be written.
        """
        start, failed = time.monotonic(), 0
        studies = studies_of(datastore)
        todo = missing(self._scores.store, studies)
        device = request.get("device") or "auto"
        for identifier, image in todo.items():
            try:
                bring(image)
                done = score_into(
                    self._scores.store,
                    identifier,
                    image,
                    Progress(),
                    device="auto" if device == "cuda" else str(device),
                )
            except (WeightsError, OutputError):
                raise
            except CovidBertError:
                done = False
            failed += not done
        return {
            "total": len(studies),
            "skipped": len(studies) - len(todo),
            "executed": len(todo) - failed,
            "failed": failed,
            "latency": round(time.monotonic() - start, 3),
        }


def studies_of(datastore: Datastore) -> dict[str, Path]:
    """File or folder of each study, those without a final label first: they are what may be handed out."""
    free = sorted(datastore.get_unlabeled_images())
    labelled = sorted(set(datastore.list_images()).difference(free))
    places = {identifier: datastore.get_image_uri(identifier) for identifier in (*free, *labelled)}
    return {identifier: Path(place) for identifier, place in places.items() if place}


def missing(store: ScoreStore, studies: dict[str, Path]) -> dict[str, Path]:
    """Forget what is out of date, and return the studies that the live weights are to score, in their order.

    Of an archive that is a sample; see `covid_bert.pacs.kept.worth_fetching`.

    Raises
    ------
    WeightsError
        If weights are missing or damaged.
    OutputError
        If the store cannot be written.
    """
    check_weights()
    weights = weights_digest()
    store.prune(studies, weights)
    candidates = worth_fetching(studies)
    lacking = store.missing([(identifier, signature(image)) for identifier, image in candidates.items()], weights)
    return {identifier: studies[identifier] for identifier in lacking}
