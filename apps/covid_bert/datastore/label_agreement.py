"""How far the readers of a folder agree: reads their newest masks and study labels, and compares them."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from covid_bert.datastore.mask_checks import MaskChecks
from covid_bert.datastore.opinions import LabelledCase, open_split, read_cases
from covid_bert.errors import InputError, OutputError
from covid_bert.progress import Progress
from covid_bert.retraining.agreement import Agreement, ReadCase, lungs_dice, measure_agreement
from covid_bert.retraining.cases import LeftOut


def read_agreement(folder: Path, cache: Path, progress: Progress | None = None) -> tuple[Agreement, list[LeftOut]]:
    """Compare the readers of a folder on the cases that they have in common.

    Parameters
    ----------
    folder
        Folder with the studies.
    cache, progress
        As for `covid_bert.datastore.label_set.read_label_set`, and so are the errors.

    Returns
    -------
    tuple
        The agreement, and the labels that cannot be used.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = read_cases(folder, open_split(folder), cache)
        checks = MaskChecks(cache)
        compared = []
        for number, case in enumerate(found.cases):
            if progress is not None:
                progress.update("agreement", number / len(found.cases))
            classes = {one.reader: one.study_class for one in case.classes}
            compared.append(ReadCase(case.patient, classes, _dices(case, checks, found.left_out)))
    except OSError as error:
        raise OutputError(
            f"What was found in the labels cannot be kept: {error.strerror}.",
            "Make room on the disk, or allow this user to write into the data folder.",
        ) from error
    return measure_agreement(compared), found.left_out


def _dices(case: LabelledCase, checks: MaskChecks, left_out: list[LeftOut]) -> dict[tuple[str, str], float]:
    if len(case.masks) < 2:
        return {}
    faults = {mask.reader: checks.fault(case, mask) for mask in case.masks}
    left_out.extend(LeftOut(case.identifier, fault) for fault in faults.values() if fault)
    try:
        read = {mask.reader: checks.labels(case, mask) for mask in case.masks if not faults[mask.reader]}
    except InputError:
        left_out.append(LeftOut(case.identifier, "Its masks were changed while they were read."))
        return {}
    return {pair: lungs_dice(read[pair[0]], read[pair[1]]) for pair in combinations(sorted(read), 2)}
