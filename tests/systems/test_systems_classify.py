"""The systems from volume to result, with small networks on a synthetic chest."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest

from covid_bert.errors import CancelledError, InputError, ParameterError
from covid_bert.lungs.mask import LungMask
from covid_bert.progress import Progress
from covid_bert.systems import SYSTEMS, create
from covid_bert.systems.result import StudyResult

pytestmark = pytest.mark.usefixtures("small_networks")
# Those that need the lesion network are in test_systems_small.py.
COMBINATIONS = [
    (name, configuration)
    for name, entry in SYSTEMS.items()
    for configuration, content in entry.configurations.items()
    if not content.needs_lesions
]


@pytest.mark.parametrize(("system", "configuration"), COMBINATIONS)
def test_every_system_ends_in_a_result_that_fits_the_schema(system, configuration, phantom, repository) -> None:
    classification = create(system, configuration, device="cpu").classify(phantom.volume, phantom.lungs)
    result = classification.result
    schema = json.loads((repository / "docs" / "result.schema.json").read_text())
    jsonschema.validate(json.loads(result.model_dump_json()), schema)
    assert StudyResult.model_validate_json(result.model_dump_json()) == result
    assert sum(result.class_scores.values()) == pytest.approx(1)
    assert result.weights_state.value == "untrained"
    assert any("UNTRAINED" in warning for warning in result.warnings)
    assert result.calibrated_probability is None
    assert "Research use only" in result.research_use_only
    first, last = result.provenance.kept_slices
    assert [item.index for item in result.slice_evidence] == list(range(first, last + 1))
    assert all(first <= index <= last for window in result.windows for index in window.slice_indices)
    assert result.study.identifier == phantom.volume.identifier


@pytest.mark.parametrize(("system", "configuration"), COMBINATIONS)
def test_location_map_lies_inside_the_lungs_on_the_kept_slices(system, configuration, phantom) -> None:
    classification = create(system, configuration, device="cpu").classify(phantom.volume, phantom.lungs)
    location = classification.location
    assert location.shape == phantom.volume.shape
    assert location.max() == 255
    assert not location[phantom.lungs.array == 0].any()
    first, last = classification.result.provenance.kept_slices
    assert not location[:first].any()
    assert not location[last + 1 :].any()
    summary = classification.result.location_map
    assert summary.right_share + summary.left_share == pytest.approx(1)
    weights = location.astype(float)
    assert summary.right_share == pytest.approx(weights[phantom.lungs.array == 1].sum() / weights.sum())
    column, row, slice_ = (np.linalg.inv(phantom.volume.affine) @ [*summary.peak_ras_mm, 1])[:3].round().astype(int)
    assert location[slice_, row, column] == 255
    assert slice_ == summary.peak_slice
    assert "Grad-CAM" in summary.method
    assert sum(item.location_share for item in classification.result.slice_evidence) == pytest.approx(1)


def test_results_are_deterministic(phantom) -> None:
    scores = [create("s1", device="cpu").classify(phantom.volume, phantom.lungs).result.class_scores for _ in range(2)]
    assert scores[0] == scores[1]


def test_s1_averages_its_stages_and_s2_takes_the_one_it_says(phantom) -> None:
    result = create("s1", device="cpu").classify(phantom.volume, phantom.lungs).result
    mean = sum(stage.scores["covid"] for stage in result.stages) / 2
    assert result.class_scores["covid"] == pytest.approx(mean)
    assert sum(item.attention for item in result.segments) == pytest.approx(1, abs=1e-5)
    for configuration, stage in (("corrected", "clips"), ("published", "mlp")):
        result = create("s2", configuration, device="cpu").classify(phantom.volume, phantom.lungs).result
        assert result.class_scores == {item.name: item for item in result.stages}[stage].scores


def test_slice_scores_are_means_over_their_clips(phantom) -> None:
    result = create("s1", device="cpu").classify(phantom.volume, phantom.lungs).result
    for item in result.slice_evidence:
        scores = [window.scores["covid"] for window in result.windows if item.index in window.slice_indices]
        assert item.score == pytest.approx(np.mean(scores))


def test_progress_reaches_into_the_clips_and_cancel_stops_there(phantom) -> None:
    seen = []
    progress = Progress(lambda stage, fraction: seen.append((stage, fraction)))
    create("s2", device="cpu").classify(phantom.volume, phantom.lungs, progress=progress)
    assert [fraction for stage, fraction in seen if stage == "clips"][-1] == 1.0
    assert {"lungs", "slices", "clips", "study", "location"} <= set(progress.seconds)
    clips_done = []

    def stop_in_clips(stage: str, fraction: float) -> None:
        if stage == "clips":
            clips_done.append(fraction)
            cancelling.cancel()

    cancelling = Progress(stop_in_clips)
    with pytest.raises(CancelledError):
        create("s2", device="cpu").classify(phantom.volume, phantom.lungs, progress=cancelling)
    assert max(clips_done) < 1.0


def test_a_mask_of_another_grid_or_without_lungs_is_refused(phantom) -> None:
    system = create("s1", device="cpu")
    with pytest.raises(InputError, match="shape"):
        system.classify(phantom.volume, LungMask(np.ones((3, 4, 5), np.uint8), "given"))
    with pytest.raises(InputError, match="empty"):
        system.classify(phantom.volume, LungMask(np.zeros(phantom.volume.shape, np.uint8), "given"))


def test_unknown_names_list_what_there_is() -> None:
    for arguments, known in ((("s9",), "s1, s2"), (("s1", "best"), "published")):
        with pytest.raises(ParameterError) as caught:
            create(*arguments)
        assert known in caught.value.hint
    with pytest.raises(ParameterError):
        create("s1", device="cuda:99")
    with pytest.raises(ParameterError):
        create("s1", device="abacus")


def test_a_mirrored_patient_gives_a_mirrored_map_side(phantom) -> None:
    """Left and right in the result follow the mask's labels, not the array's halves."""
    location = create("s1", device="cpu").classify(phantom.volume, phantom.lungs)
    swapped_labels = np.where(phantom.lungs.array == 0, 0, 3 - phantom.lungs.array).astype(np.uint8)
    swapped = create("s1", device="cpu").classify(phantom.volume, LungMask(swapped_labels, "given"))
    assert swapped.result.location_map.left_share == pytest.approx(location.result.location_map.right_share)
    assert swapped.result.lungs.left_ml == pytest.approx(location.result.lungs.right_ml)
