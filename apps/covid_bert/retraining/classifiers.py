"""Training of the classifiers on study labels, from the live version on.

A run has stages: material, network on images (scope ``whole`` only), embeddings, what reads them, judging. Each keeps
what it makes in the folder of the run or in the cache of channels: a run that was killed goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from covid_bert.lesions.network import WEIGHTS_NAME as LESION_WEIGHTS
from covid_bert.lungs import WEIGHTS_BY_METHOD
from covid_bert.retraining import distributed
from covid_bert.retraining.cases import LabelSet
from covid_bert.retraining.channel_cache import LUNGS_METHOD, ChannelCache, SeenChannels
from covid_bert.retraining.classifier_embedding import EmbeddingFolder
from covid_bert.retraining.classifier_judging import ClassifierJudgement, HeldStudies, judge_classifier
from covid_bert.retraining.classifier_learners import AggregatorLearner, ImageLearner
from covid_bert.retraining.classifier_material import ClassifierMaterial, chosen_scope, gather, references
from covid_bert.retraining.classifier_start import Networks, starting_weights, weights_with
from covid_bert.retraining.classifier_systems import Embedded
from covid_bert.retraining.classifier_versions import CARRIER, Result
from covid_bert.retraining.fitting import FitPlan, Fitted, fit
from covid_bert.retraining.measuring import TEST
from covid_bert.retraining.models import Model, model_named
from covid_bert.retraining.opponents import opponents_of
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.records import CurvePoint
from covid_bert.retraining.trained import Trained
from covid_bert.weights.identity import state_sha256
from covid_bert.weights.serving import serviceable

AGGREGATOR_BATCH = 16
# What reads the embeddings is so small that an epoch has a fixed number of steps.
AGGREGATOR_STEPS = 20
# Of the stage ``training``, where the network on images is trained too.
_IMAGE_SHARE = 0.9


@dataclass(frozen=True)
class Pace:
    """How a network is trained again: a fraction of the rates at which it was trained at first.

    Parameters
    ----------
    batch
        Samples of a mini-batch.
    learning_rate, weight_decay
        Of AdamW.
    """

    batch: int
    learning_rate: float
    weight_decay: float


IMAGE_PACES = {"s1": Pace(8, 2e-4, 1e-2), "s2": Pace(8, 2e-4, 1e-2), "baseline": Pace(32, 2e-4, 1e-2)}
AGGREGATOR_PACES = {
    "s1": Pace(AGGREGATOR_BATCH, 1e-4, 0.0),
    "s2": Pace(AGGREGATOR_BATCH, 1e-4, 0.0),
    "baseline": Pace(AGGREGATOR_BATCH, 2e-4, 0.0),
}
SAMPLES_PER_STUDY, FEWEST_STEPS, MOST_STEPS = 2, 4, 60


def train_classifier(
    system: str, labels: LabelSet, parameters: TrainingParameters, folder: Path, progress: RunProgress
) -> Trained:
    """Train a system again on the classes that readers gave, and judge it against the live version and the anchor.

    Parameters
    ----------
    system
        ``s1``, ``s2`` or ``baseline``.
    labels
        Studies with a class; those without are not looked at. Those of validation and test are not learned from.
    parameters
        Of the request.
    folder
        Of the run: holds checkpoints and embeddings.
    progress
        Told of everything; may ask to stop.

    Returns
    -------
    Trained
        Not installed yet.

    Raises
    ------
    NotEnoughLabelsError
        If there are fewer than three studies with COVID-19, or without, in the training part.
    CancelledError, TrainingDivergedError, OutputError
        See `covid_bert.retraining.fitting.fit`.
    WeightsError
        If weights to begin with, or those of the lesion network, are missing or damaged.
    ParameterError
        If there is no such device.
    """
    return _Run(system, labels, parameters, folder, progress).trained()


class _Run:
    """One training: its parts in the order in which they happen."""

    def __init__(
        self, system: str, labels: LabelSet, parameters: TrainingParameters, folder: Path, progress: RunProgress
    ) -> None:
        self.system, self.parameters, self.folder, self.progress = system, parameters, folder, progress
        self.model: Model = model_named(f"covid_{system}")
        device = distributed.device_of_process(parameters.device)
        self.began = distributed.from_first(lambda: starting_weights(self.model, folder))
        # Before the studies are seen with them: another version may go live while the run goes on.
        self.lesions, self.lungs = _identity(LESION_WEIGHTS), _identity(WEIGHTS_BY_METHOD[LUNGS_METHOD])
        cache = ChannelCache(device=str(device))
        self.material: ClassifierMaterial = gather(labels, cache, progress)
        self.references: Sequence[SeenChannels] = references(progress)
        self.whole = chosen_scope(parameters.scope, self.material) == "whole"
        self.embeddings = EmbeddingFolder(folder, system, device, progress.check)
        self.fits: list[Fitted] = []
        self.plans: dict[str, FitPlan] = {}
        self.notes: list[str] = []

    def trained(self) -> Trained:
        """Train, judge, and describe."""
        networks = Networks.of(self.system, self.began)
        judged_on = self._judged_on()
        if self.whole:
            self._train_images(networks, judged_on)
            networks = Networks(networks.image, networks.reader.on(networks.image))
        training = self.embeddings.embed(networks.image, self.material.training)
        validation = self.embeddings.embed(networks.image, self.material.validation)
        self._train_reader(networks, training, validation if judged_on is self.material.validation else training)
        judged = self._judged(networks)
        if judged.why:
            self._note(judged.why)
        self.progress.update("judging", 1.0)
        assert self.lesions is not None, "nothing could have been prepared without"
        result = Result(
            self.system,
            self.began,
            networks,
            self.whole,
            training,
            validation,
            judged.calibration,
            tuple(item for item in judged.judgement.metrics if item.data == TEST),
            self.lesions,
            self.lungs,
        )
        head = self.began[self._head]
        return Trained(
            weights=result.weights(),
            head=head.name,
            judgement=judged.judgement,
            curve=self._curve(),
            seconds=sum(fitted.seconds for fitted in self.fits),
            started_from={"name": head.name, "version": head.version, "sha256": head.sha256},
            configuration=self._configuration(),
            used=self.material.used,
            notes=tuple(self.notes),
        )

    def _judged(self, networks: Networks) -> ClassifierJudgement:
        opponents = distributed.from_first(lambda: opponents_of(self.model))
        others = {
            name: Networks.of(self.system, weights_with(self.model, head)) for name, head in opponents.heads.items()
        }
        held = HeldStudies(self.material.validation, self.material.test, self.references)
        live = weights_with(self.model, opponents.live)
        found = judge_classifier(
            networks,
            others,
            held,
            self.embeddings.embed,
            self.progress,
            live_is_calibrated=live[CARRIER[self.system]].manifest.calibration is not None,
        )
        return replace(found, judgement=replace(found.judgement, standing=opponents.standing))

    def _judged_on(self) -> Sequence[SeenChannels]:
        """What ends the training: the validation studies, if they are of both classes."""
        if min(self.material.counts(validation=True)):
            return self.material.validation
        self._note(
            "The frozen validation set lacks a class, so the studies that were learned from decided when the training "
            "ended."
        )
        return self.material.training

    def _train_images(self, networks: Networks, judged_on: Sequence[SeenChannels]) -> None:
        pace = IMAGE_PACES[self.system]
        learner = ImageLearner(
            networks.image, self.system, self.material.training, judged_on, batch=pace.batch, seed=self.parameters.seed
        )
        samples = SAMPLES_PER_STUDY * len(self.material.training)
        steps = min(max(math.ceil(samples / pace.batch), FEWEST_STEPS), MOST_STEPS)
        self._fit("images", learner, pace, steps, (0.0, _IMAGE_SHARE))
        learner.module.cpu()

    def _train_reader(self, networks: Networks, training: Sequence[Embedded], judged_on: Sequence[Embedded]) -> None:
        pace = AGGREGATOR_PACES[self.system]
        learner = AggregatorLearner(networks.reader, training, judged_on, batch=pace.batch, seed=self.parameters.seed)
        share = (_IMAGE_SHARE if self.whole else 0.0, 1.0)
        self._fit("aggregator", learner, pace, AGGREGATOR_STEPS, share, state_sha256(networks.image.state_dict()))
        networks.reader.cpu()

    def _fit(
        self,
        name: str,
        learner: ImageLearner | AggregatorLearner,
        pace: Pace,
        steps: int,
        share: tuple[float, float],
        reads: str = "",
    ) -> None:
        plan = self.plans[name] = FitPlan(
            epochs=self.parameters.epochs,
            steps_per_epoch=steps,
            learning_rate=pace.learning_rate,
            weight_decay=pace.weight_decay,
            patience=self.parameters.patience,
            seed=self.parameters.seed,
            device=self.parameters.device,
            precision=self.parameters.precision,
            accumulation=self.parameters.accumulation,
        )
        began = " ".join(f"{role} {weights.sha256}" for role, weights in sorted(self.began.items()))
        identity = f"{self.system} {name} {began} {self.material.digest} {reads} {pace}"
        checkpoint = self.folder / f"{name}.checkpoint"
        fitted = fit(learner, plan, checkpoint, self.progress.fitting(share), self.progress.stop, identity=identity)
        self.fits.append(fitted)
        for note in fitted.notes:
            self._note(note)

    def _note(self, sentence: str) -> None:
        self.notes.append(sentence)
        self.progress.note(sentence)

    @property
    def _head(self) -> str:
        assert self.model.configuration is not None
        assert self.model.configuration.head is not None
        return self.model.configuration.head

    def _curve(self) -> tuple[CurvePoint, ...]:
        """Of all fits, one after the other."""
        points = [point for fitted in self.fits for point in fitted.curve]
        return tuple(point.model_copy(update={"epoch": number}) for number, point in enumerate(points, start=1))

    def _configuration(self) -> dict[str, str | int | float | bool | None]:
        facts: dict[str, str | int | float | bool | None] = {
            "scope": "whole" if self.whole else "aggregator",
            "processes": distributed.world(),
        }
        for (name, plan), fitted in zip(self.plans.items(), self.fits, strict=True):
            pace = (IMAGE_PACES if name == "images" else AGGREGATOR_PACES)[self.system]
            facts |= {f"{name}_{key}": value for key, value in asdict(plan).items()}
            facts |= {
                f"{name}_batch": pace.batch,
                f"{name}_best_epoch": fitted.best_epoch,
                f"{name}_stopped_early": fitted.stopped_early,
            }
        return facts


def _identity(name: str) -> tuple[str, str] | None:
    """Name and SHA-256 of what is live."""
    weights = serviceable(name).weights
    return None if weights is None else (weights.name, weights.sha256)
