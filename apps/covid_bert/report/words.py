"""Words for results that are the same in every report."""

from __future__ import annotations

from covid_bert.systems.result import StudyResult, WeightsState

_TITLES = {"covid": "COVID-19", "non-covid": "not COVID-19"}
_DENSITIES = {
    "hyperaerated": "below -900 HU",
    "normally_aerated": "-900 to -500 HU",
    "poorly_aerated": "-500 to -100 HU",
    "non_aerated": "-100 HU and above",
}


def class_title(name: str) -> str:
    """Return the words for a class; its own name where there are none."""
    return _TITLES.get(name, name)


def density_title(name: str) -> str:
    """Return the range of a class of `covid_bert.lungs.measurements.HU_CLASSES`; its own name where it is unknown."""
    return _DENSITIES.get(name, name.replace("_", " "))


def answer(result: StudyResult) -> tuple[str, str]:
    """Return the number that a report shows first, and what it is: a probability only where there is one."""
    calibrated = result.calibrated_probability
    if calibrated is not None:
        return f"{calibrated.probability:.2f}", f"calibrated probability of {class_title(calibrated.class_name)}"
    name = next(iter(result.class_scores))
    return f"{result.class_scores[name]:.2f}", f"score for {class_title(name)}: not calibrated, not a probability"


def decision(result: StudyResult) -> str:
    """Return in a sentence which class the result names, and by which rule."""
    title = class_title(result.predicted_class)
    calibrated = result.calibrated_probability
    if result.is_unlike_training:
        # The operating point may have named it, although no probability is given.
        return f"Named {title} by the rule for studies like the training studies, which this one is not."
    if calibrated is None:
        return f"Class with the largest score: {title}. There is no operating point."
    side = "at or above" if calibrated.probability >= calibrated.threshold else "below"
    return f"{side.capitalize()} the operating point of {calibrated.threshold:.2f}: counted as {title}."


def state_sentence(result: StudyResult) -> str:
    """Return what the state of the weights means for a reader."""
    return {
        WeightsState.UNTRAINED: "Untrained networks: the scores come from random numbers and mean nothing.",
        WeightsState.DEMONSTRATION: "Demonstration weights: trained on synthetic lesions, not on patients' disease.",
        WeightsState.TRAINED: "Weights trained on patients.",
    }[result.weights_state]
