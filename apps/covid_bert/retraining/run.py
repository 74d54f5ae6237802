"""One run from labels to a version: trainer, gate, version folders, and the pointer if the gate lets it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from covid_bert import __version__
from covid_bert.errors import ConflictError, WeightsError
from covid_bert.retraining import distributed
from covid_bert.retraining.cases import LabelledStudy, LabelSet
from covid_bert.retraining.curve import curve_picture, curve_table
from covid_bert.retraining.gate import decide, rule_for
from covid_bert.retraining.models import model_named
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.records import (
    CURVE_FILE,
    CURVE_PICTURE,
    RECORD_FILE,
    DataEntry,
    GateDecision,
    Measured,
    TrainingRecord,
)
from covid_bert.retraining.trained import Trained, TrainedWeights
from covid_bert.retraining.versions import training_record
from covid_bert.weights.history import history
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.store import installed, list_versions, publish, standing
from covid_bert.weights.version_folder import InstalledWeights


@dataclass(frozen=True)
class RunOutcome:
    """What a run left.

    Parameters
    ----------
    head, version
        The weights whose pointer decides what is live, and their new version.
    published
        Whether it is live.
    gate
        Why it may be, or not.
    versions
        Of all weights of the model that were made, by name.
    metrics
        Of the new version.
    notes
        Sentences for people.
    """

    head: str
    version: str
    published: bool
    gate: GateDecision
    versions: Mapping[str, str]
    metrics: tuple[Measured, ...]
    notes: tuple[str, ...] = ()


def run(
    model: str,
    labels: LabelSet,
    parameters: TrainingParameters,
    folder: Path,
    progress: RunProgress,
    *,
    identity: str,
    by: str = "",
) -> RunOutcome:
    """Train a model on labelled studies, make a version of it, and publish that if the gate lets it.

    A run that was killed goes on where it was if it is called again with the same folder and labels; it never leaves
    two versions of itself. Under ``torchrun`` all processes call it with the same folder.

    Parameters
    ----------
    model
        A key of `covid_bert.retraining.models.MODELS`.
    labels
        See `covid_bert.retraining.cases.LabelSet`.
    parameters
        Of the request.
    folder
        For this run alone. It holds images of patients while the run lasts; the caller removes it afterwards.
    progress
        Told of everything; may ask to stop.
    identity
        Of the run; another run never has the same.
    by
        For the history of what was live: name of the token or program.

    Raises
    ------
    NotFoundError
        If there is no such trainer.
    NotEnoughLabelsError
        If there are too few labels to learn from.
    CancelledError
        If the run was asked to stop; nothing was installed.
    TrainingDivergedError
        If the loss is not a number any more; nothing was installed.
    OutputError, WeightsError
        If something cannot be written, or the weights to begin with are damaged.
    ParameterError
        If there is no such device.
    """
    known = model_named(model)
    with distributed.processes(parameters.device):
        for left in labels.left_out:
            progress.leave_out(left.identifier, left.reason)
        for note in labels.notes:
            progress.note(note)
        if known.system is None:
            from covid_bert.retraining.lungs import train_lungs

            trained = train_lungs(labels, parameters, folder, progress)
        else:
            from covid_bert.retraining.classifiers import train_classifier

            trained = train_classifier(known.system, labels, parameters, folder, progress)
        return distributed.from_first(lambda: _install(model, identity, trained, labels, parameters, progress, by))


def _install(
    model: str,
    identity: str,
    trained: Trained,
    labels: LabelSet,
    parameters: TrainingParameters,
    progress: RunProgress,
    by: str,
) -> RunOutcome:
    """Write the versions, the head last of those that it reads, and move the pointer."""
    # The last moment to stop: half of a model is not installed, and what was published is not called stopped.
    progress.update("installing", 0.0)
    decided = decide(trained.judgement, rule_for(model_named(model).system))
    record = _record(model, identity, trained, labels, parameters, decided, len(progress.state.left_out))
    files: dict[str, bytes | str] = {
        RECORD_FILE: record.model_dump_json(indent=2) + "\n",
        CURVE_FILE: curve_table(trained.curve),
        CURVE_PICTURE: curve_picture(trained.curve),
    }
    done: dict[str, InstalledWeights] = {}
    for item in trained.weights:
        made = _made_before(item.name, identity)
        if made is not None and item.name == trained.head:
            # What was judged then is what was installed then.
            record = _recorded(made)
        done[item.name] = made or add_version(item.name, item.state, _with_read(item, done), files)
    head, gate = done[trained.head], record.gate
    notes, published = (*labels.notes, *trained.notes), False
    if any(line.version == head.version for line in history(head.name)):
        # By this run, before it was killed; whoever has gone back since is not overruled.
        published = standing(head.name) == head.version
    elif gate.passed and not parameters.publish:
        notes = (*notes, "It passed the gate and stays a candidate, as was asked for.")
    elif gate.passed:
        # Killed between pointer and history, it is live already, and only its line is missing.
        replaces = head.version if standing(head.name) == head.version else gate.replaces
        try:
            publish(head.name, head.version, by=by, reason=gate.reason, instead_of=replaces)
            published = True
        except ConflictError as error:
            notes = (*notes, str(error))
    progress.finish()
    return RunOutcome(
        head=head.name,
        version=head.version,
        published=published,
        gate=gate,
        versions={name: weights.version for name, weights in done.items()},
        metrics=record.metrics,
        notes=notes,
    )


def _made_before(name: str, identity: str) -> InstalledWeights | None:
    """The version that this run made before it was killed."""
    for version in reversed(list_versions(name)):
        # A version that was damaged since is not this run's: it would have ended with it.
        with contextlib.suppress(WeightsError):
            weights = installed(name, version)
            record = None if weights.shipped else training_record(weights)
            if record is not None and record.run == identity:
                return weights.verified()
    return None


def _recorded(weights: InstalledWeights) -> TrainingRecord:
    record = training_record(weights)
    assert record is not None, "it was found by its record"
    return record


def _with_read(item: TrainedWeights, done: Mapping[str, InstalledWeights]) -> Provenance:
    """The provenance with the SHA-256 of the networks that were installed before and that these weights read."""
    read = {name: done[name].sha256 for name in item.reads}
    provenance = item.provenance
    changes: dict[str, object] = {"fitted_with": provenance.fitted_with | read}
    if provenance.calibration is not None:
        fitted = (provenance.calibration.fitted_with or {}) | read
        changes["calibration"] = provenance.calibration.model_copy(update={"fitted_with": fitted})
    return provenance.model_copy(update=changes)


def _record(
    model: str,
    identity: str,
    trained: Trained,
    labels: LabelSet,
    parameters: TrainingParameters,
    gate: GateDecision,
    left_out: int,
) -> TrainingRecord:
    return TrainingRecord(
        model=model,
        run=identity,
        started_from=trained.started_from,
        configuration={**parameters.model_dump(), **trained.configuration},
        data=tuple(_entry(study, model) for study in trained.used),
        data_sha256=labels.digest,
        split=labels.split,
        rule=labels.rule,
        left_out=left_out,
        metrics=trained.judgement.metrics,
        gate=gate,
        curve=trained.curve,
        seconds=trained.seconds,
        code_version=__version__,
    )


def _entry(study: LabelledStudy, model: str) -> DataEntry:
    # Not the class itself: a version folder is no place for diagnoses.
    label = study.mask_sha256 if model_named(model).system is None else study.digest
    return DataEntry(image_sha256=study.image_sha256, label_sha256=label, part=study.part.value)
