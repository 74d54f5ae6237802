"""Inference over many studies of the datastore, one after the other, past bad ones.

MONAI Label's own task divides by the number of graphics cards, and stops at the first study that fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.batch_infer import BatchInferTask

from covid_bert.errors import InternalError

logger = logging.getLogger(__name__)


class SequentialBatchInfer(BatchInferTask):
    """Runs a model on the chosen studies and keeps each mask as a label under the request's tag."""

    def __call__(
        self, request: dict[str, Any], datastore: Datastore, infer: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        """Return the reply for each study, or its error under the key ``error``."""
        images = sorted(self.get_images(request, datastore))
        limit = int(request.get("max_batch_size") or 0) or len(images)
        replies: dict[str, Any] = {}
        for number, image in enumerate(images[:limit], start=1):
            one = {"label_tag": DefaultLabelTag.ORIGINAL, **request, "image": image, "save_label": True}
            try:
                reply = infer(one, datastore)
                file = reply.pop("file", None)
                if file:
                    Path(file).unlink(missing_ok=True)
                replies[image] = reply
            except HTTPException as error:
                replies[image] = {"error": error.detail}
            except Exception as error:
                logger.warning("Batch inference: a study failed with %s", type(error).__name__)
                replies[image] = {"error": InternalError(f"An unexpected error ({type(error).__name__}).").to_json()}
            logger.info("Batch inference: %d of %d studies", number, min(limit, len(images)))
        return replies
