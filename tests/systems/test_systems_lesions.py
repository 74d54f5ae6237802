"""Lesions in a result: numbers, map, evidence, weights and the words that must stand beside them."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest

from covid_bert import DEMONSTRATION_MODEL
from covid_bert.errors import InputError
from covid_bert.lesions import LesionMask, network, segment_lesions
from covid_bert.lungs.mask import LungMask
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.progress import Progress
from covid_bert.systems import create
from covid_bert.systems.location import LESION_METHOD
from covid_bert.volumes import read_mask, write_mask
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Role
from covid_bert.weights.store import live, publish
from lesion_networks import install_lesion_weights

pytestmark = pytest.mark.usefixtures("small_networks")


def classify(phantom, system: str = "baseline"):
    return create(system, device="cpu").classify(phantom.volume, phantom.lungs)


@pytest.mark.parametrize("system", ["s1", "s2", "baseline"])
def test_numbers_are_those_of_the_written_mask(system, phantom, lesions_by_density, repository, tmp_path) -> None:
    classification = classify(phantom, system)
    result = classification.result
    schema = json.loads((repository / "docs" / "result.schema.json").read_text())
    jsonschema.validate(json.loads(result.model_dump_json()), schema)
    assert result.schema_version == "1.1"
    path = write_mask(classification.lesions.array, phantom.volume, tmp_path / "lesions.nii.gz")
    labels, lungs = read_mask(path, phantom.volume), phantom.lungs.array
    voxel, found = phantom.volume.voxel_milliliters, result.lesions
    for side, lung in (("right", 1), ("left", 2)):
        for name, label in (("ground_glass", 1), ("consolidation", 2)):
            count = np.count_nonzero((labels == label) & (lungs == lung))
            assert getattr(found, f"{side}_{name}_ml") == pytest.approx(count * voxel)
            assert count > 0
        share = np.count_nonzero((labels > 0) & (lungs == lung)) / np.count_nonzero(lungs == lung)
        assert getattr(found, f"{side}_share") == pytest.approx(share)
    assert found.total_ml == pytest.approx(np.count_nonzero(labels) * voxel)
    assert found.share == pytest.approx(np.count_nonzero(labels) / np.count_nonzero(lungs))
    for item in result.slice_evidence:
        lung = np.count_nonzero(lungs[item.index])
        assert item.lesion_share == pytest.approx(np.count_nonzero(labels[item.index]) / lung)


def test_the_location_map_is_the_lesion_networks_probability(phantom, lesions_by_density) -> None:
    classification = classify(phantom)
    result, location = classification.result, classification.location
    np.testing.assert_array_equal(location, classification.lesions.probability)
    summary = result.location_map
    assert summary.method == LESION_METHOD
    assert "probability of ground-glass or consolidation by the lesion network" in summary.method
    assert summary.target_class == "ground-glass or consolidation"
    weights = location.astype(float)
    assert summary.left_share == pytest.approx(weights[phantom.lungs.array == 2].sum() / weights.sum())
    for item in result.slice_evidence:
        assert item.location_share == pytest.approx(weights[item.index].sum() / weights.sum())


def test_without_lesion_weights_the_map_is_grad_cam_and_a_warning_says_why(phantom) -> None:
    classification = classify(phantom)
    result = classification.result
    assert result.lesions is classification.lesions is None
    assert sum("Lesions were not segmented" in warning for warning in result.warnings) == 1
    assert "Grad-CAM" in result.location_map.method
    assert result.location_map.target_class == "covid"
    assert all(item.lesion_share is None for item in result.slice_evidence)
    assert DEMONSTRATION_MODEL not in result.warnings


def test_a_study_that_does_not_fit_is_classified_without_lesions(phantom, lesions_by_density) -> None:
    sizeless = replace(phantom.volume, spacing_known=False)
    result = create("baseline", device="cpu").classify(sizeless, phantom.lungs).result
    assert result.lesions is None
    assert any("voxel size" in warning for warning in result.warnings)


def test_demonstration_is_said_exactly_once_however_many_networks_are_one(phantom, lesions_by_density) -> None:
    result = classify(phantom).result
    assert result.weights_state.value == "untrained", "the score's network is"
    assert result.lesions.weights_state.value == "demonstration"
    assert result.warnings.count(DEMONSTRATION_MODEL) == 1
    provenance = Provenance(architecture="efficientnet-b3", role=Role.SLICE_NETWORK, demonstration=True)
    version = add_version("baseline-slice-network", ARCHITECTURES["efficientnet-b3"]().state_dict(), provenance)
    publish("baseline-slice-network", version.version)
    lungs = LungMask(phantom.lungs.array, "unet", weights=live(network.WEIGHTS_NAME).identity)
    result = create("baseline", device="cpu").classify(phantom.volume, lungs).result
    assert result.weights_state.value == "demonstration"
    assert result.warnings.count(DEMONSTRATION_MODEL) == 1


def test_the_weights_of_lungs_and_lesions_are_named(phantom, lesions_by_density) -> None:
    lesion_weights = live(network.WEIGHTS_NAME).identity
    lung_weights = lesion_weights.model_copy(update={"name": "default-lungs"})
    lungs = LungMask(phantom.lungs.array, "unet", weights=lung_weights)
    result = create("baseline", device="cpu").classify(phantom.volume, lungs).result
    assert result.provenance.weights[-2:] == [lung_weights, lesion_weights]


def test_trained_lesion_weights_carry_no_word_of_demonstration(phantom, lesions_by_density) -> None:
    install_lesion_weights(demonstration=False)
    result = classify(phantom).result
    assert result.lesions.weights_state.value == "trained"
    assert DEMONSTRATION_MODEL not in result.warnings


def test_swapped_lungs_swap_the_sides_of_the_lesions(phantom, lesions_by_density) -> None:
    swapped = np.where(phantom.lungs.array == 0, 0, 3 - phantom.lungs.array).astype(np.uint8)
    one = classify(phantom).result.lesions
    other = create("baseline", device="cpu").classify(phantom.volume, LungMask(swapped, "given")).result.lesions
    assert one.right_ground_glass_ml != pytest.approx(one.left_ground_glass_ml)
    assert other.right_ground_glass_ml == pytest.approx(one.left_ground_glass_ml)
    assert other.left_consolidation_ml == pytest.approx(one.right_consolidation_ml)
    assert other.left_share == pytest.approx(one.right_share)


def test_given_lesions_are_used_and_checked(phantom, lesions_by_density) -> None:
    lesions = segment_lesions(phantom.volume, phantom.lungs, device="cpu")
    passes = len(lesions_by_density.shown)
    system = create("baseline", device="cpu")
    classification = system.classify(phantom.volume, phantom.lungs, lesions)
    assert classification.lesions is lesions
    assert len(lesions_by_density.shown) == passes, "nothing is segmented twice"
    empty = np.zeros((3, 4, 5), np.uint8)
    with pytest.raises(InputError, match="lesion mask has shape"):
        system.classify(phantom.volume, phantom.lungs, LesionMask(empty, empty.copy(), "given"))


def test_lesions_are_a_stage_of_their_own(phantom, lesions_by_density) -> None:
    seen: set[str] = set()
    progress = Progress(lambda stage, _: seen.add(stage))
    result = create("baseline", device="cpu").classify(phantom.volume, phantom.lungs, progress=progress).result
    assert "lesions" in seen
    assert "lesions" in result.provenance.seconds
