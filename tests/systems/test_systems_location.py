"""The location map lights where the network looked, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from covid_bert.lungs.mask import LungMask
from covid_bert.systems.assemble import crop_warnings
from covid_bert.systems.location import LocationAccumulator, StudyMap, grad_cam, on_grid, summarise
from covid_bert.volumes import NativeGrid, Source, Unit, Volume


def volume_of(shape: tuple[int, int, int]) -> Volume:
    affine = np.array([[-2.0, 0, 0, 50], [0, -1.5, 0, 40], [0, 0, 4.0, -100], [0, 0, 0, 1]])
    native = NativeGrid(tuple(reversed(shape)), affine)
    return Volume(np.zeros(shape, np.int16), affine, Unit.HOUNSFIELD, Source(Path("made"), "phantom"), native)


def test_grad_cam_lights_the_cell_that_raises_the_score() -> None:
    features = torch.zeros(1, 2, 2, 3, 3)
    features[0, 0, 1, 2, 0] = 5.0  # channel 0 speaks for the class
    features[0, 1, 0, 0, 1] = 5.0  # channel 1 speaks against it

    def classify(maps: torch.Tensor) -> torch.Tensor:
        pooled = maps.mean((-3, -2, -1))
        return torch.stack((pooled[:, 0] - pooled[:, 1], -pooled[:, 0] + pooled[:, 1]), dim=1)

    cam, logits = grad_cam(features, classify, target=0)
    assert np.unravel_index(int(cam[0].argmax()), (2, 3, 3)) == (1, 2, 0)
    assert int((cam > 0).sum()) == 1
    assert logits[0].tolist() == pytest.approx([0.0, 0.0])


def test_grad_cam_weighs_time_steps_separately() -> None:
    features = torch.ones(1, 1, 2, 2, 2)
    cam, _ = grad_cam(features, lambda maps: maps[:, :, 1].sum((-2, -1)), target=0)
    assert float(cam[0, 0].sum()) == 0
    assert float(cam[0, 1].sum()) > 0


def test_accumulator_averages_interpolates_between_and_keeps_silent_beyond() -> None:
    accumulator = LocationAccumulator(7)
    accumulator.add(np.array([1, 5]), torch.tensor([[[2.0]], [[4.0]]]))
    accumulator.add(np.array([1, 1]), torch.tensor([[[6.0]], [[6.0]]]))
    mean = accumulator.mean()[:, 0, 0]
    assert mean[1] == pytest.approx((2 + 6 + 6) / 3)
    assert mean[5] == pytest.approx(4)
    assert mean[3] == pytest.approx((mean[1] + mean[5]) / 2)
    assert mean[0] == mean[6] == 0


@pytest.mark.parametrize("shape", [(4, 100, 160), (4, 120, 90)])
def test_a_hot_cell_comes_to_lie_in_its_place_of_the_centre_crop(shape) -> None:
    volume = volume_of(shape)
    lungs = LungMask(np.ones(shape, np.uint8), "given")
    location = np.zeros((2, 4, 4), np.float32)
    location[1, 0, 3] = 1.0  # second kept slice, top row, right-most column of the crop
    grid = on_grid(location, np.array([1, 2]), volume, lungs, seen_share=0.8)
    slices, rows, columns = np.nonzero(grid == 255)
    assert set(slices) == {2}
    # The crop is the middle 80 %; its last of four columns begins at 70 %, its first row ends at 30 %.
    assert rows.mean() < 0.3 * shape[1]
    assert columns.mean() > 0.7 * shape[2]
    assert not grid[:, : round(0.09 * shape[1])].any()
    assert not grid[:, :, -round(0.09 * shape[2]) :].any()
    summary = summarise(StudyMap(grid, "made", "covid"), volume, lungs, np.arange(len(grid)))
    assert summary.peak_slice == 2
    # Columns run to the patient's left: a peak on the picture's right has a negative right coordinate.
    assert summary.peak_ras_mm[0] < volume.affine[0, 3] - 2 * shape[2] * 0.6


def test_an_empty_map_is_said_to_be_empty() -> None:
    volume = volume_of((3, 20, 20))
    lungs = LungMask(np.ones(volume.shape, np.uint8), "given")
    grid = on_grid(np.zeros((3, 2, 2), np.float32), np.arange(3), volume, lungs, seen_share=0.8)
    summary = summarise(StudyMap(grid, "made", "covid"), volume, lungs, np.arange(len(grid)))
    assert summary.peak_slice is None
    assert summary.right_share == summary.left_share == 0


def test_of_equal_maxima_the_one_amid_most_of_the_map_is_the_peak() -> None:
    """A sure network says 255 in many places."""
    volume = volume_of((6, 60, 60))
    lungs = LungMask(np.ones(volume.shape, np.uint8), "given")
    grid = np.zeros(volume.shape, np.uint8)
    grid[1, 5, 5] = 255
    grid[4, 20:41, 30:45] = 255
    grid[4, 2, 2] = 255
    summary = summarise(StudyMap(grid, "made", "lesion"), volume, lungs, np.arange(len(grid)))
    assert summary.peak_slice == 4
    column, row, slice_ = (np.linalg.inv(volume.affine) @ [*summary.peak_ras_mm, 1])[:3]
    assert slice_ == pytest.approx(4, abs=0.05)
    assert 23.5 <= row <= 36.5
    assert 33.5 <= column <= 40.5
    assert (summary.method, summary.target_class) == ("made", "lesion")


def test_peak_is_in_a_slice_that_took_part_whatever_the_map_says_of_others() -> None:
    """The lesion network sees all lungs; a slice that was not kept has no evidence to show beside its maximum."""
    volume = volume_of((6, 40, 40))
    lungs = LungMask(np.ones(volume.shape, np.uint8), "given")
    grid = np.zeros(volume.shape, np.uint8)
    grid[0, 5:9, 5:9] = 255
    grid[3, 20:24, 30:34] = 180
    summary = summarise(StudyMap(grid, "made", "lesion"), volume, lungs, np.array([1, 3, 5]))
    assert summary.peak_slice == 3
    assert (np.linalg.inv(volume.affine) @ [*summary.peak_ras_mm, 1])[2] == pytest.approx(3, abs=0.05)
    assert summary.right_share + summary.left_share == pytest.approx(1), "the shares are of the whole map"
    beside = summarise(StudyMap(grid, "made", "lesion"), volume, lungs, np.array([1, 2]))
    assert (beside.peak_slice, beside.peak_ras_mm) == (None, None)


def test_lung_outside_the_networks_view_is_said_with_its_share() -> None:
    mask = np.zeros((2, 100, 100), np.uint8)
    mask[:, 20:80, 20:80] = 1
    assert crop_warnings(LungMask(mask, "given"), np.arange(2), 0.8) == []
    wide = np.zeros((2, 100, 100), np.uint8)
    wide[:, 40:60, :] = 1
    (warning,) = crop_warnings(LungMask(wide, "given"), np.arange(2), 0.8)
    assert warning.startswith("20%")
