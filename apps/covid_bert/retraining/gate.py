"""The gate: whether a trained version may go live in place of the one that is.

Candidate and other versions are judged on the same studies: those of the held-out patients, whom no training learns
from, and reference studies that no label can change. The others are the live version, and the anchor, so that many
small steps down do not add up. A candidate passes if no difference may be worse than the margin of its measure.

Labels that are wrong throughout make a version that follows them look good on them. So the labels must not contradict
the live version, and where masks are made, those of both versions must mark the same voxels, whatever the labels say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from covid_bert.errors import ParameterError
from covid_bert.retraining.measuring import AUC, DICE, HELD_OUT, LOG_LOSS, MARGINS, REFERENCE
from covid_bert.retraining.records import Comparison, GateDecision, Measured

# Below it, a model on studies that it was not trained on contradicts the labels, or they it: the area under the ROC
# curve of a coin, and lungs that are more beside the mask than in it.
CONTRADICTION: Mapping[str, float] = MappingProxyType({AUC: 0.5, DICE: 0.5})
_LOOK = {
    AUC: "look whether classes were exchanged in the study labels",
    DICE: "look whether sides were swapped or masks inverted",
}


@dataclass(frozen=True)
class Rule:
    """The written rule for one kind of model.

    Parameters
    ----------
    groups
        What is counted among the held-out patients.
    minimum
        Least patients of each.
    measures
        That must be compared on the held-out patients and on the reference studies.
    agreement
        Least value of the lower limit of the agreement with the live version; None where there are no masks.
    """

    groups: tuple[str, ...]
    minimum: int
    measures: tuple[str, ...]
    agreement: float | None = None

    @property
    def text(self) -> str:
        """The rule for people."""
        needed = " and ".join(f"{self.minimum} {group}" for group in self.groups)
        margins = "; ".join(
            f"{measure}: {MARGINS[measure, HELD_OUT]:g} on the {HELD_OUT}, {MARGINS[measure, REFERENCE]:g} on the "
            f"{REFERENCE}"
            for measure in self.measures
        )
        sentences = [
            f"The {HELD_OUT} (validation and test) include at least {needed}.",
            "The lower limit of the 95 % interval of candidate minus live version, by a paired bootstrap over "
            f"patients, is at least minus the margin ({margins}).",
            "So is that of candidate minus anchor: the version that came with the program, else the first that was "
            "live.",
            *(
                f"The live version is not surely below {limit:g} on the {HELD_OUT} ({measure})."
                for measure, limit in CONTRADICTION.items()
                if measure in self.measures
            ),
        ]
        if AUC in self.measures:
            sentences += [
                f"Nor is the candidate below {CONTRADICTION[AUC]:g}.",
                "If the live version gives a calibrated probability, the candidate does.",
            ]
        if self.agreement is not None:
            sentences.append(
                f"The lower limit of the mean Dice between the masks of both versions on the {HELD_OUT} is at least "
                f"{self.agreement:g}."
            )
        return " ".join(sentences)


LUNGS_RULE = Rule(("patients with a corrected lung mask",), 3, (DICE,), 0.8)
CLASSIFIER_RULE = Rule(("patients with COVID-19", "patients without COVID-19"), 5, (LOG_LOSS, AUC))


def rule_for(system: str | None) -> Rule:
    """Return the rule for a classifier's system, or with None that for lungs."""
    return LUNGS_RULE if system is None else CLASSIFIER_RULE


@dataclass(frozen=True)
class Judgement:
    """What the gate decides on.

    Parameters
    ----------
    opponents
        Versions that the candidate was compared with: the live one, and the anchor where that is another.
    counts
        Held-out patients that could be used, in each of `Rule.groups`.
    comparisons
        All that could be made.
    live
        Of the live version on the held-out patients, where there are enough.
    metrics
        Of the candidate, on the validation set and on the test set apart.
    agreement
        Of the masks of candidate and live version; None where there are none.
    uncalibrated
        Why the candidate gives no calibrated probability though the live version does; empty otherwise.
    standing
        What the pointer said before the live version was chosen: see `covid_bert.weights.store.standing`.
    """

    opponents: tuple[str, ...]
    counts: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    live: tuple[Measured, ...] = ()
    metrics: tuple[Measured, ...] = ()
    agreement: Measured | None = None
    uncalibrated: str = ""
    standing: str | None = None

    @property
    def against(self) -> str:
        """The live version."""
        return self.opponents[0]


def decide(judgement: Judgement, rule: Rule) -> GateDecision:
    """Decide whether a candidate may go live.

    Parameters
    ----------
    judgement
        A comparison that the rule asks for and that is missing counts against the candidate.
    rule
        Of the kind of model.

    Returns
    -------
    GateDecision
        With a reason for people, whatever it is.

    Raises
    ------
    ParameterError
        If the counts do not fit the rule.
    """
    if len(judgement.counts) != len(rule.groups):
        raise ParameterError("The counts do not fit the rule.", f"Count {', '.join(rule.groups)}.")
    sentences = _too_few(judgement, rule)
    # Where there are too few patients, that is the reason.
    sentences += _missing(judgement, rule, (REFERENCE,) if sentences else (HELD_OUT, REFERENCE))
    sentences += [_worse(item) for item in judgement.comparisons if not item.passed]
    sentences += _contradictions(judgement)
    sentences += _disagreement(judgement, rule)
    if judgement.uncalibrated:
        sentences.append(f"It gives no calibrated probability, and {judgement.against} does. {judgement.uncalibrated}")
    passed = not sentences
    standing = judgement.standing
    return GateDecision(
        passed=passed,
        reason=f"It is not worse than {' and '.join(judgement.opponents)}." if passed else " ".join(sentences),
        rule=rule.text,
        against=judgement.against,
        pointed=None if standing == judgement.against else standing,
        comparisons=judgement.comparisons,
        agreement=judgement.agreement,
    )


def _too_few(judgement: Judgement, rule: Rule) -> list[str]:
    return [
        f"There are too few held-out {group}: {count}, and {rule.minimum} are needed."
        for count, group in zip(judgement.counts, rule.groups, strict=True)
        if count < rule.minimum
    ]


def _missing(judgement: Judgement, rule: Rule, needed: tuple[str, ...]) -> list[str]:
    made = {(item.measure, item.data, item.against) for item in judgement.comparisons}
    return [
        f"The {measure} was not compared with {version} on the {data}."
        for data in needed
        for measure in rule.measures
        for version in judgement.opponents
        if (measure, data, version) not in made
    ]


def _worse(item: Comparison) -> str:
    if item.lower is None:
        return f"There are too few patients to compare the {item.measure} on the {item.data}."
    return (
        f"The {item.measure} on the {item.data} went from {item.other:.3f} ({item.against}) to {item.candidate:.3f}; "
        f"it may have fallen by as much as {-item.lower:.3f} (95 % interval), and {item.margin:g} is allowed."
    )


def _contradictions(judgement: Judgement) -> list[str]:
    """Sentences on labels that both versions contradict, or one of them."""
    found = [
        f"The labels of the {HELD_OUT} contradict {judgement.against}: its {item.measure} there is {item.value:.3f}, "
        f"surely below {CONTRADICTION[item.measure]:g}; {_LOOK[item.measure]}."
        for item in judgement.live
        if item.measure in CONTRADICTION and item.upper is not None and item.upper < CONTRADICTION[item.measure]
    ]
    return found or [
        f"The {AUC} on the {HELD_OUT} is {item.candidate:.3f}, worse than chance: {_LOOK[AUC]}."
        for item in judgement.comparisons
        if (item.measure, item.data, item.against) == (AUC, HELD_OUT, judgement.against)
        and item.candidate < CONTRADICTION[AUC]
    ]


def _disagreement(judgement: Judgement, rule: Rule) -> list[str]:
    found = judgement.agreement
    if rule.agreement is None:
        return []
    if found is None or found.lower is None:
        # Too few patients is a reason of its own.
        return [] if _too_few(judgement, rule) else ["Its masks were not compared with those of the live version."]
    if found.lower >= rule.agreement:
        return []
    return [
        f"It marks other voxels than {judgement.against} on the {HELD_OUT}: the mean Dice between their masks is "
        f"{found.value:.3f} and may be {found.lower:.3f}, where {rule.agreement:g} is needed. Look at its masks: the "
        "sides may be swapped, or inside and outside; publish it by hand if it is the live version that is wrong."
    ]
