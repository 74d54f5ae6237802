"""What the classification card says: sentences and numbers, the same for the panel and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .i18n import tr as _
from .result import Result
from .result_parts import CalibratedProbability, Stage

_FINDING = "covid"  # the server's class whose score slices have
_LIMIT = 1.0
_SHORT_HASH = 12
GOOD, ATTENTION, ERROR = "good", "attention", "error"


@dataclass(frozen=True)
class Notice:
    """A sentence, and whether it is good news, asks for attention or warns of an error."""

    text: str
    level: str


@dataclass(frozen=True)
class Bar:
    """Score in [0, 1] of one class.

    Parameters
    ----------
    name
        Of the class, for people.
    score
        Not calibrated.
    highest
        Whether this is the class that the result names.
    """

    name: str
    score: float
    highest: bool


@dataclass(frozen=True)
class Card:
    """All that the card says, in the order in which it is read.

    Parameters
    ----------
    banner
        For weights that are not trained on patients.
    heading
        What the result is.
    calibrated
        Probability with its operating point; None where there is none, and then `calibration` says why.
    calibration
        Sentences: threshold and what both rest on.
    bars, bars_title
        Scores by class.
    stages
        One sentence for each.
    agreement, likeness
        Whether the stages agree; whether the study is like those of the training.
    warnings
        Of the server, without those that say why there is no probability.
    weights, weights_origin
        One line for each network; what they were trained on, with the names of the networks.
    origin
        Program, time and device.
    """

    research_use_only: str
    banner: Notice | None
    heading: str
    calibrated: CalibratedProbability | None
    calibration: tuple[str, ...]
    bars: tuple[Bar, ...]
    bars_title: str
    stages: tuple[str, ...]
    agreement: Notice | None
    likeness: Notice
    warnings: tuple[str, ...]
    weights: tuple[str, ...]
    weights_origin: tuple[str, ...]
    origin: str


def card_of(result: Result) -> Card:
    """Return the card of a result."""
    reasons = () if result.calibrated else _reasons(result)
    names = [result.predicted_class, *(name for name in result.class_scores if name != result.predicted_class)]
    return Card(
        research_use_only=result.research_use_only,
        banner=_banner(result),
        heading=_heading(result),
        calibrated=result.calibrated,
        calibration=reasons if result.calibrated is None else _calibration(result.calibrated),
        bars=tuple(Bar(class_name(n), result.class_scores[n], n == result.predicted_class) for n in names),
        bars_title=_("Scores (0 to 1; not probabilities)"),
        stages=tuple(_stage(stage) for stage in result.stages),
        agreement=_agreement(result),
        likeness=_likeness(result.out_of_distribution),
        warnings=tuple(warning for warning in result.warnings if warning not in reasons),
        weights=tuple(_weights_lines(result)),
        weights_origin=_weights_origin(result),
        origin=_origin(result),
    )


def class_name(key: str) -> str:
    """Return the name for people of a class of the server; the key itself for one that is not known here."""
    return {"covid": _("COVID-19"), "non-covid": _("not COVID-19")}.get(key, key)


def finding_name(result: Result) -> str:
    """Return the class for which slices have scores."""
    if result.calibrated is not None:
        return class_name(result.calibrated.class_name)
    return class_name(_FINDING) if _FINDING in result.class_scores else _("the finding")


def percent(share: float) -> str:
    """Return a probability as whole percent; the ends are never said to be reached."""
    if share < 0.01:
        return _("below 1 %")
    return _("above 99 %") if share > 0.99 else f"{100 * share:.0f} %"


def _banner(result: Result) -> Notice | None:
    if result.weights_state == "untrained":
        text = _("UNTRAINED NETWORK: the scores come from random numbers and mean nothing.")
        if result.untrained_weights:
            names = ", ".join(result.untrained_weights)
            text += " " + _("Missing weights: {names}. Ask the server's administrator to install them.").format(
                names=names
            )
        return Notice(text, ERROR)
    if result.weights_state == "demonstration":
        text = _("DEMONSTRATION WEIGHTS: trained on generated data. The result says nothing about a patient.")
        return Notice(text, ATTENTION)
    return None


def _heading(result: Result) -> str:
    calibrated = result.calibrated
    if calibrated is not None:
        return _("Probability of {name}: {percent}").format(
            name=class_name(calibrated.class_name), percent=percent(calibrated.probability)
        )
    if result.weights_state == "untrained":
        return _("No result: the network is not trained")
    return _("Highest score: {name}").format(name=class_name(result.predicted_class))


def _calibration(calibrated: CalibratedProbability) -> tuple[str, ...]:
    if calibrated.probability >= calibrated.threshold:
        verdict = _("At or above the operating point of {threshold}: counts as positive.")
    else:
        verdict = _("Below the operating point of {threshold}: counts as negative.")
    return (
        verdict.format(threshold=percent(calibrated.threshold)),
        _("Operating point: {basis}").format(basis=calibrated.threshold_chosen_on),
        _("Calibrated on: {basis}").format(basis=calibrated.calibrated_on),
    )


def _reasons(result: Result) -> tuple[str, ...]:
    """Return why there is no probability: the server's sentences, or what its fields say."""
    said = tuple(warning for warning in result.warnings if "probability" in warning.lower())
    if said:
        return said
    if result.is_untrained:
        return (_("No probability is given: the network is not trained."),)
    if result.out_of_distribution is not None and result.out_of_distribution > _LIMIT:
        return (_("No probability is given: the study is unlike those of the training."),)
    return (_("No probability is given: the weights came without a calibration."),)


def _scores(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{class_name(name)} {score:.2f}" for name, score in scores.items())


def _stage(stage: Stage) -> str:
    state = {"untrained": _("UNTRAINED"), "demonstration": _("demonstration weights"), "trained": ""}[
        stage.weights_state
    ]
    line = f"{stage.description}: {_scores(stage.scores)}"
    return f"{line} ({state})" if state else line


def _agreement(result: Result) -> Notice | None:
    if result.stages_agree:
        return (
            Notice(_("The stages agree: all name {name}.").format(name=_named(result.stages[0])), GOOD)
            if (result.stages)
            else None
        )
    if result.stages_agree is not None:
        named = "; ".join(f"{stage.description}: {_named(stage)}" for stage in result.stages)
        return Notice(_("THE STAGES DISAGREE. {named}").format(named=named), ATTENTION)
    if len(result.stages) > 1:
        return Notice(_("The stages are not compared: their weights are not trained alike."), ATTENTION)
    return None


def _named(stage: Stage) -> str:
    return class_name(max(stage.scores, key=lambda name: stage.scores[name])) if stage.scores else "–"


def _likeness(distance: float | None) -> Notice:
    if distance is None:
        return Notice(_("Whether the study is like those of the training was not assessed."), ATTENTION)
    if distance > _LIMIT:
        text = _("UNLIKE THE TRAINING STUDIES: distance {distance:.2f}, limit 1. Do not rely on the scores.")
        return Notice(text.format(distance=distance), ERROR)
    return Notice(_("Like the training studies: distance {distance:.2f}, limit 1.").format(distance=distance), GOOD)


def _weights_lines(result: Result) -> list[str]:
    lines = []
    for weights in result.weights:
        state = _("demonstration") if weights.demonstration else _("trained")
        state = state if weights.trained else _("UNTRAINED")
        lines.append(f"{weights.name} {weights.version} · {state} · SHA-256 {weights.sha256[:_SHORT_HASH]}…")
    return lines


def _weights_origin(result: Result) -> tuple[str, ...]:
    """Return what the weights were trained on; networks with the same training share one sentence."""
    names: dict[str, list[str]] = {}
    for weights in result.weights:
        names.setdefault(weights.trained_on, []).append(weights.name)
    return tuple(f"{', '.join(those)}: {origin}" for origin, those in names.items() if origin)


def _origin(result: Result) -> str:
    known = result.provenance
    return _(
        "{system} ({configuration}), software {version}, {created}, {seconds:.0f} s on {device} ({precision})"
    ).format(
        system=known.system,
        configuration=known.configuration,
        version=known.software_version,
        created=time_text(known.created),
        seconds=sum(known.seconds.values()),
        device=known.device,
        precision=known.precision,
    )


def time_text(created: str) -> str:
    """Return a time of the server to the minute; what has another form as it is."""
    day, mark, clock = created.partition("T")
    if not mark or len(clock) < 5:
        return created
    return f"{day} {clock[:5]}" + (" UTC" if clock.endswith(("Z", "+00:00")) else "")
