"""Training of the segmenters: material, batches, loss and loop, on small phantoms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from covid_bert.cli import PatternName
from covid_bert.cli_training import TrainingTarget
from covid_bert.commands.train import TARGETS
from covid_bert.errors import NotFoundError
from covid_bert.networks.segmenter import SliceSegmenter
from covid_bert.phantom import make
from covid_bert.segmentation.working_grid import AIR_HOUNSFIELD
from covid_bert.synthesis import IGNORE, PATTERNS
from covid_bert.training import default_segmenters, validation
from covid_bert.training.default_segmenters import RECIPES, train_default_segmenter
from covid_bert.training.material import Material, load_material
from covid_bert.training.schedule import Schedule
from covid_bert.training.segmenter import segmentation_loss, train_segmenter
from covid_bert.training.slab_augmentation import cut_off, generous
from covid_bert.training.slabs import SlabBatches, SlabTask, WorkingMaterial, make_study
from covid_bert.training.validation import validate_segmenter
from covid_bert.weights.store import live

CHANCES = (("covid-like", 0.5), ("bacterial-like", 0.2), ("none", 0.3))
LUNGS = SlabTask("default-lungs", "lungs", 4.0, 5.0, (-1024.0, 400.0), 1, (64, 80), CHANCES)
LESIONS = SlabTask("default-lesions", "lesions", 4.0, 5.0, (-1000.0, 200.0), 1, (48, 48), CHANCES)
SMALL = (8, 8, 8, 16, 16, 8)


@pytest.fixture(scope="module")
def materials():
    found = []
    for seed in (1, 2):
        phantom = make(shape=(40, 80, 100), spacing=(6.0, 3.6, 3.6), seed=seed, noise=8.0)
        ignore = np.zeros(phantom.volume.shape, np.bool_)
        ignore[10:14, 30:50, 20:40] = True
        name = f"person-{seed}"
        found.append(Material(name, phantom.volume.array, phantom.lungs.array.copy(), ignore, (6.0, 3.6, 3.6)))
    return found


def batches(materials, task, seed, count):
    source = iter(
        SlabBatches(
            [WorkingMaterial.of(item, task.pixel, around_lungs=task.sees_lungs) for item in materials],
            task,
            seed=seed,
            batch=6,
            pool=8,
        )
    )
    return [next(source) for _ in range(count)]


def test_the_working_grid_keeps_the_lungs(materials) -> None:
    for task in (LUNGS, LESIONS):
        working = WorkingMaterial.of(materials[0], task.pixel, around_lungs=task.sees_lungs)
        true_ml = (materials[0].lungs > 0).sum() * np.prod(materials[0].spacing) / 1000
        ml = (working.lungs > 0).sum() * np.prod(working.spacing) / 1000
        assert ml == pytest.approx(true_ml, rel=0.03)
        assert working.ignore.any()
        assert working.hounsfield.shape == working.lungs.shape


@pytest.mark.parametrize("task", [LUNGS, LESIONS], ids=["lungs", "lesions"])
def test_batches_repeat_with_the_seed_and_differ_without(materials, task) -> None:
    first, again, other = (batches(materials, task, seed, 3) for seed in (5, 5, 6))
    for (image, target), (image_again, target_again) in zip(first, again, strict=True):
        assert torch.equal(image, image_again)
        assert torch.equal(target, target_again)
    assert not torch.equal(first[0][0], other[0][0])


@pytest.mark.parametrize("task", [LUNGS, LESIONS], ids=["lungs", "lesions"])
def test_batches_have_the_shape_and_range_that_the_network_takes(materials, task) -> None:
    seen = set()
    for image, target in batches(materials, task, 1, 10):
        assert image.shape == (6, 4 if task.sees_lungs else 3, *task.crop)
        assert target.shape == (6, *task.crop)
        assert image.min() >= -1
        assert image.max() <= 1
        seen |= set(target.unique().tolist())
    assert seen - {IGNORE} == {0, 1, 2}


def test_right_and_left_never_swap_for_the_lung_network(materials) -> None:
    compared = 0
    for _, targets in batches(materials, LUNGS, 3, 15):
        for target in targets:
            right, left = ((target == side).nonzero()[:, 1].float() for side in (1, 2))
            if len(right) > 40 and len(left) > 40:
                assert right.mean() < left.mean()
                compared += 1
    assert compared > 20


def test_lesions_are_learned_inside_the_lungs_only(materials) -> None:
    for image, target in batches(materials, LESIONS, 4, 6):
        outside = image[:, 3] == 0
        # The mask was resampled linearly; the labels were not.
        assert (target[outside] == IGNORE).float().mean() > 0.97


def test_what_a_widened_mask_takes_in_is_learned_as_no_lesion(materials) -> None:
    task = replace(LESIONS, patterns=(("none", 1.0),))
    clean = [replace(item, ignore=np.zeros_like(item.ignore)) for item in materials]
    asked = [
        ((image[:, 3] >= 0.5) & (target == IGNORE)).sum() / (image[:, 3] >= 0.5).sum()
        for image, target in batches(clean, task, 4, 8)
    ]
    # Only masses and fluid are left out.
    assert np.median(asked) == 0


def test_some_masks_take_in_what_lies_between_the_lungs_and_none_loses_lung() -> None:
    mask = torch.zeros(1, 40, 40)
    mask[:, 8:32, 8:32] = 1.0
    mask[:, 16:22, 26:32] = 0.0
    generator = np.random.default_rng(0)
    closed = [generous(mask, generator) for _ in range(40)]
    assert all((found >= mask).all() for found in closed)
    filled = [bool(found[0, 19, 28]) for found in closed]
    assert 5 < sum(filled) < 25
    # Closing alone does not reach beyond the outer border.
    assert any(full and not found[0, 19, 33:].any() for full, found in zip(filled, closed, strict=True))


def test_disease_that_is_there_already_is_not_learned_from(materials) -> None:
    working = WorkingMaterial.of(materials[0], LESIONS.pixel, around_lungs=True)
    working = replace(working, ignore=working.lungs == 1)
    study = make_study(working, LESIONS, np.random.default_rng(2))
    assert (study.lesions[study.lungs == 1] == IGNORE).all()
    assert (study.lesions[study.lungs == 2] != IGNORE).any()


def test_fluid_counts_neither_for_nor_against_the_lung_network(materials, monkeypatch) -> None:
    monkeypatch.setattr(validation, "predict", lambda _module, planes, **_options: np.zeros((1, *planes.shape)))
    study = make_study(
        WorkingMaterial.of(materials[0], LUNGS.pixel, around_lungs=False), LUNGS, np.random.default_rng(2)
    )
    fluid = study.lungs == 0
    fluid[:, ::2] = False
    lesions = np.where(fluid, IGNORE, study.lesions)
    probability, truth, valid = validation._predicted(
        torch.nn.Identity(), replace(study, lesions=lesions.astype(np.uint8)), LUNGS
    )
    assert (probability == 1.0).all()
    assert not valid[fluid].any()
    assert valid[~fluid & (study.lesions != IGNORE)].all()
    assert np.array_equal(truth, study.lungs > 0)


def test_fluid_is_left_out_of_what_the_lung_network_learns(materials) -> None:
    share = np.mean([float((target == IGNORE).float().mean()) for _, target in batches(materials, LUNGS, 2, 25)])
    assert 0 < share < 0.1


def test_another_field_of_view_is_air_without_lung() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        image, labels = torch.zeros(3, 40, 50), torch.ones(40, 50)
        cut_off(image, labels, generator)
        cut = image == AIR_HOUNSFIELD
        assert torch.equal(cut[0], cut[2])
        assert torch.equal(labels == 0, cut[0])
        assert cut[0].float().mean() < 0.6


def test_loss_is_low_for_the_truth_and_blind_to_what_is_ignored() -> None:
    target = torch.randint(0, 3, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    right = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float() * 20
    wrong = right.flip(1)
    assert segmentation_loss(right, target) < 0.01
    assert segmentation_loss(wrong, target) > 2
    ignored = target.clone()
    ignored[:, :8] = IGNORE
    mixed = torch.cat([wrong[:, :, :8], right[:, :, 8:]], dim=2)
    assert segmentation_loss(mixed, ignored) < 0.01


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    schedule = Schedule(steps=200, batch=1)
    rates = [schedule.rate(step) for step in range(200)]
    assert rates[0] < 0.2
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.01
    assert all(math.isfinite(rate) for rate in rates)


@pytest.mark.slow
def test_a_short_training_learns_the_lungs(materials) -> None:
    torch.manual_seed(0)
    module = SliceSegmenter(3, 3, SMALL)
    before = validate_segmenter(module.eval(), materials, LUNGS, seed=9, studies=2)
    losses = []
    trained = train_segmenter(
        module, materials, LUNGS, Schedule(75, 6), seed=0, on_step=lambda _step, loss, _seconds: losses.append(loss)
    )
    after = validate_segmenter(trained, materials, LUNGS, seed=9, studies=2)
    assert losses[-1] < 0.85 * losses[0]
    assert after.dice_by_threshold[0.5] > max(0.7, before.dice_by_threshold[0.5] + 0.1)
    assert not trained.training


@pytest.mark.slow
def test_training_ends_at_its_time_limit(materials) -> None:
    module = SliceSegmenter(3, 3, SMALL)
    steps = []
    train_segmenter(
        module, materials, LUNGS, Schedule(100_000, 2), seed=0, time_limit=6.0,
        on_step=lambda step, _loss, _seconds: steps.append(step),
    )  # fmt: skip
    assert steps[-1] < 5000


@pytest.mark.slow
def test_training_installs_live_weights_that_say_what_they_are(materials, monkeypatch) -> None:
    recipe = RECIPES["lesions"]
    small = default_segmenters.SegmenterRecipe(LESIONS, recipe.architecture, recipe.role, Schedule(2, 2), 2)
    monkeypatch.setitem(RECIPES, "lesions", small)
    weights = train_default_segmenter("lesions", materials, seed=0)
    found = live("default-lesions")
    assert found is not None
    assert found.sha256 == weights.sha256
    assert not found.shipped
    manifest = found.manifest
    assert manifest.demonstration
    assert manifest.operating_point is not None
    assert manifest.input is not None
    assert manifest.input.window_hu == (-1000.0, 200.0)
    assert "No patient label" in manifest.trained_on


def test_material_that_is_not_there_is_an_error_that_says_where_to_look(tmp_path) -> None:
    with pytest.raises(NotFoundError, match="no training material") as caught:
        load_material([tmp_path])
    assert "sample-data" in caught.value.hint


def test_the_command_line_offers_what_there_is() -> None:
    assert {name.value for name in PatternName} == set(PATTERNS)
    assert {name.value for name in TrainingTarget} == set(TARGETS)
