"""Training of the lung network on corrected masks, from the live version on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from covid_bert.errors import CovidBertError, NotEnoughLabelsError, OutputError
from covid_bert.lungs import unet
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.retraining import distributed
from covid_bert.retraining.cases import LabelledStudy, LabelSet, Part
from covid_bert.retraining.fitting import fit
from covid_bert.retraining.gate import Judgement
from covid_bert.retraining.judging import candidate_segmenter
from covid_bert.retraining.learner import FitPlan, Fitted
from covid_bert.retraining.lung_cases import keep_case, kept_case
from covid_bert.retraining.lung_judging import judge_lungs
from covid_bert.retraining.lung_learner import BATCH, PATTERNS, PHANTOM_SHARE, LungLearner
from covid_bert.retraining.models import model_named
from covid_bert.retraining.opponents import opponents_of
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.start import starting_versions
from covid_bert.retraining.trained import THEN, Trained, TrainedWeights
from covid_bert.segmentation import load_segmenter
from covid_bert.segmentation.loading import window_of
from covid_bert.training.material import PHANTOM_SEEDS, phantom_material
from covid_bert.training.slabs import WorkingMaterial
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Metric
from covid_bert.weights.store import load_into
from covid_bert.weights.version_folder import InstalledWeights

MINIMUM_CASES = 2
# A small part of that of the default training: the network is to change where it was corrected, and not to forget.
LEARNING_RATE = 1e-4
STEPS_PER_CASE, FEWEST_STEPS, MOST_STEPS = 6, 16, 80


def train_lungs(labels: LabelSet, parameters: TrainingParameters, folder: Path, progress: RunProgress) -> Trained:
    """Train the lung network again on corrected masks, and judge it against the live version and the anchor.

    Parameters
    ----------
    labels
        Studies with lung masks; those without are not looked at. Those of validation and test are not learned from.
    parameters
        Of the request.
    folder
        Of the run: holds the checkpoint and the studies as they are learned from. A run that was killed goes on
        from it.
    progress
        Told of everything; may ask to stop.

    Returns
    -------
    Trained
        Not installed yet.

    Raises
    ------
    NotEnoughLabelsError
        If fewer than two corrected studies belong to the training part.
    CancelledError, TrainingDivergedError, OutputError
        See `covid_bert.retraining.fitting.fit`.
    WeightsError
        If no lung network is live to begin with, or it is damaged.
    """
    began = distributed.from_first(lambda: starting_versions(folder, [unet.WEIGHTS_NAME]))[unet.WEIGHTS_NAME]
    training, validation, test = (_masked(labels, part) for part in (Part.TRAINING, Part.VALIDATION, Part.TEST))
    _check_count(training)
    material = folder / "material"
    training, validation = distributed.from_first(lambda: _kept(training, validation, material, progress))
    _check_count(training)
    window = window_of(began)
    module = ARCHITECTURES[unet.ARCHITECTURE]()
    load_into(module, began, architecture=unet.ARCHITECTURE)
    learner = LungLearner(
        module,
        [kept_case(study, material) for study in training],
        _phantoms(),
        [kept_case(study, material) for study in validation],
        window_hu=window,
        seed=parameters.seed,
        check=progress.check,
    )
    plan = _plan(parameters, len(training))
    key = f"{began.sha256} {sorted(study.digest for study in (*training, *validation))}"
    checkpoint = folder / "lungs.checkpoint"
    fitted = fit(learner, plan, checkpoint, progress.fitting(), progress.stop, identity=key)
    for note in fitted.notes:
        progress.note(note)
    judgement, judged = distributed.from_first(
        lambda: _judged(fitted, window, (*validation, *test), parameters, progress)
    )
    return _trained(began, fitted, judgement, (*training, *judged), plan)


def _masked(labels: LabelSet, part: Part) -> tuple[LabelledStudy, ...]:
    return tuple(study for study in labels.of(part) if study.mask is not None)


def _check_count(training: Sequence[LabelledStudy]) -> None:
    if len(training) < MINIMUM_CASES:
        have = "no corrected lung mask" if not training else "one corrected lung mask"
        raise NotEnoughLabelsError(
            f"There is {have} to learn from, and {MINIMUM_CASES} are needed.",
            "Correct and submit more studies; about three of five patients are learned from, the others are for "
            "judging.",
            found=len(training),
            needed=MINIMUM_CASES,
        )


def _kept(
    training: Sequence[LabelledStudy], held: Sequence[LabelledStudy], folder: Path, progress: RunProgress
) -> tuple[tuple[LabelledStudy, ...], tuple[LabelledStudy, ...]]:
    """Bring all studies into the folder, one after the other; return those that could be used."""
    total = len(training) + len(held)
    usable: list[LabelledStudy] = []
    for number, study in enumerate((*training, *held)):
        progress.update("material", number / total)
        try:
            keep_case(study, folder)
        except OutputError:
            raise
        except CovidBertError as error:
            progress.leave_out(study.identifier, error.message)
        else:
            usable.append(study)
    progress.update("material", 1.0)
    return tuple(item for item in training if item in usable), tuple(item for item in held if item in usable)


def _phantoms() -> list[WorkingMaterial]:
    return [
        WorkingMaterial.of(phantom_material(seed), unet.PIXEL_MILLIMETERS, around_lungs=False) for seed in PHANTOM_SEEDS
    ]


def _plan(parameters: TrainingParameters, cases: int) -> FitPlan:
    return FitPlan(
        epochs=parameters.epochs,
        steps_per_epoch=min(max(STEPS_PER_CASE * cases, FEWEST_STEPS), MOST_STEPS),
        learning_rate=LEARNING_RATE,
        patience=parameters.patience,
        seed=parameters.seed,
        device=parameters.device,
        precision=parameters.precision,
        accumulation=parameters.accumulation,
    )


def _judged(
    fitted: Fitted,
    window: tuple[float, float],
    studies: Sequence[LabelledStudy],
    parameters: TrainingParameters,
    progress: RunProgress,
) -> tuple[Judgement, tuple[LabelledStudy, ...]]:
    device = str(distributed.device_of_process(parameters.device))
    # What is live now may be another version than the one it began with.
    opponents = opponents_of(model_named("lungs"))
    module = ARCHITECTURES[unet.ARCHITECTURE]()
    module.load_state_dict(fitted.state)
    candidate = candidate_segmenter(module, window, device)
    others = {name: load_segmenter(head, unet.ARCHITECTURE, device) for name, head in opponents.heads.items()}
    judgement, judged = judge_lungs(candidate, others, studies, progress)
    return replace(judgement, standing=opponents.standing), judged


def _trained(
    began: InstalledWeights,
    fitted: Fitted,
    judgement: Judgement,
    used: tuple[LabelledStudy, ...],
    plan: FitPlan,
) -> Trained:
    training = [study for study in used if study.part is Part.TRAINING]
    persons = len({study.patient for study in training})
    before = began.manifest
    # Of a training on a training only the last is named, or the sentence would grow without end.
    first = before.trained_on.split(THEN)[0]
    provenance = Provenance(
        architecture=before.architecture,
        role=before.role,
        trained_on=(
            f"{first}{THEN}on {len(training)} corrected lung masks of {persons} patients of this site, and phantoms"
        ),
        licence=before.licence,
        source=f"trained by `covid-bert train lungs`, beginning with {began.name} {began.version}",
        demonstration=before.demonstration,
        input=before.input,
        operating_point=before.operating_point,
        metrics=tuple(
            Metric(data=f"{item.data}, {item.patients} patients", measure=item.measure, value=round(item.value, 4))
            for item in judgement.metrics
        ),
    )
    configuration = {
        **asdict(plan),
        "batch": BATCH,
        "phantom_share": PHANTOM_SHARE,
        "patterns": ", ".join(f"{name} {chance:g}" for name, chance in PATTERNS),
        "processes": distributed.world(),
        "best_epoch": fitted.best_epoch,
        "stopped_early": fitted.stopped_early,
    }
    return Trained(
        weights=(TrainedWeights(began.name, fitted.state, provenance),),
        head=began.name,
        judgement=judgement,
        curve=fitted.curve,
        seconds=fitted.seconds,
        started_from={"name": began.name, "version": began.version, "sha256": began.sha256},
        configuration=configuration,
        used=used,
        notes=fitted.notes,
    )
