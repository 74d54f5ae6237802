"""Scoring one study: from its files to a row of the store."""

from __future__ import annotations

from pathlib import Path

from covid_bert.active_learning.score_store import ScoreStore
from covid_bert.active_learning.scores import content_digest, score_study, signature, weights_digest
from covid_bert.errors import InputError
from covid_bert.progress import Progress
from covid_bert.systems.memory import on_card_or_processor
from covid_bert.volumes import read


def score_into(store: ScoreStore, identifier: str, image: Path, progress: Progress, *, device: str = "auto") -> bool:
    """Score a study with the live weights, and keep the scores, or why there are none.

    A study whose files or weights change meanwhile is left without scores, and is then missing still.

    Parameters
    ----------
    store
        Keeps it.
    identifier, image
        The study and its file or folder.
    progress
        Told stage and fraction; may pause and cancel.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns
    -------
    bool
        Whether there are scores; False for a study that cannot be classified.

    Raises
    ------
    WeightsError
        If weights are missing or damaged.
    OutputError
        If the scores cannot be written.
    CancelledError
        If it was cancelled.
    CovidBertError
        If the study cannot be scored now, for example for want of memory.
    """
    state, weights = signature(image), weights_digest()
    with progress.stage("content"):
        content = content_digest(image)
    if store.knows(identifier, state, content, weights):
        return True
    try:
        with progress.stage("reading"):
            volume = read(image)
        scores = on_card_or_processor(volume, device, lambda study, place: score_study(study, progress, device=place))
    except InputError as error:
        store.fail(content, weights, error.code)
        return False
    if weights_digest() == weights and signature(image) == state:
        store.keep(content, weights, scores)
    return True
