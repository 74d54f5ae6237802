"""`Result`: what the server says of a study, read from its JSON (docs/result.schema.json) and checked.

Card, evidence chart, measurements and report read nothing else. Nothing in it names the patient: the study is known
by a hash of its values and geometry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .fields import Fields, refused
from .i18n import tr as _
from .problems import ResultError
from .result_parts import (
    CalibratedProbability,
    Lesions,
    LocationMap,
    Lungs,
    Provenance,
    SliceEvidence,
    Stage,
    Study,
    Weights,
    weights_state,
)

SCHEMA_MAJOR = "1"


@dataclass(frozen=True)
class Result:
    """All that is shown of a study's result.

    Parameters
    ----------
    class_scores
        Final score in [0, 1] by class; not calibrated.
    calibrated
        None where no probability may be given; `warnings` says why. Never there for networks that are not trained,
        whatever the server says.
    stages_agree
        None for a single stage, or stages that cannot be compared.
    slices
        By index, foot to head; only slices that took part.
    weights_state
        ``untrained``, ``demonstration`` or ``trained``, of the least trained network.
    out_of_distribution
        Share of the limit; above 1 the study is unlike the training studies. None: not assessed.
    is_untrained
        Whether a network behind it is not trained, also one that does not decide alone (`weights_state`).
    document
        The JSON object that all this was read from, without a probability of networks that are not trained.
    """

    research_use_only: str
    study: Study
    class_scores: dict[str, float]
    predicted_class: str
    calibrated: CalibratedProbability | None
    stages: tuple[Stage, ...]
    stages_agree: bool | None
    slices: tuple[SliceEvidence, ...]
    location: LocationMap | None
    lungs: Lungs
    lesions: Lesions | None
    out_of_distribution: float | None
    warnings: tuple[str, ...]
    weights: tuple[Weights, ...]
    weights_state: str
    untrained_weights: tuple[str, ...]
    provenance: Provenance
    is_untrained: bool
    document: Mapping[str, Any] = field(compare=False, repr=False)

    def to_json(self) -> str:
        """Return the result as the server sent it: one line of ASCII JSON."""
        return json.dumps(self.document, ensure_ascii=True, separators=(",", ":"))


def parse(document: object) -> Result:
    """Read a result.

    Parameters
    ----------
    document
        A JSON object by docs/result.schema.json, version 1.x; fields that are not known here are kept in `document`.

    Raises
    ------
    ResultError
        If it is of another version, or a value is missing or of another kind.
    """
    fields = Fields(document, "")
    version = fields.text("schema_version")
    if version.split(".", maxsplit=1)[0] != SCHEMA_MAJOR:
        raise ResultError(
            _("The server answers in another form (version {version}) than this module reads.").format(version=version),
            _("Update the module, or ask the administrator to update the server."),
            "version-mismatch",
        )
    scores = fields.shares("class_scores")
    predicted = fields.text("predicted_class")
    if predicted not in scores:
        raise refused("predicted_class")
    study = Study.read(fields.inner("study"))
    slices = fields.list_of("slice_evidence", SliceEvidence.read)
    indices = [evidence.index for evidence in slices]
    if len(set(indices)) != len(indices) or any(index >= study.slice_count for index in indices):
        raise refused("slice_evidence")
    provenance = fields.inner("provenance")
    weights, untrained = provenance.list_of("weights", Weights.read), fields.texts("untrained_weights")
    state = weights_state(fields, "weights_state")
    is_untrained = state == "untrained" or bool(untrained) or not all(each.trained for each in weights)
    calibrated = fields.optional("calibrated_probability", lambda name: CalibratedProbability.read(fields.inner(name)))
    kept = json.loads(json.dumps(document))
    if is_untrained:
        # Here, for card, tables, files and the record in the scene alike.
        calibrated = kept["calibrated_probability"] = None
    return Result(
        research_use_only=fields.text("research_use_only").strip()
        or _("Research use only. Not a medical device. Not for diagnosis."),
        study=study,
        class_scores=scores,
        predicted_class=predicted,
        calibrated=calibrated,
        stages=fields.list_of("stages", Stage.read),
        stages_agree=fields.optional("stages_agree", fields.flag),
        slices=tuple(sorted(slices, key=lambda evidence: evidence.index)),
        location=fields.optional("location_map", lambda name: LocationMap.read(fields.inner(name))),
        lungs=Lungs.read(fields.inner("lungs")),
        lesions=fields.optional("lesions", lambda name: Lesions.read(fields.inner(name))),
        out_of_distribution=fields.optional("out_of_distribution_score", fields.number),
        warnings=fields.texts("warnings"),
        weights=weights,
        weights_state=state,
        untrained_weights=untrained,
        provenance=Provenance.read(provenance),
        is_untrained=is_untrained,
        document=kept,
    )


def parse_json(text: str) -> Result:
    """Read a result from its JSON text; see `parse`.

    Raises
    ------
    ResultError
        If the text is not such a result.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused("JSON") from error
    return parse(document)
