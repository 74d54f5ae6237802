"""Trained classifiers into the store, with manifests that say what they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from covid_bert.clips.stack import KINETICS_DEVIATION, KINETICS_MEAN
from covid_bert.networks.classifiers import CLASS_NAMES
from covid_bert.systems.configuration import (
    BASELINE_CONFIGURATIONS,
    S1_CONFIGURATIONS,
    S2_CONFIGURATIONS,
    SystemConfiguration,
)
from covid_bert.training.calibration import OutOfFold
from covid_bert.training.default_classifiers import Classifiers
from covid_bert.training.studies import COVID
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Calibration, InputContract, Metric, Normalisation, OperatingPoint, entry
from covid_bert.weights.store import publish
from covid_bert.weights.version_folder import InstalledWeights

# A system that hardly beats chance on persons it has not seen gets no calibration, and so gives no probability.
LEAST_AUC = 0.7
CHANNELS = ("raw slice", "lesion probability", "slice within the lungs")


@dataclass(frozen=True)
class Judgement:
    """Calibration, operating point and metrics of one system."""

    calibration: Calibration
    operating_point: OperatingPoint
    metrics: tuple[Metric, ...]
    beats_chance: bool


def install_classifiers(classifiers: Classifiers, lesions: InstalledWeights) -> list[InstalledWeights]:
    """Install all networks as new versions and make them live.

    Parameters
    ----------
    classifiers
        Made by `covid_bert.training.default_classifiers.train_classifiers`.
    lesions
        The lesion network whose probability they were trained with.

    Returns
    -------
    list of InstalledWeights
        In the order in which they depend on each other.

    Raises
    ------
    NotFoundError
        If the registry does not know one of the names.
    WeightsError
        If they cannot be written.
    """
    s1, s2, baseline = (table["small"] for table in (S1_CONFIGURATIONS, S2_CONFIGURATIONS, BASELINE_CONFIGURATIONS))
    done: dict[str, InstalledWeights] = {}

    def install(configuration: SystemConfiguration, role: str, system: str | None = None) -> None:
        name = configuration.parts[role].weights
        others = {lesions.name: lesions.sha256} | {name: done[name].sha256 for name in _before(configuration, role)}
        found = classifiers.out_of_fold[system] if system is not None else None
        judged = judgement(found, str(system), _out_of_fold(found, classifiers), others) if found is not None else None
        known = entry(name)
        provenance = Provenance(
            architecture=configuration.parts[role].architecture,
            role=known.role,
            trained_on=_trained_on(classifiers),
            licence=known.licence,
            source=known.source,
            demonstration=True,
            fitted_with=others,
            input=_contract(configuration) if role in {"clip", "slice"} else None,
            calibration=judged.calibration if judged and judged.beats_chance else None,
            operating_point=judged.operating_point if judged and judged.beats_chance else None,
            metrics=judged.metrics if judged else (),
        )
        version = add_version(name, classifiers.modules[name].state_dict(), provenance)
        done[name] = publish(name, version.version)

    install(s2, "clip", "s2")
    install(s2, "mlp")
    install(s1, "study", "s1")
    install(baseline, "slice", "baseline")
    for configuration in (s1, s2, baseline):
        install(configuration, "density")
    return list(done.values())


def _before(configuration: SystemConfiguration, role: str) -> list[str]:
    """Names of the networks whose output a part reads."""
    if role in {"clip", "slice"}:
        return []
    first = "slice" if "slice" in configuration.parts else "clip"
    return [configuration.parts[first].weights]


def _trained_on(classifiers: Classifiers) -> str:
    return (
        f"{classifiers.studies} synthetic studies: lesions like those of COVID-19, bacterial pneumonia or "
        f"bronchopneumonia, or none, planted in the lungs of {classifiers.persons} real persons and "
        f"{classifiers.phantoms} phantoms; no patient with COVID-19"
    )


def _contract(configuration: SystemConfiguration) -> InputContract:
    window, side = configuration.window, configuration.input_side
    return InputContract(
        window_hu=(window.lower, window.upper),
        window_note=f"square around the lungs, slices of up to {configuration.slice_step} mm averaged",
        channels=CHANNELS,
        size=(side, side),
        clip_length=configuration.clip_length,
        normalisation=Normalisation(mean=KINETICS_MEAN, std=KINETICS_DEVIATION),
    )


def _out_of_fold(found: OutOfFold, classifiers: Classifiers) -> str:
    return (
        f"out-of-fold predictions on {found.studies} synthetic studies of {classifiers.held_persons} real persons, "
        "about half of them with the finding, folds by person; the lesion network had seen these persons"
    )


def judgement(found: OutOfFold, system: str, data: str, fitted_with: Mapping[str, str]) -> Judgement:
    """What a manifest says of scores of studies that were not trained on.

    Parameters
    ----------
    found
        From these scores.
    system
        ``s1``, ``s2`` or ``baseline``.
    data
        Which studies they are, for people.
    fitted_with
        SHA-256 of the other networks behind the score, by the name of their weights.
    """
    return Judgement(
        Calibration(temperature=found.temperature, fitted_on=data, fitted_with=dict(fitted_with)),
        OperatingPoint(
            positive_class=CLASS_NAMES[COVID],
            threshold=found.threshold,
            chosen_by=f"largest Youden index (balanced accuracy) in {data}",
        ),
        (
            Metric(data=data, measure=f"area under the ROC curve, {system}", value=round(found.auc, 4)),
            Metric(
                data=data,
                measure=f"balanced accuracy at the operating point, {system}",
                value=round(found.balanced_accuracy, 4),
                note="the threshold was chosen on the same predictions",
            ),
        ),
        beats_chance=found.auc >= LEAST_AUC,
    )
