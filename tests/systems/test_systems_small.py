"""The small configurations: lesion evidence, the default where weights are live, studies unlike the training."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import torch

from covid_bert.errors import InputError, WeightsError
from covid_bert.lungs.mask import LungMask
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.networks.density import EmbeddingDensity
from covid_bert.progress import Progress
from covid_bert.systems import SYSTEMS, create, default_configuration
from covid_bert.systems.likeness import UNKNOWN, UNLIKE
from covid_bert.systems.location import LESION_METHOD
from covid_bert.systems.segmented import SegmentedStudy
from covid_bert.systems.slices import prepare_slices
from covid_bert.volumes import Unit
from covid_bert.weights.importing import ROLES
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Calibration, OperatingPoint
from covid_bert.weights.store import publish
from lesion_networks import install_lesion_weights

pytestmark = pytest.mark.usefixtures("small_networks")
CARRIER = {"s1": "study", "s2": "clip", "baseline": "slice"}
DEMANDING, LENIENT = 1e-6, 1e6


def install(system: str, threshold: float, *, other_for: str = "", lesions: str = "") -> None:
    """Untrained networks with a calibration, and a density that passes or refuses whatever it sees.

    `other_for` is a role that is said to be fitted with another clip network; `lesions` the SHA-256 of the lesion
    network that the calibration is said to rest on.
    """
    parts = SYSTEMS[system].configurations["small"].parts
    digests: dict[str, str] = {}
    for role, part in parts.items():
        torch.manual_seed(1)
        module = ARCHITECTURES[part.architecture]()
        if isinstance(module, EmbeddingDensity):
            module.threshold.fill_(threshold)
            module.mean.fill_(1.0)
        carries = role == CARRIER[system]
        version = add_version(
            part.weights,
            module.state_dict(),
            Provenance(
                architecture=part.architecture,
                role=ROLES[part.architecture],
                demonstration=True,
                fitted_with={name: "0" * 64 if role == other_for else sha for name, sha in digests.items()},
                calibration=Calibration(
                    temperature=2.0,
                    fitted_on="a test",
                    fitted_with=digests | ({"default-lesions": lesions} if lesions else {}),
                )
                if carries
                else None,
                operating_point=OperatingPoint(positive_class="covid", threshold=0.5, chosen_by="a test")
                if carries
                else None,
            ),
        )
        publish(part.weights, version.version)
        if role in {"clip", "slice"}:
            digests = {part.weights: version.sha256}


def classify(system: str, phantom):
    return create(system, "small", device="cpu").classify(phantom.volume, phantom.lungs)


@pytest.mark.parametrize("system", SYSTEMS)
def test_untrained_they_give_a_result_without_probability(system, phantom, lesions_by_density, repository) -> None:
    classification = classify(system, phantom)
    result = classification.result
    schema = json.loads((repository / "docs" / "result.schema.json").read_text())
    jsonschema.validate(json.loads(result.model_dump_json()), schema)
    assert result.provenance.configuration == "small"
    assert result.weights_state.value == "untrained"
    assert result.calibrated_probability is None
    assert result.out_of_distribution_score is None
    assert result.location_map.method == LESION_METHOD
    assert not any("outside the centre" in warning for warning in result.warnings)


# An untrained EfficientNet says the same of every image.
@pytest.mark.parametrize("system", ["s1", "s2"])
def test_the_networks_read_the_lesion_evidence(system, phantom, lesions_by_density) -> None:
    install(system, LENIENT)
    given = create(system, "small", device="cpu").classify(phantom.volume, phantom.lungs)
    none = replace(given.lesions, probability=np.zeros_like(given.lesions.probability))
    without = create(system, "small", device="cpu").classify(phantom.volume, phantom.lungs, none)
    assert given.result.class_scores != without.result.class_scores


def test_without_the_lesion_network_they_say_what_is_missing(phantom) -> None:
    with pytest.raises(WeightsError, match="lesion network") as caught:
        classify("s2", phantom)
    assert "default-lesions" in caught.value.hint
    gray = replace(phantom.volume, array=np.zeros(phantom.volume.shape, np.uint8), unit=Unit.GRAY8)
    install_lesion_weights()
    with pytest.raises(InputError, match="Hounsfield"):
        create("s2", "small", device="cpu").classify(gray, phantom.lungs)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_study_like_the_training_gets_its_probability(system, phantom, lesions_by_density) -> None:
    install(system, LENIENT)
    result = classify(system, phantom).result
    assert result.calibrated_probability.calibrated_on == "a test"
    # The plain checks count too: slices of 4 mm, and the limit is 6.5 mm.
    assert 0.6 <= result.out_of_distribution_score < 1
    assert not any(UNLIKE in warning for warning in result.warnings)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_study_far_from_the_training_gets_none(system, phantom, lesions_by_density) -> None:
    install(system, DEMANDING)
    result = classify(system, phantom).result
    assert result.calibrated_probability is None
    assert result.out_of_distribution_score > 1
    (warning,) = (item for item in result.warnings if UNLIKE in item)
    assert "far from those of the training" in warning


def test_with_a_density_of_other_networks_there_is_no_probability(phantom, lesions_by_density) -> None:
    install("s2", LENIENT, other_for="density")
    result = classify("s2", phantom).result
    assert result.out_of_distribution_score is None
    assert UNKNOWN in result.warnings
    assert result.calibrated_probability is None


def test_a_network_that_was_trained_on_another_ones_output_is_refused(phantom, lesions_by_density) -> None:
    install("s2", LENIENT, other_for="mlp")
    with pytest.raises(WeightsError, match="default-embedding-mlp were trained on the output of another version"):
        classify("s2", phantom)


def test_with_another_lesion_network_there_is_no_probability(phantom, lesions_by_density) -> None:
    install("s2", LENIENT, lesions="0" * 64)
    result = classify("s2", phantom).result
    assert result.calibrated_probability is None
    assert any("fitted with other weights" in warning for warning in result.warnings)


def test_what_is_predicted_does_not_depend_on_whether_a_probability_is_given(phantom, lesions_by_density) -> None:
    install("s2", LENIENT)
    like = classify("s2", phantom).result
    install("s2", DEMANDING)
    unlike = classify("s2", phantom).result
    assert unlike.calibrated_probability is None
    assert unlike.predicted_class == like.predicted_class


def test_thin_slices_are_averaged_as_in_training(phantom, lesions_by_density) -> None:
    """Every slice five times over, at a fifth of the distance, is the same study."""
    thick = SegmentedStudy.of(
        phantom.volume, phantom.lungs, None, lungs_method="auto", device="cpu", progress=Progress()
    )
    affine = phantom.volume.affine.copy()
    affine[:3, 2] /= 5.0
    assert thick.lesions is not None
    repeated = [np.repeat(item, 5, axis=0) for item in (phantom.volume.array, phantom.lungs.array)]
    lesions = replace(
        thick.lesions,
        array=np.repeat(thick.lesions.array, 5, axis=0),
        probability=np.repeat(thick.lesions.probability, 5, axis=0),
    )
    volume = replace(phantom.volume, array=repeated[0], affine=affine)
    thin = replace(thick, volume=volume, lungs=LungMask(repeated[1], "given"), lesions=lesions)
    configuration = SYSTEMS["s2"].configurations["small"]
    narrow = replace(configuration, slice_step=phantom.volume.spacing[0])
    few, many = (prepare_slices(study, narrow, Progress()) for study in (thick, thin))
    assert torch.equal(few.channels, many.channels)
    assert many.indices.tolist() == [5 * index + 2 for index in few.indices.tolist()]


def test_few_slices_with_lung_get_no_probability(phantom, lesions_by_density) -> None:
    install("s2", LENIENT)
    few = phantom.lungs.array.copy()
    with_lung = np.flatnonzero(few.any((1, 2)))
    few[with_lung[11] :] = 0
    result = create("s2", "small", device="cpu").classify(phantom.volume, LungMask(few, "given")).result
    assert result.calibrated_probability is None
    assert result.out_of_distribution_score > 1
    assert any(f"{UNLIKE} It has 11 slices with lung." in warning for warning in result.warnings)


def test_thick_slices_get_no_probability(phantom, lesions_by_density) -> None:
    install("s2", LENIENT)
    affine = phantom.volume.affine.copy()
    affine[:, 2] *= 2.75
    result = create("s2", "small", device="cpu").classify(replace(phantom.volume, affine=affine), phantom.lungs).result
    assert result.calibrated_probability is None
    assert any("Its slices lie 11.0 mm apart." in warning for warning in result.warnings)


def test_a_single_lung_gets_no_probability(phantom, lesions_by_density) -> None:
    install("s2", LENIENT)
    right = np.where(phantom.lungs.array == 1, 1, 0).astype(np.uint8)
    result = create("s2", "small", device="cpu").classify(phantom.volume, LungMask(right, "given")).result
    assert result.calibrated_probability is None
    assert any("It does not show both lungs." in warning for warning in result.warnings)


def test_small_is_the_default_once_all_its_weights_are_live(phantom) -> None:
    assert default_configuration("s2") == "corrected"
    install("s2", LENIENT)
    assert default_configuration("s2") == "corrected"
    install_lesion_weights()
    assert default_configuration("s2") == "small"
    assert create("s2", device="cpu").configuration.name == "small"
    assert create("s2", "published", device="cpu").configuration.name == "published"
    assert default_configuration("s1") == "corrected"
