"""The rows of a batch: one for each study, what is known of it, and the table of all as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .csv_cells import plain
from .i18n import tr as _
from .problems import CovidBertError, words_of
from .result import Result

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
_COLUMNS = (
    "study",
    "state",
    "message",
    "model",
    "predicted_class",
    "score",
    "probability_class",
    "probability",
    "threshold",
    "calibrated_on",
    "stages_agree",
    "out_of_distribution",
    "lung_ml",
    "lesion_ml",
    "lesion_share",
    "weights_state",
    "weights",
    "warnings",
    "created",
    "software_version",
)


@dataclass
class BatchRow:
    """One study of a batch.

    Parameters
    ----------
    number
        From 1, in the order of the batch; it names the study in a table without names.
    name
        Of the volume in the scene, or the series in the database. It may name the patient.
    volume_id
        Id of the volume's node; None before a series was loaded.
    series
        Series Instance UID of a series of the database, "" for a volume of the scene.
    state
        One of `WAITING`, `RUNNING`, `DONE`, `FAILED` and `CANCELLED`.
    message
        Why it failed, and what to do; it may name the volume, and with it the patient.
    code
        Short name of that; it never names anybody.
    """

    number: int
    name: str
    volume_id: str | None = None
    series: str = ""
    state: str = WAITING
    message: str = ""
    code: str = ""
    model: str = ""
    result: Result | None = None

    @property
    def score(self) -> float | None:
        """The score of the predicted class, in [0, 1]; not calibrated."""
        return None if self.result is None else self.result.class_scores[self.result.predicted_class]

    @property
    def probability(self) -> float | None:
        """The calibrated probability in [0, 1], where the server gives one."""
        calibrated = None if self.result is None else self.result.calibrated
        return None if calibrated is None else calibrated.probability

    @property
    def caution(self) -> str:
        """What must be said with every number of the row, "" for nothing."""
        if self.result is None:
            return ""
        if self.result.is_untrained:
            return _("UNTRAINED")
        if self.result.weights_state == "demonstration":
            return _("DEMONSTRATION")
        distance = self.result.out_of_distribution
        return _("UNLIKE THE TRAINING") if distance is not None and distance > 1.0 else ""

    @property
    def lesion_share(self) -> float | None:
        """Lesion by lung volume in [0, 1], where it is known."""
        lesions = None if self.result is None else self.result.lesions
        return None if lesions is None else lesions.share


def state_text(state: str) -> str:
    """Return what a state is called."""
    return {
        WAITING: _("waiting"),
        RUNNING: _("running"),
        DONE: _("done"),
        FAILED: _("failed"),
        CANCELLED: _("cancelled"),
    }[state]


def to_csv(rows: Iterable[BatchRow], research_use_only: str, with_names: bool = False) -> str:
    """Return the table as CSV (RFC 4180), a line for each study.

    Parameters
    ----------
    rows
        The studies.
    research_use_only
        The server's notice; it is repeated in each line, since lines are copied out of tables.
    with_names
        Whether the volumes' names, which may name the patient, are given. Else a study is known by a hash of its
        voxels, and before it has a result by its number.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*_COLUMNS, *(["name"] if with_names else []), "notice"])
    for row in rows:
        notice = research_use_only if row.result is None else row.result.research_use_only
        # What went wrong may be told with the name of a volume, the present one or a former: its code names nobody.
        message = row.message if with_names or not row.message else " ".join(words_of(row.code) or (row.code,))
        cells = [*_cells(row, message), *([row.name] if with_names else []), notice]
        writer.writerow([plain(cell) for cell in cells])
    return text.getvalue()


def save_csv(path: Path, text: str) -> None:
    """Write a table as UTF-8 with a mark that Excel needs; an older file stays whole if that fails.

    Raises
    ------
    CovidBertError
        If it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(text.encode("utf-8-sig"))
        part.replace(path)
    except OSError as error:
        raise CovidBertError(
            _("The table could not be written: {reason}.").format(reason=error.strerror or _("unknown")),
            _("Choose another folder, or make space."),
            "disk",
        ) from error


def _cells(row: BatchRow, message: str) -> list[object]:
    result = row.result
    if result is None:
        return [f"study {row.number}", row.state, message, row.model, *[None] * (len(_COLUMNS) - 4)]
    calibrated, lesions = result.calibrated, result.lesions
    return [
        result.study.identifier,
        row.state,
        message,
        row.model,
        result.predicted_class,
        row.score,
        calibrated and calibrated.class_name,
        row.probability,
        calibrated and calibrated.threshold,
        calibrated and calibrated.calibrated_on,
        result.stages_agree,
        result.out_of_distribution,
        result.lungs.total_ml,
        lesions and lesions.total_ml,
        row.lesion_share,
        result.weights_state,
        "; ".join(f"{weights.name} {weights.version}" for weights in result.weights),
        "; ".join(result.warnings),
        result.provenance.created,
        result.provenance.software_version,
    ]
