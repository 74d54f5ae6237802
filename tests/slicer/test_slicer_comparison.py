"""Dice, volumes and surface distances agree with a plain reference on scipy's distance transform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mask_tools import compared
from mrml_samples import add_volume, document_for, hounsfield, oblique, orientations, write_nrrd

from CovidBertLib.comparison import Comparison, SegmentComparison, read_comparison
from CovidBertLib.orders import surfaces
from CovidBertLib.problems import SceneError
from CovidBertLib.result import parse
from CovidBertLib.scene import show
from CovidBertLib.segments import LESIONS, LUNGS

SIZES = (30, 26, 22)
SPACING = np.array([0.7, 0.8, 1.5])  # along i, j, k, as of the sample volumes


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    k, j, i = np.indices(SIZES[::-1])
    place = (np.stack([i, j, k], -1) - centre) * SPACING
    return (place**2).sum(-1) <= radius**2


def labels(right: np.ndarray, left: np.ndarray) -> np.ndarray:
    return np.where(right, 1, np.where(left, 2, 0)).astype(np.uint8)


BEFORE = labels(ball((22, 13, 11), 5.0), ball((7, 13, 11), 4.0))
CASES = {
    "same": BEFORE,
    "shifted": np.roll(BEFORE, 2, axis=1),
    "grown": labels(ball((22, 13, 11), 6.2), ball((7, 13, 11), 3.1)),
    "cut": np.where(np.indices(BEFORE.shape)[0] > 12, 0, BEFORE).astype(np.uint8),
    "at the border": labels(ball((29, 0, 0), 6.0), ball((0, 25, 21), 6.0)),
    "far islands": labels(ball((22, 13, 11), 5.0) | ball((28, 2, 20), 1.5), ball((7, 13, 11), 4.0)),
}


def compare_labels(before: np.ndarray, after: np.ndarray, affine: np.ndarray, voxel_ml: float, mask: str) -> Comparison:
    return read_comparison(surfaces.compare_labels(before, after, affine, lambda: False), mask, voxel_ml)


def reference(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    """Return Dice, mean and 95 % symmetric surface distance in mm."""
    ndimage = pytest.importorskip("scipy.ndimage")
    cross = ndimage.generate_binary_structure(3, 1)
    surfaces = [mask & ~ndimage.binary_erosion(mask, cross, border_value=0) for mask in (before, after)]
    to = [ndimage.distance_transform_edt(~surface, sampling=SPACING[::-1]) for surface in surfaces]
    directed = to[1][surfaces[0]], to[0][surfaces[1]]
    dice = 2 * (before & after).sum() / (before.sum() + after.sum())
    return float(dice), float(np.concatenate(directed).mean()), max(float(np.percentile(d, 95)) for d in directed)


def check(found: SegmentComparison, before: np.ndarray, after: np.ndarray) -> None:
    dice, mean, percentile = reference(before, after)
    voxel = SPACING.prod() / 1000
    assert found.dice == pytest.approx(dice)
    assert found.mean_distance_mm == pytest.approx(mean, abs=1e-5)
    assert found.distance_95_mm == pytest.approx(percentile, abs=1e-5)
    assert found.before_ml == pytest.approx(before.sum() * voxel)
    assert found.change_ml == pytest.approx((after.sum() - before.sum()) * voxel)


@pytest.mark.parametrize("affine", [orientations()[0], orientations()[44], oblique(orientations()[21])])
@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_the_reference(name: str, affine: np.ndarray) -> None:
    after = CASES[name]
    found = compare_labels(BEFORE, after, affine, SPACING.prod() / 1000, LUNGS)
    for segment in found.segments:
        check(segment, segment.kind.label == BEFORE, segment.kind.label == after)
    assert found.changed_voxels == np.count_nonzero(after != BEFORE)


def test_the_same_mask_has_no_distance() -> None:
    for segment in compare_labels(BEFORE, BEFORE.copy(), np.eye(4), 1.0, LUNGS).segments:
        assert (segment.dice, segment.mean_distance_mm, segment.distance_95_mm, segment.change_ml) == (1, 0, 0, 0)


def test_an_empty_side_has_no_distance() -> None:
    right, left = compare_labels(BEFORE, np.where(BEFORE == 2, 2, 0), np.eye(4), 0.5, LESIONS).segments
    assert (right.dice, right.mean_distance_mm, right.distance_95_mm) == (0, None, None)
    assert right.change_ml == -0.5 * np.count_nonzero(BEFORE == 1)
    assert left.dice == 1
    nothing = compare_labels(0 * BEFORE, 0 * BEFORE, np.eye(4), 1.0, LESIONS)
    assert [segment.dice for segment in nothing.segments] == [None, None]


def test_segmentations_of_the_scene_are_compared(scene: Any, tmp_path: Path) -> None:
    affine = orientations()[0]
    volume = add_volume(affine, hounsfield(sizes=SIZES))
    result = parse(document_for(volume))
    nodes = [
        show(volume, result, {"lungs": write_nrrd(tmp_path / f"{number}.nrrd", values, affine)}).lungs
        for number, values in enumerate((BEFORE, CASES["grown"]))
    ]
    found = read_comparison(compared(*nodes, volume, tmp_path), LUNGS, SPACING.prod() / 1000)
    for segment in found.segments:
        check(segment, segment.kind.label == BEFORE, segment.kind.label == CASES["grown"])
    assert [segment.kind.name for segment in found.segments] == ["right lung", "left lung"]
    scene.RemoveNode(nodes[0])
    with pytest.raises(SceneError):
        compared(*nodes, volume, tmp_path)
