"""All cases that readers have labelled, with the newest label of each reader: what agreement and training read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from covid_bert.datastore.image_facts import ImageFacts, image_facts, stated_patient
from covid_bert.datastore.index import LABELS_NAME, Index
from covid_bert.datastore.names import LabelTag
from covid_bert.datastore.study_labels import StudyLabel
from covid_bert.datastore.versions import UNKNOWN_AUTHOR, Version, Versions
from covid_bert.datastore.view import LiveView, View
from covid_bert.errors import NotFoundError
from covid_bert.retraining.cases import LeftOut, Part
from covid_bert.retraining.persons import MOST_JOINED, Place
from covid_bert.retraining.readers import ClassOpinion, MaskOpinion
from covid_bert.retraining.split import SPLIT_NAME, FrozenSplit
from covid_bert.weights.files import remembered_sha256

_MODEL = "model "
_READ_TAGS = (LabelTag.FINAL, LabelTag.STUDY)


@dataclass(frozen=True)
class LabelledCase:
    """One image with what each reader says of it last.

    Parameters
    ----------
    identifier, image
        Of the study; of several with equal images, of the first one.
    image_sha256
        Of its content.
    patient, part
        Of the frozen split.
    masks, classes
        One of each reader, the newest last. Masks are not looked into here.
    """

    identifier: str
    image: Path
    image_sha256: str
    patient: str
    part: Part
    masks: tuple[MaskOpinion, ...]
    classes: tuple[ClassOpinion, ...]


@dataclass(frozen=True)
class Cases:
    """What `read_cases` finds.

    Parameters
    ----------
    cases
        By identifier, sorted.
    left_out
        Labels that cannot be used, and studies.
    notes
        Sentences for people on what concerns many studies.
    """

    cases: list[LabelledCase]
    left_out: list[LeftOut]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Saved:
    """A label's file with who saved it, and when: the time, and the version where times are equal."""

    author: str
    order: tuple[float, int]
    path: Path
    sha256: str


def open_split(folder: Path) -> FrozenSplit:
    """Return the frozen split of a folder of studies; errors as in `FrozenSplit`.

    Raises
    ------
    NotFoundError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise NotFoundError("There is no such folder of studies.", "Give the folder that the server was given.")
    return FrozenSplit(folder / LABELS_NAME / SPLIT_NAME)


def read_cases(folder: Path, split: FrozenSplit, cache: Path) -> Cases:
    """Return the labelled cases of a folder, and the studies and labels that cannot be used.

    Labels that were taken away, and those that models made, are not there. Studies with equal images are one case.

    Parameters
    ----------
    folder
        Folder with the studies.
    split
        Of that folder; studies that are new to it are drawn.
    cache
        Folder in which the hashes of images are kept.

    Raises
    ------
    UnreadableFileError, BusyError, OutputError
        As `FrozenSplit`.
    """
    view = LiveView(folder, Index(folder), follow=False).get()
    versions = Versions(folder / LABELS_NAME)
    left_out: list[LeftOut] = []
    found: dict[str, list[str]] = {}
    facts: dict[str, ImageFacts] = {}
    labels: dict[str, dict[LabelTag, list[Saved]]] = {}
    for identifier in _with_labels(view, versions):
        labels[identifier] = {
            tag: list(_standing(folder, view, versions, identifier, tag, left_out)) for tag in _READ_TAGS
        }
        if not any(labels[identifier].values()):
            continue
        if identifier not in view.studies:
            left_out.append(LeftOut(identifier, "Its image is not in the folder of studies any more."))
            continue
        try:
            facts[identifier] = image_facts(folder / view.studies[identifier].name, split, cache)
        except OSError:
            left_out.append(LeftOut(identifier, "Its image cannot be read from the disk."))
            continue
        found.setdefault(facts[identifier].sha256, []).append(identifier)
    firsts = [twins[0] for twins in found.values()]
    keys = [
        (*facts[first].keys, *(key for twin in twins for key in stated_patient(view.entries[twin], split)))
        for first, twins in zip(firsts, found.values(), strict=True)
    ]
    cases = []
    places = split.assign(keys)
    for first, twins, place in zip(firsts, found.values(), places, strict=True):
        masks, classes = (_of_each_reader(labels[twin][tag] for twin in twins) for tag in _READ_TAGS)
        cases.append(
            LabelledCase(
                first, folder / view.studies[first].name, facts[first].sha256, place.patient, place.part,
                tuple(MaskOpinion(saved.author, saved.path, saved.sha256) for saved in masks),
                tuple(_opinions(first, classes, left_out)),
            )
        )  # fmt: skip
    return Cases(sorted(cases, key=lambda case: case.identifier), left_out, _doubts(places))


def _doubts(places: Sequence[Place]) -> tuple[str, ...]:
    """Say which keys were passed over because too many studies have them."""
    counts = Counter[str](kind for place in places for kind in place.doubtful)
    return tuple(
        f"{counts[kind]} studies have {what} that more than {MOST_JOINED} different ones share. It was taken for one "
        "that stands for nobody, and does not say which studies are of one patient: name their patients."
        for kind, what in (("patient", "a `patient` in their information"), ("dicom", "a DICOM PatientID"))
        if counts[kind]
    )


def is_of_model(version: Version) -> bool:
    """Return whether a model made a label, also one that was saved with the token of who asked for it."""
    return version.author.startswith(_MODEL) or isinstance(version.info.get("model"), str)


def _with_labels(view: View, versions: Versions) -> list[str]:
    """Ids of all studies that have, or had, a label."""
    noted = {identifier for tag, identifier in versions.labels() if tag in _READ_TAGS}
    return sorted(noted.union(*(view.label_names[tag] for tag in _READ_TAGS)))


def _standing(
    folder: Path, view: View, versions: Versions, identifier: str, tag: LabelTag, left_out: list[LeftOut]
) -> Iterator[Saved]:
    """Yield the labels of readers that were not taken away since; faults are added to `left_out`."""
    history = versions.history(tag, identifier)
    for number in versions.damaged(tag, identifier):
        left_out.append(LeftOut(identifier, f"The record of version {number} of its {_word(tag)} is damaged."))
    removed = max((_order(version) for version in history if version.removed), default=(0.0, 0))
    newest: dict[str, Version] = {}
    for version in sorted(history, key=_order):
        if not version.removed and _order(version) > removed and not is_of_model(version):
            newest[version.author] = version
    for version in newest.values():
        path = versions.path(tag, identifier, version)
        if _sha256(path) == version.sha256:
            yield Saved(version.author, _order(version), path, version.sha256)
        else:
            what = f"The {_word(tag)} by {version.author} is damaged on the disk: it is not what was saved."
            left_out.append(LeftOut(identifier, what))
    known = {version.sha256 for version in history}
    for name in view.label_names[tag].get(identifier, ()):
        # Put there by hand; the datastore makes it a version when the next one is saved.
        path = folder / LABELS_NAME / tag.value / name
        sha256 = _sha256(path)
        if sha256 and sha256 not in known:
            yield Saved(UNKNOWN_AUTHOR, (path.stat().st_mtime, 0), path, sha256)


def _of_each_reader(groups: Iterator[Sequence[Saved]]) -> list[Saved]:
    """Return the newest label of each reader, the newest of all last."""
    newest = {saved.author: saved for saved in sorted((one for group in groups for one in group), key=_saved)}
    return sorted(newest.values(), key=_saved)


def _opinions(identifier: str, labels: Sequence[Saved], left_out: list[LeftOut]) -> Iterator[ClassOpinion]:
    for saved in labels:
        try:
            label = StudyLabel.model_validate_json(saved.path.read_bytes())
        except (OSError, ValidationError):
            left_out.append(LeftOut(identifier, f"The study label by {saved.author} is damaged."))
        else:
            yield ClassOpinion(saved.author, label.study_class)


def _saved(saved: Saved) -> tuple[float, int]:
    return saved.order


def _order(version: Version) -> tuple[float, int]:
    return version.time, version.number


def _sha256(path: Path) -> str:
    """SHA-256 of a file; empty where it cannot be read."""
    try:
        return remembered_sha256(path)
    except OSError:
        return ""


def _word(tag: LabelTag) -> str:
    return "study label" if tag is LabelTag.STUDY else "mask"
