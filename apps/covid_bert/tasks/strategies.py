"""Which study an annotator gets next."""

from __future__ import annotations

import random
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.tasks.activelearning.first import First


class RandomStudy(Strategy):
    """Any study without a final label, each as likely as the others."""

    def __init__(self) -> None:
        super().__init__("Random study without a label")

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, str] | None:
        """Return the id of a study, or None when all are labelled."""
        studies = sorted(datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels")))
        return {"id": random.choice(studies)} if studies else None


def strategies() -> dict[str, Strategy]:
    """All strategies by name."""
    return {"first": First(), "random": RandomStudy()}
