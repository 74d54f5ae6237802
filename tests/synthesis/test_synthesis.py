"""Planting lesions: what is changed, what is left, what repeats, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from covid_bert.errors import InputError, ParameterError
from covid_bert.lungs.mask import LungMask
from covid_bert.phantom import make
from covid_bert.synthesis import IGNORE, PATTERNS, plant_lesions, synthesize
from covid_bert.synthesis.distractors import Canvas, bowel_gas
from covid_bert.synthesis.opacities import plant
from covid_bert.synthesis.scanner import Scan
from covid_bert.synthesis.space import LungSpace
from covid_bert.synthesis.study import FLUID, SCANNER, TISSUE
from covid_bert.volumes.volume import Unit

SHAPE, SPACING = (48, 96, 112), (5.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def phantom():
    return make(shape=SHAPE, spacing=SPACING, seed=3, noise=8.0)


def made(phantom, **options):
    return synthesize(phantom.volume, phantom.lungs, **{"with_distractors": False, **options})


@pytest.mark.parametrize("pattern", ["covid-like", "bacterial-like", "bronchopneumonia", "consolidation"])
def test_lesions_lie_in_the_lungs_and_raise_the_density(phantom, pattern) -> None:
    study = made(phantom, pattern=pattern, severity=0.8, seed=5)
    lesions = study.lesions > 0
    before, after = phantom.volume.array.astype(int), study.volume.array.astype(int)
    assert lesions.sum() > 100
    assert not (lesions & (phantom.lungs.array == 0)).any()
    assert after[lesions].mean() > before[lesions].mean() + 150
    outside = phantom.lungs.array == 0
    assert np.array_equal(after[outside], before[outside])


def test_consolidation_is_denser_than_ground_glass(phantom) -> None:
    values = {1: [], 2: []}
    for seed in range(6):
        study = made(phantom, severity=0.9, seed=seed)
        for label, found in values.items():
            found.append(study.volume.array[study.lesions == label])
    glass, consolidation = (np.median(np.concatenate(values[label])) for label in (1, 2))
    # Quartiles of the real lesions: ground-glass about -640 to -460, consolidation about -375 to 0.
    assert -700 < glass < -400
    assert -350 < consolidation < 80


def test_vessels_show_through_ground_glass(phantom) -> None:
    study = made(phantom, severity=0.9, seed=2)
    vessels = phantom.vessels & (study.lesions == 1) & (phantom.volume.array > -50)
    assert vessels.sum() > 5
    change = study.volume.array[vessels].astype(int) - phantom.volume.array[vessels].astype(int)
    assert np.median(change) < 60


def test_no_pattern_without_distractors_changes_nothing(phantom) -> None:
    study = made(phantom, pattern="none")
    assert np.array_equal(study.volume.array, phantom.volume.array)
    assert not study.lesions.any()
    assert np.array_equal(study.lungs.array, phantom.lungs.array)


def test_one_seed_gives_one_study_and_another_seed_another(phantom) -> None:
    first, again, other = (synthesize(phantom.volume, phantom.lungs, seed=seed, severity=0.6) for seed in (7, 7, 8))
    assert np.array_equal(first.volume.array, again.volume.array)
    assert first.recipe == again.recipe
    assert not np.array_equal(first.volume.array, other.volume.array)


def test_the_study_itself_is_not_changed(phantom) -> None:
    before = phantom.volume.array.copy()
    synthesize(phantom.volume, phantom.lungs, seed=1, severity=1.0)
    assert np.array_equal(before, phantom.volume.array)


def test_severity_makes_more_lesion(phantom) -> None:
    amounts = [
        np.mean([(made(phantom, severity=severity, seed=seed).lesions > 0).mean() for seed in range(8)])
        for severity in (0.1, 1.0)
    ]
    assert amounts[1] > 2 * amounts[0]


def test_covid_like_lesions_are_more_peripheral_lower_and_bilateral_than_bacterial_ones(phantom) -> None:
    space = LungSpace.of(phantom.lungs.array, phantom.volume.spacing)
    heights = np.arange(SHAPE[0])[space.box[0]]
    found = {"covid-like": [], "bacterial-like": []}
    for pattern, rows in found.items():
        for seed in range(14):
            lesions = made(phantom, pattern=pattern, severity=0.6, seed=seed).lesions[space.box] > 0
            sides = [(lesions & (space.lungs == side)).sum() for side in (1, 2)]
            if lesions.any():
                rows.append(
                    (
                        space.depth[lesions].mean(),
                        (heights[:, None, None] * lesions).sum() / lesions.sum(),
                        min(sides) / max(sides),
                    )
                )
    covid, bacterial = (np.array(found[name]).mean(axis=0) for name in ("covid-like", "bacterial-like"))
    assert covid[0] < bacterial[0]
    assert covid[1] < bacterial[1]
    assert covid[2] > bacterial[2]


def test_a_mass_is_marked_as_not_to_be_learned_from(phantom) -> None:
    masses = 0
    for seed in range(40):
        study = synthesize(phantom.volume, phantom.lungs, pattern="none", seed=seed)
        has_mass = "mass" in study.recipe["distractors"]
        in_lung = (study.lesions == IGNORE) & (study.lungs.array > 0)
        assert has_mass == bool(in_lung.any())
        assert set(np.unique(study.lesions)) <= {0, IGNORE}
        masses += has_mass
    assert masses > 0


def with_distractor(phantom, name):
    for seed in range(60):
        study = synthesize(phantom.volume, phantom.lungs, pattern="none", seed=seed)
        if name in study.recipe["distractors"]:
            return study
    pytest.fail(f"no study with {name} among sixty")


def test_fluid_is_not_lung_and_is_not_learned_from(phantom) -> None:
    study = with_distractor(phantom, "effusion")
    gone = (phantom.lungs.array > 0) & (study.lungs.array == 0)
    assert gone.any()
    assert (study.lesions[gone] == IGNORE).all()


def test_bowel_gas_lies_outside_the_lungs_and_is_dark(phantom) -> None:
    space = LungSpace.of(phantom.lungs.array, phantom.volume.spacing)
    canvas = Canvas(
        phantom.volume.array[space.box].astype(np.float32), np.zeros(space.lungs.shape, np.uint8), space,
        space.lungs.copy(), -850.0,
    )  # fmt: skip
    before = canvas.image.copy()
    bowel_gas(canvas, np.random.default_rng(3))
    changed = canvas.image != before
    assert changed.any()
    assert not (changed & (space.lungs > 0)).any()
    assert (canvas.image < -700)[changed].mean() > 0.3
    assert not canvas.labels.any()


def test_consolidation_reaches_the_chest_wall_and_is_as_dense_as_muscle(phantom) -> None:
    space = LungSpace.of(phantom.lungs.array, phantom.volume.spacing)
    at_the_wall, values = [], []
    for seed in range(10):
        study = made(phantom, pattern="consolidation", severity=0.3, seed=seed)
        dense = study.lesions[space.box] == 2
        at_the_wall.append(bool((dense & (space.depth < 5.0)).any()))
        values.append(study.volume.array[space.box][dense])
    assert np.mean(at_the_wall) >= 0.9
    assert -150 < np.median(np.concatenate(values)) < 80


def test_every_distractor_is_drawn_sometimes_and_values_stay_in_range(phantom) -> None:
    seen = set()
    for seed in range(80):
        study = synthesize(phantom.volume, phantom.lungs, pattern="none", seed=seed)
        seen |= set(study.recipe["distractors"])
        assert study.volume.array.min() >= -1024
        assert study.volume.array.max() <= 3071
    assert seen == set(TISSUE) | set(FLUID) | set(SCANNER)


@pytest.mark.parametrize("name", sorted(SCANNER))
def test_the_scanner_changes_the_whole_picture(phantom, name: str) -> None:
    scan = Scan(phantom.volume.array.astype(np.float32), (5.0, 0.8, 0.8))
    before = scan.image.copy()
    SCANNER[name][1](scan, np.random.default_rng(3))
    changed = np.abs(scan.image - before) > 0.01
    tissue = (before > -200) & (phantom.lungs.array == 0)
    slices = np.flatnonzero(changed.any(axis=(1, 2)))
    assert len(slices) >= 4
    for side in (np.s_[:, :, :20], np.s_[:, :, -20:], np.s_[:, :12], np.s_[:, -12:]):
        assert (changed & tissue)[side].any(), side


def test_two_opacities_of_ground_glass_on_each_other_are_labelled_by_their_density(phantom) -> None:
    space = LungSpace.of(phantom.lungs.array, SPACING)
    drawn = PATTERNS["covid-like"](space, np.random.default_rng(4), 1.0)[0]
    glass = replace(
        drawn, shape="patch", radii=(20.0, 20.0, 20.0), fill=0.42, core=0.0, septa=0.0, filling=40.0, irregularity=0.0
    )

    def labels(count: int) -> np.ndarray:
        image = np.full(space.lungs.shape, -860.0, np.float32)
        return plant(image, space, [glass] * count, -860.0)

    assert set(np.unique(labels(1))) == {0, 1}
    # -860 HU becomes -482 HU by one, -263 HU by two.
    assert set(np.unique(labels(2))) >= {0, 2}
    assert ((labels(2) > 0) == (labels(1) > 0)).all()


def test_bronchopneumonia_is_many_small_lesions(phantom) -> None:
    space = LungSpace.of(phantom.lungs.array, SPACING)
    for seed in range(5):
        drawn = PATTERNS["bronchopneumonia"](space, np.random.default_rng(seed), 0.6)
        small = [opacity for opacity in drawn if max(opacity.radii) < 6.0]
        assert len(small) >= 10
        assert len(small) > 0.8 * len(drawn)
        assert max(max(opacity.radii) for opacity in drawn) < 30.0


def test_bronchopneumonia_has_no_nodules_beside_it_that_are_no_lesions(phantom) -> None:
    seeds = [
        seed
        for seed in range(40)
        if "nodules" in synthesize(phantom.volume, phantom.lungs, pattern="none", seed=seed).recipe["distractors"]
    ][:2]
    assert seeds
    for seed in seeds:
        beside = synthesize(phantom.volume, phantom.lungs, pattern="bronchopneumonia", seed=seed, severity=0.1)
        alone = synthesize(phantom.volume, phantom.lungs, pattern="none", seed=seed)
        expected = [name for name in alone.recipe["distractors"] if name != "nodules"]
        assert beside.recipe["distractors"] == expected


def test_the_recipe_is_json(phantom) -> None:
    recipe = synthesize(phantom.volume, phantom.lungs, seed=1).recipe
    text = json.dumps(recipe)
    assert json.dumps(json.loads(text)) == text


def test_one_lung_is_enough(phantom) -> None:
    right_only = np.where(phantom.lungs.array == 1, 1, 0).astype(np.uint8)
    for pattern in PATTERNS:
        planted = plant_lesions(
            phantom.volume.array, right_only, phantom.volume.spacing, pattern=pattern, severity=0.7, seed=1
        )
        assert not ((planted.lesions > 0) & (right_only == 0)).any()


def test_bad_input_is_refused(phantom) -> None:
    with pytest.raises(ParameterError, match="no lesion pattern"):
        made(phantom, pattern="measles")
    with pytest.raises(ParameterError, match="severity"):
        made(phantom, severity=0.0)
    with pytest.raises(InputError, match="does not fit"):
        synthesize(phantom.volume, LungMask(np.zeros(SHAPE, np.uint8), "given"))
    with pytest.raises(InputError, match="other labels than 1 and 2"):
        synthesize(phantom.volume, LungMask(phantom.lungs.array * 3, "given"))
    gray = replace(phantom.volume, array=np.zeros(SHAPE, np.uint8), unit=Unit.GRAY8)
    with pytest.raises(InputError, match="Hounsfield"):
        synthesize(gray, phantom.lungs)
