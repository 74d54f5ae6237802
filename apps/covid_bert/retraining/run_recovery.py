"""How a run stands whose own word on that is damaged: its version tells that it ended well."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from covid_bert.errors import UnreadableFileError, WeightsError
from covid_bert.retraining.run_records import RunRequest, RunResult, Standing

_LOST = "How this training stood could not be read any more; this is what its version tells."


def recovered(request: RunRequest | None) -> Standing:
    """Return how a run stands: done if it has made its version, else failed; nobody takes it up unasked.

    Parameters
    ----------
    request
        What was asked; None where that cannot be read either.
    """
    result = None if request is None else next(_results(request), None)
    if result is not None:
        return Standing(status="done", result=result)
    error = UnreadableFileError(
        "How this training stands cannot be read, and it has made no version.",
        "Begin a new one; or go on with this one from its last checkpoint, with `covid-bert train` and --run.",
    )
    return Standing(status="failed", error=error.to_json())


def _results(request: RunRequest) -> Iterator[RunResult]:
    """What came of the run, by the records of the versions that are there."""
    # Only what is damaged needs them, and they bring all networks.
    from covid_bert.retraining.models import head_of
    from covid_bert.retraining.versions import training_record
    from covid_bert.weights.history import history
    from covid_bert.weights.store import installed, list_versions

    name = head_of(request.model)
    went_live = {line.version for line in history(name)}
    for version in reversed(list_versions(name)):
        with contextlib.suppress(WeightsError):
            weights = installed(name, version)
            record = None if weights.shipped else training_record(weights)
            if record is not None and record.run == request.id:
                yield RunResult(
                    name=name,
                    version=version,
                    published=version in went_live,
                    gate=record.gate,
                    metrics=record.metrics,
                    notes=(_LOST,),
                )
