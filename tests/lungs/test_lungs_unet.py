"""The method `unet` with a hand-made network in place of the trained one: geometry, tidying, choice of the method."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from chest_models import Chest, ChestGrid, dice, make_chest, make_volume
from scipy import ndimage
from torch import nn

from covid_bert.errors import CancelledError, InputError, NotChestError, ParameterError, WeightsError
from covid_bert.lungs import LEFT_LUNG, RIGHT_LUNG, segment_lungs, unet
from covid_bert.progress import Progress
from covid_bert.segmentation import LoadedSegmenter
from covid_bert.volumes import read, write_mask
from covid_bert.volumes.volume import Unit, Volume
from covid_bert.weights.identity import WeightsIdentity
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import InputContract, Role
from covid_bert.weights.store import publish
from covid_bert.weights.untrained import untrained

WINDOW = (-1024.0, 400.0)
IDENTITY = WeightsIdentity.of_untrained("hand-made", 0, {})


class Thresholding(nn.Module):
    """Lung is what is as dense as lung in the middle slab; right and left meet at one working column."""

    def __init__(self, middle: float, swapped: bool = False) -> None:
        super().__init__()
        self.middle, self.swapped = middle, swapped

    def forward(self, slabs: torch.Tensor) -> torch.Tensor:
        hounsfield = (slabs[:, unet.CONTEXT] + 1) / 2 * (WINDOW[1] - WINDOW[0]) + WINDOW[0]
        # Linear in HU, so that the boundary lies where the mean of lung and tissue does.
        lung = ((40 - hounsfield) / 890).clamp(1e-6, 1 - 1e-6)
        on_right = (torch.arange(slabs.shape[-1], device=slabs.device) < self.middle).float().expand_as(lung)
        on_right = 1 - on_right if self.swapped else on_right
        return torch.stack([1 - lung, lung * on_right + 1e-9, lung * (1 - on_right) + 1e-9], dim=1).log()


def thresholding(volume: Volume, swapped: bool = False) -> LoadedSegmenter:
    middle = volume.shape[2] * volume.spacing[2] / unet.PIXEL_MILLIMETERS / 2
    return LoadedSegmenter(Thresholding(middle, swapped), IDENTITY, WINDOW, torch.device("cpu"))


def in_tissue(chest: Chest, *painted: tuple[np.ndarray, float]) -> Volume:
    """The chest without trachea and room air, which no threshold tells from lung, and with what is painted."""
    array = np.where(chest.right | chest.left, chest.array, 40).astype(np.int16)
    for where, hounsfield in painted:
        array[where] = hounsfield
    return make_volume(array, chest.grid.spacing)


def segment(volume: Volume, **options) -> np.ndarray:
    return unet.segment(volume, segmenter=thresholding(volume), **options).array


def install(**changes) -> Path:
    facts = {"architecture": unet.ARCHITECTURE, "role": Role.LUNGS, "demonstration": True}
    facts |= {"input": InputContract(window_hu=WINDOW)} | changes
    state = untrained(unet.ARCHITECTURE, 0)[0].state_dict()
    weights = add_version(unet.WEIGHTS_NAME, state, Provenance(**facts))
    return publish(unet.WEIGHTS_NAME, weights.version).path


@pytest.mark.parametrize("spacing", [(3.0, 2.5, 2.5), (1.0, 1.7, 1.3), (5.0, 0.9, 0.9), (0.7, 2.2, 3.1)])
def test_both_lungs_with_their_sides(spacing) -> None:
    chest = make_chest(spacing)
    volume = in_tissue(chest)
    lungs = unet.segment(volume, segmenter=thresholding(volume))
    assert dice(lungs.array == RIGHT_LUNG, chest.right) > 0.97
    assert dice(lungs.array == LEFT_LUNG, chest.left) > 0.97
    assert (lungs.method, lungs.warnings, lungs.weights) == ("unet", (), IDENTITY)
    assert lungs.array.dtype == np.uint8


@pytest.mark.parametrize(
    ("axes", "flips"),
    [
        ((0, 1, 2), (False, False, False)),
        ((0, 1, 2), (True, True, True)),
        ((1, 2, 0), (True, False, False)),
        ((2, 0, 1), (False, True, False)),
        ((2, 1, 0), (False, False, True)),
        ((0, 2, 1), (True, True, False)),
        ((1, 0, 2), (False, True, True)),
    ],
)
@pytest.mark.parametrize("spacing", [(2.5, 1.7, 1.9), (0.9, 2.3, 2.1)])
def test_balls_stay_where_they_are_in_every_orientation(axes, flips, spacing, tmp_path: Path) -> None:
    grid = ChestGrid(spacing)
    right, left = grid.ball((3, -2, -62), 47), grid.ball((-4, 5, 61), 46)
    canonical = np.where(right | left, -850, 40).astype(np.int16)

    def stored(array: np.ndarray) -> np.ndarray:
        moved = array.transpose(2, 1, 0).transpose(axes)
        return moved[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]

    steps = np.array(spacing)[::-1] * (-1, -1, 1)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for file_axis, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        affine[axis, file_axis] = -steps[axis] if flip else steps[axis]
        affine[axis, 3] = steps[axis] * (canonical.shape[2 - axis] - 1) if flip else 0.0
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(stored(canonical)), affine), tmp_path / "ct.nii")
    volume = read(tmp_path / "ct.nii")
    np.testing.assert_array_equal(volume.array, canonical)
    write_mask(segment(volume), volume, tmp_path / "lungs.nii")
    written = np.asarray(nibabel.load(tmp_path / "lungs.nii").dataobj)
    for label, ball in ((RIGHT_LUNG, right), (LEFT_LUNG, left)):
        drift = np.subtract(ndimage.center_of_mass(written == label), ndimage.center_of_mass(stored(ball)))
        assert np.abs(drift).max() < 0.1
        assert dice(written == label, stored(ball)) > 0.98


def test_small_pieces_go_and_large_ones_stay(chest: Chest) -> None:
    crumb, lobe = chest.grid.ball((100, 80, 130), 12), chest.grid.ball((100, -60, -60), 35)
    volume = in_tissue(chest, (crumb | lobe, -850))
    mask = segment(volume)
    assert not mask[crumb].any()
    assert (mask[lobe] == RIGHT_LUNG).mean() > 0.95


def test_cavities_and_vessels_are_filled_but_not_the_diaphragm(chest: Chest) -> None:
    grid = chest.grid
    cavity = grid.ball((10, 10, -70), 22)
    vessel = grid.cylinder(0, 75, 6, -120, 120) & chest.left
    dome = grid.ellipsoid((-85, 0, -70), (60, 30, 25)) & chest.right
    mask = segment(in_tissue(chest, (cavity | vessel | dome, 40)))
    assert (mask[cavity] == RIGHT_LUNG).all()
    assert (mask[vessel] == LEFT_LUNG).mean() > 0.95
    assert (mask[dome] > 0).mean() < 0.1


def test_a_piece_of_the_other_side_inside_a_lung_goes_to_that_lung() -> None:
    probabilities = np.zeros((3, 20, 48, 48), np.float32)
    probabilities[0] = 1.0
    probabilities[:, 2:18, 4:44, 4:20] = np.array([0.1, 0.8, 0.1])[:, None, None, None]
    probabilities[:, 2:18, 4:44, 28:44] = np.array([0.1, 0.1, 0.8])[:, None, None, None]
    probabilities[:, 6:9, 4:8, 4:8] = np.array([0.2, 0.3, 0.5])[:, None, None, None]
    sides = unet.tidy(probabilities, 4.0)
    assert (sides[2:18, 4:44, 4:20] == RIGHT_LUNG).all()
    assert (sides[2:18, 4:44, 28:44] == LEFT_LUNG).all()
    np.testing.assert_array_equal(probabilities.argmax(axis=0), sides)


def test_swapped_sides_are_warned_of(chest: Chest) -> None:
    volume = in_tissue(chest)
    lungs = unet.segment(volume, segmenter=thresholding(volume, swapped=True))
    assert dice(lungs.array == LEFT_LUNG, chest.right) > 0.97, "labels stay as the network gave them"
    assert any("on the left of the left one" in warning for warning in lungs.warnings)


def test_unusual_lungs_are_warned_of(chest: Chest) -> None:
    one = in_tissue(chest, (chest.left, 40))
    assert any("left lung is without air" in text for text in unet.segment(one, segmenter=thresholding(one)).warnings)
    whole = in_tissue(chest)
    cut = make_volume(whole.array[30:], chest.grid.spacing)
    assert any("cut off below" in text for text in unet.segment(cut, segmenter=thresholding(cut)).warnings)


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.full((40, 80, 80), 40, np.int16), id="tissue"),
        pytest.param(np.full((1, 64, 64), 40, np.int16), id="one slice of tissue"),
        pytest.param(np.where(ChestGrid().ball((0, 0, 60), 25), -850, 40).astype(np.int16), id="65 ml"),
        pytest.param(np.full((80, 200, 200), -600, np.int16), id="32 litres"),
    ],
)
def test_no_lungs(array: np.ndarray) -> None:
    volume = make_volume(array, (3.0, 2.5, 2.5) if array.shape[1] != 200 else (5.0, 2.0, 2.0))
    with pytest.raises(NotChestError):
        segment(volume)


def test_noise_of_lung_density_is_no_lung(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).normal(-500, 600, (60, 128, 128)).astype(np.int16)
    volume = make_volume(array, (4.0, 2.5, 2.5))
    monkeypatch.setattr(unet, "default_segmenter", lambda _: thresholding(volume))
    with pytest.raises(NotChestError):
        segment_lungs(volume, "unet")


def test_progress_rises_to_one_and_cancels(chest: Chest) -> None:
    volume = in_tissue(chest)
    seen: list[tuple[str, float]] = []
    segment(volume, progress=Progress(lambda stage, fraction: seen.append((stage, fraction))))
    fractions = [fraction for _, fraction in seen]
    assert {stage for stage, _ in seen} == {"lungs"}
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    for stop_at in (0.0, 0.3, 0.8):
        progress = Progress()

        def report(_stage: str, fraction: float, progress: Progress = progress, limit: float = stop_at) -> None:
            if fraction >= limit:
                progress.cancel()

        progress.report = report
        with pytest.raises(CancelledError):
            segment(volume, progress=progress)


def test_grey_levels_and_unknown_spacing_are_refused(chest: Chest) -> None:
    with pytest.raises(InputError, match="Hounsfield") as caught:
        segment_lungs(make_volume(np.zeros((2, 8, 8), np.uint8), unit=Unit.GRAY8), "unet")
    assert "morphological" in caught.value.hint
    volume = chest.volume
    object.__setattr__(volume, "spacing_known", False)
    with pytest.raises(InputError, match="voxel size"):
        segment_lungs(volume, "unet")


def test_unknown_devices_are_refused(chest: Chest) -> None:
    install()
    with pytest.raises(ParameterError, match="device"):
        segment_lungs(chest.volume, "unet", device="abacus")


class TestChoice:
    """Which method `auto` takes."""

    def test_without_weights_it_is_morphological(self, chest: Chest) -> None:
        lungs = segment_lungs(chest.volume)
        assert (lungs.method, lungs.warnings, lungs.weights) == ("morphological", (), None)
        with pytest.raises(WeightsError, match="No weights") as caught:
            segment_lungs(chest.volume, "unet")
        assert "morphological" in caught.value.hint

    def test_with_weights_it_is_unet(self, chest: Chest, monkeypatch: pytest.MonkeyPatch) -> None:
        volume = in_tissue(chest)
        install()
        loaded = unet.default_segmenter("cpu")
        assert loaded.window_hu == WINDOW
        assert loaded.identity.demonstration
        monkeypatch.setattr(loaded.module, "forward", thresholding(volume).module.forward)
        for method in ("auto", "unet"):
            lungs = segment_lungs(volume, method, device="cpu")
            assert (lungs.method, lungs.warnings, lungs.weights) == ("unet", (), loaded.identity)
        assert segment_lungs(chest.volume, "morphological").method == "morphological"

    def test_without_a_voxel_size_it_is_morphological(self, chest: Chest) -> None:
        install()
        volume = chest.volume
        object.__setattr__(volume, "spacing_known", False)
        lungs = segment_lungs(volume)
        assert (lungs.method, lungs.warnings) == ("morphological", ())

    @pytest.mark.parametrize("damage", ["file", "manifest", "no window", "other network"])
    def test_damaged_weights_are_noted(self, chest: Chest, damage: str) -> None:
        path = install(
            **({"input": None} if damage == "no window" else {}),
            **({"architecture": "lesion-segmenter"} if damage == "other network" else {}),
        )
        if damage == "file":
            path.write_bytes(path.read_bytes()[:-7])
        if damage == "manifest":
            (path.parent / "manifest.json").write_text("{")
        lungs = segment_lungs(chest.volume)
        assert lungs.method == "morphological"
        assert len(lungs.warnings) == 1
        assert "default lung network could not be used" in lungs.warnings[0]
        with pytest.raises(WeightsError) as caught:
            segment_lungs(chest.volume, "unet")
        assert str(path.parent) not in str(caught.value)


def test_a_damaged_live_version_is_replaced_by_the_former_one_and_named(chest: Chest, monkeypatch) -> None:
    volume = in_tissue(chest)
    former = install()
    install(trained_on="other studies").write_bytes(b"nothing")
    monkeypatch.setattr(unet.default_segmenter("cpu").module, "forward", thresholding(volume).module.forward)
    for method in ("auto", "unet"):
        lungs = segment_lungs(volume, method, device="cpu")
        assert lungs.weights.version == former.parent.name == "v001"
        assert len(lungs.warnings) == 1
        assert "v002 is damaged" in lungs.warnings[0]
        assert "v001 was used in its place" in lungs.warnings[0]


def test_a_network_is_kept_until_other_weights_are_live(chest: Chest) -> None:
    install()
    first = unet.default_segmenter("cpu")
    assert unet.default_segmenter("cpu") is first
    state = untrained(unet.ARCHITECTURE, 1)[0].state_dict()
    facts = Provenance(architecture=unet.ARCHITECTURE, role=Role.LUNGS, input=InputContract(window_hu=WINDOW))
    publish(unet.WEIGHTS_NAME, add_version(unet.WEIGHTS_NAME, state, facts).version)
    second = unet.default_segmenter("cpu")
    assert second is not first
    assert second.identity.sha256 != first.identity.sha256
    assert not any(isinstance(module, nn.BatchNorm2d) for module in second.module.modules())
    assert not second.module.training
