"""From the label set to what the classifiers learn from; plain sentences where it is too little."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from covid_bert.errors import InputError, NotEnoughLabelsError, NotFoundError, ParameterError
from covid_bert.retraining import distributed
from covid_bert.retraining.cases import LabelledStudy, LabelSet, Part
from covid_bert.retraining.channel_cache import ChannelCache, SeenChannels
from covid_bert.retraining.progress import RunProgress
from covid_bert.retraining.reference import classifier_references
from covid_bert.training.studies import COVID, OTHER

FINDING_CLASS = "covid"
LEAST_STUDIES = 3
# Of each class: from there on the networks on images are trained too.
WHOLE_FROM = 40
# A study with such an error is left out; what concerns all studies, such as missing weights, ends the run.
_OF_ONE_STUDY = (InputError, NotFoundError, ParameterError)
# Of the stage; the reference studies follow.
_LABELLED_SHARE = 0.8


@dataclass(frozen=True, eq=False)
class ClassifierMaterial:
    """What one run learns from and is judged on.

    Parameters
    ----------
    training, validation, test
        Channels of the labelled studies that can be used.
    used
        These studies, in this order.
    """

    training: tuple[SeenChannels, ...]
    validation: tuple[SeenChannels, ...]
    test: tuple[SeenChannels, ...]
    used: tuple[LabelledStudy, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of what decides how a fit comes out: channels, persons, classes and parts, without the test."""
        lines = [
            f"{part} {item.source} {item.label} {item.digest}"
            for part, items in (("training", self.training), ("validation", self.validation))
            for item in items
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def counts(self, *, validation: bool = False) -> tuple[int, int]:
        """Studies with the finding, and without."""
        labels = Counter(item.label for item in (self.validation if validation else self.training))
        return labels[COVID], labels[OTHER]


def label_of(study: LabelledStudy) -> int:
    """Index into `CLASS_NAMES`: the finding against all others."""
    return COVID if study.study_class == FINDING_CLASS else OTHER


def gather(labels: LabelSet, cache: ChannelCache, progress: RunProgress) -> ClassifierMaterial:
    """Prepare the channels of all studies with a class, one after the other.

    Parameters
    ----------
    labels
        All labelled studies.
    cache
        Keeps what is prepared; a run that was killed goes on after the last study that was.
    progress
        Told of each study, and of those that cannot be used.

    Raises
    ------
    NotEnoughLabelsError
        If there are too few studies of a class, before anything is prepared where that is known by then.
    WeightsError
        If lungs or lesions cannot be segmented because weights are damaged or missing.
    CancelledError
        If the run is asked to stop.
    """
    wanted = [study for part in Part for study in labels.of(part) if study.study_class is not None]
    check_counts(Counter(label_of(study) for study in wanted if study.part is Part.TRAINING))
    found = prepared(wanted, cache, progress)
    check_counts(Counter(seen.label for study, seen in found if study.part is Part.TRAINING))
    parts = {part: tuple(seen for study, seen in found if study.part is part) for part in Part}
    return ClassifierMaterial(
        parts[Part.TRAINING], parts[Part.VALIDATION], parts[Part.TEST], tuple(study for study, _ in found)
    )


def prepared(
    studies: Sequence[LabelledStudy], cache: ChannelCache, progress: RunProgress
) -> list[tuple[LabelledStudy, SeenChannels]]:
    """Prepare the channels of some studies with a class; errors as `gather`, but for too few."""
    # One process prepares, the others wait and read what it kept.
    refused = distributed.from_first(lambda: _prepare(studies, cache, progress))
    return [(study, cache.labelled(study, label_of(study))) for study in studies if study.identifier not in refused]


def references(progress: RunProgress) -> tuple[SeenChannels, ...]:
    """Channels of the gate's reference studies, made once and kept.

    Raises
    ------
    WeightsError
        If there is no lesion network, or they cannot be kept.
    CancelledError
        If the run is asked to stop.
    """

    def tell(_what: str, done: int, count: int) -> None:
        progress.update("material", _LABELLED_SHARE + (1.0 - _LABELLED_SHARE) * done / count)

    distributed.from_first(lambda: len(classifier_references(tell=tell)))
    return tuple(
        SeenChannels(
            study.source,
            study.label,
            study.channels,
            study.lesion_share,
            hashlib.sha256(study.channels.tobytes()).hexdigest(),
        )
        for study in classifier_references()
    )


def check_counts(counts: Counter[int]) -> None:
    """Refuse too few studies to learn from.

    Raises
    ------
    NotEnoughLabelsError
        With the counts.
    """
    found = counts[COVID], counts[OTHER]
    if min(found) >= LEAST_STUDIES:
        return
    hint = "Label more studies; of all patients, about 60 % are trained on, and the others are kept for judging."
    missing = [name for name, count in zip(("with", "without"), found, strict=True) if not count]
    if len(missing) == 1:
        raise NotEnoughLabelsError(
            f"No study {missing[0]} COVID-19 is among the {sum(found)} labelled studies to learn from: both classes "
            "are needed.",
            hint,
        )
    raise NotEnoughLabelsError(
        f"The classifiers need {LEAST_STUDIES} labelled studies with COVID-19 and {LEAST_STUDIES} without to learn "
        f"from; there are {found[0]} and {found[1]}.",
        hint,
    )


def chosen_scope(asked: str, material: ClassifierMaterial) -> str:
    """``whole`` or ``aggregator``: what was asked for, or what the number of labels allows."""
    if asked != "auto":
        return asked
    return "whole" if min(material.counts()) >= WHOLE_FROM else "aggregator"


def _prepare(wanted: Sequence[LabelledStudy], cache: ChannelCache, progress: RunProgress) -> set[str]:
    """Prepare what is not kept yet; return the identifiers of those that cannot be used."""
    refused = set()
    for number, study in enumerate(wanted):
        progress.update("material", _LABELLED_SHARE * number / len(wanted))
        try:
            cache.labelled(study, label_of(study), progress.inner())
        except _OF_ONE_STUDY as error:
            refused.add(study.identifier)
            progress.leave_out(study.identifier, error.message)
    return refused
