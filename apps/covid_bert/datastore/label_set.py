"""The labels of a folder of studies as trainings read them: one mask and one class for each case, by a written rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from covid_bert.datastore.mask_checks import MaskChecks
from covid_bert.datastore.opinions import LabelledCase, open_split, read_cases
from covid_bert.errors import InputError, OutputError
from covid_bert.progress import Progress
from covid_bert.retraining.cases import LabelledStudy, LabelSet, LeftOut
from covid_bert.retraining.readers import MAJORITY, NEWEST, MaskOpinion, ReaderRule, majority_class


def read_label_set(
    folder: Path,
    rule: str,
    *,
    masks: bool,
    cache: Path,
    classes: bool = True,
    progress: Progress | None = None,
) -> LabelSet:
    """Return all labelled studies of a folder that can be learned from, each in its part of the frozen split.

    Parameters
    ----------
    folder
        Folder with the studies.
    rule
        For cases with labels of several readers: ``newest``, ``majority`` (voxel by voxel; the newest decides where
        labels were chosen equally often) or ``expert:NAME``.
    masks
        Whether masks are wanted: each is then checked, for which its image is read once.
    cache
        Folder for what need not be computed again: `covid_bert.retraining.derived.label_cache`.
    classes
        Whether classes are wanted.
    progress
        Told how far it is; may cancel.

    Returns
    -------
    LabelSet
        A study is in it if it has a mask or a class. `LabelSet.left_out` names every label that cannot be used; its
        study may still be there with what else is said of it.

    Raises
    ------
    ParameterError
        If the rule is none.
    NotFoundError
        If there is no such folder.
    UnreadableFileError
        If the frozen split is damaged.
    BusyError
        If another process holds the lock of the split.
    OutputError
        If split or cache cannot be written.
    CancelledError
        If `progress` is cancelled.
    """
    chosen = ReaderRule(rule)
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        split = open_split(folder)
        found = read_cases(folder, split, cache)
        reading = _Reading(chosen, MaskChecks(cache), found.left_out)
        studies = []
        for number, case in enumerate(found.cases):
            if progress is not None:
                progress.update("labels", number / len(found.cases))
            study = reading.study(case, masks=masks, classes=classes)
            if study is not None:
                studies.append(study)
    except OSError as error:
        raise OutputError(
            f"What was found in the labels cannot be kept: {error.strerror}.",
            "Make room on the disk, or allow this user to write into the data folder.",
        ) from error
    ordered = sorted(set(found.left_out), key=lambda one: (one.identifier, one.reason))
    return LabelSet(tuple(studies), tuple(ordered), split.identity, rule, found.notes)


@dataclass
class _Reading:
    """Applies the rule to one case after the other, and notes what cannot be used."""

    rule: ReaderRule
    checks: MaskChecks
    left_out: list[LeftOut] = field(default_factory=list)

    def study(self, case: LabelledCase, *, masks: bool, classes: bool) -> LabelledStudy | None:
        mask, drawn_by = self._mask(case) if masks and case.masks else (None, ())
        study_class, said_by = self._class(case) if classes and case.classes else (None, ())
        if mask is None and study_class is None:
            return None
        path, sha256 = mask or (None, "")
        return LabelledStudy(
            case.identifier, case.patient, case.part, case.image, case.image_sha256,
            path, sha256, study_class, tuple(sorted({*drawn_by, *said_by})),
        )  # fmt: skip

    def _mask(self, case: LabelledCase) -> tuple[tuple[Path, str] | None, tuple[str, ...]]:
        good = self._good_masks(case)
        if not good:
            return None, ()
        try:
            mask = self.checks.consensus(case, good)
        except InputError:
            self._leave_out(case, "Its masks were changed while they were read.")
            return None, ()
        if len(good) > 1:
            agreed = MaskOpinion("most readers", *mask)
            fault = self.checks.fault(case, agreed)
            if fault:
                self._leave_out(case, fault)
                return None, ()
        return mask, tuple(one.reader for one in good)

    def _good_masks(self, case: LabelledCase) -> list[MaskOpinion]:
        """Return the masks that count, the newest last. Where the newest one is bad, the one before it counts."""
        newest = self.rule.text == NEWEST
        heard = case.masks if newest else self.rule.heard(case.masks)
        if not heard:
            self._leave_out(case, f"{self.rule.expert} has drawn no mask of it.")
        good: list[MaskOpinion] = []
        for mask in reversed(heard):
            fault = self.checks.fault(case, mask)
            if fault:
                self._leave_out(case, fault)
                continue
            good.insert(0, mask)
            if newest:
                break
        return good

    def _class(self, case: LabelledCase) -> tuple[str | None, tuple[str, ...]]:
        heard = self.rule.heard(case.classes)
        if not heard:
            self._leave_out(case, f"{self.rule.expert} has not said its class.")
            return None, ()
        chosen = majority_class(heard) if self.rule.text == MAJORITY else heard[-1].study_class
        if chosen is None:
            self._leave_out(case, "Its readers do not agree on its class, and no class has a majority.")
            return None, ()
        return chosen, tuple(one.reader for one in heard)

    def _leave_out(self, case: LabelledCase, reason: str) -> None:
        self.left_out.append(LeftOut(case.identifier, reason))
