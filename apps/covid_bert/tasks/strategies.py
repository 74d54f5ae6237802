"""Which study an annotator gets next, under MONAI Label's own server and under ours."""

from __future__ import annotations

import functools
import random
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from covid_bert.active_learning.choice import best, measured, values_of
from covid_bert.active_learning.score_store import ScoreStore
from covid_bert.active_learning.scores import StudyScores, weights_digest
from covid_bert.datastore.names import LabelTag
from covid_bert.datastore.reading import text_of
from covid_bert.errors import WeightsError

_STRATEGIES = {
    "uncertainty": "The study that the networks are least sure of: class scores, stages and mask",
    "diversity": "The study that is least like those that are labelled or handed out",
    "mixed": "A study that the networks are unsure of, and that stands for others unlike those that are labelled",
}


class LiveScores:
    """Scores of a folder of studies by the weights that are live when they are asked for.

    Parameters
    ----------
    studies
        Folder with the studies, or MONAI Label's address of them.
    """

    def __init__(self, studies: Path | str) -> None:
        self._studies = studies

    @functools.cached_property
    def store(self) -> ScoreStore:
        """Where they are kept; opened when it is first needed."""
        return ScoreStore.of_studies(self._studies)

    def current(self) -> dict[str, StudyScores]:
        """Return the scores by study; none where the live weights are damaged."""
        try:
            return self.store.scores(weights_digest())
        except WeightsError:
            return {}


class StudyStrategy(Strategy):
    """What all strategies share. MONAI Label calls them; our server asks for `choose`, to heed its reservations."""

    needs_scores = False

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, str] | None:
        """Return the id of a study without a label, or None when all are labelled."""
        free = sorted(datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels")))
        labelled = sorted(set(datastore.list_images()).difference(free))
        return self.choose(free, labelled, text_of(request.get("label_tag") or LabelTag.FINAL)) if free else None

    @abstractmethod
    def choose(self, candidates: Sequence[str], covered: Sequence[str], tag: str) -> dict[str, str]:
        """Choose one of several studies.

        Parameters
        ----------
        candidates
            At least one, sorted.
        covered
            Studies that are labelled, or being labelled.
        tag
            Of the labels that are to be made.

        Returns
        -------
        dict
            ``id``, and ``strategy_note`` where the choice was not the strategy's, or made among some only.
        """


class FirstStudy(StudyStrategy):
    """The first study without a label, by its id."""

    def __init__(self) -> None:
        super().__init__("First study without a label")

    def choose(self, candidates: Sequence[str], covered: Sequence[str], tag: str) -> dict[str, str]:  # noqa: ARG002
        """Choose the first one."""
        return {"id": candidates[0]}


class RandomStudy(StudyStrategy):
    """Any study without a label, each as likely as the others."""

    def __init__(self) -> None:
        super().__init__("Random study without a label")

    def choose(self, candidates: Sequence[str], covered: Sequence[str], tag: str) -> dict[str, str]:  # noqa: ARG002
        """Draw one."""
        return {"id": random.choice(candidates)}


class ScoredStudy(StudyStrategy):
    """The study of the largest worth by its scores.

    Parameters
    ----------
    name
        One of `covid_bert.active_learning.choice.SCORED_STRATEGIES`.
    scores
        Of all studies.
    """

    needs_scores = True

    def __init__(self, name: str, scores: LiveScores) -> None:
        super().__init__(_STRATEGIES[name])
        self.name = name
        self._scores = scores

    def choose(self, candidates: Sequence[str], covered: Sequence[str], tag: str) -> dict[str, str]:
        """Choose by the scores that there are, at random where there are none, and say so."""
        scores = self._scores.current()
        known = measured(candidates, covered, scores, masks=tag != LabelTag.STUDY.value)
        values = values_of(self.name, known)
        chosen = best(values)
        if chosen is None:
            note = "No study has scores of the live weights yet, so this one was drawn at random."
            return {"id": random.choice(candidates), "strategy_note": note}
        scored = int(np.count_nonzero(~np.isnan(values)))
        if scored < len(candidates):
            note = f"{scored} of {len(candidates)} studies have scores yet; this one was chosen among those."
            return {"id": candidates[chosen], "strategy_note": note}
        return {"id": candidates[chosen]}


def strategies(scores: LiveScores) -> dict[str, Strategy]:
    """All strategies by name."""
    found: dict[str, Strategy] = {"first": FirstStudy(), "random": RandomStudy()}
    return {**found, **{name: ScoredStudy(name, scores) for name in _STRATEGIES}}
