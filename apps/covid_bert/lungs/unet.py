"""Lungs by the default U-Net, on slabs and pixels of 2 mm.

The network sees a slab with two neighbours on each side. What it says is tidied on the working grid, which is small,
and then brought to the volume's own grid, where each voxel goes to the likeliest class.
"""

from __future__ import annotations

from dataclasses import replace

import cc3d
import fill_voids
import numpy as np
import numpy.typing as npt

from covid_bert.errors import InputError, WeightsError
from covid_bert.lungs.grid import BoolArray, FloatArray
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG, LungMask
from covid_bert.lungs.plausibility import check_lungs
from covid_bert.progress import Progress
from covid_bert.segmentation import LoadedSegmenter, WorkingGrid, load_segmenter, predict, scale
from covid_bert.volumes.volume import Unit, Volume
from covid_bert.weights.serving import serviceable

METHOD = "unet"
STAGE = "lungs"
WEIGHTS_NAME = "default-lungs"
ARCHITECTURE = "lung-segmenter"
PIXEL_MILLIMETERS = 2.0
SLAB_MILLIMETERS = 2.0
CONTEXT = 2

_OTHER_METHOD = "Choose the lung method 'morphological'."
_BATCH = 16
# Shares of the stage's time until the planes are made, and until the network is done.
_PLANES_DONE, _NETWORK_DONE = 0.15, 0.75
_SMALLEST_PIECE = 0.05  # of the largest one of its side
# Vessels and bronchi in cross-section. A dome of the diaphragm, which lung surrounds too, is larger a millimetre below
# its top.
_LARGEST_HOLE = 200.0  # mm2


def default_segmenter(device: str = "auto") -> LoadedSegmenter | None:
    """Load the live weights of the method or, with a warning, what was live before them; None if there are none.

    Raises
    ------
    WeightsError
        If the live weights are damaged, and all before them; or they do not fit.
    ParameterError
        If there is no such device.
    """
    found = serviceable(WEIGHTS_NAME)
    if found.weights is None:
        return None
    return replace(load_segmenter(found.weights, ARCHITECTURE, device), warnings=found.warnings)


def is_possible(volume: Volume) -> bool:
    """Whether the network can be used on a volume: in HU, with known voxel size."""
    return volume.unit is Unit.HOUNSFIELD and volume.spacing_known


def segment(
    volume: Volume,
    progress: Progress | None = None,
    *,
    segmenter: LoadedSegmenter | None = None,
    device: str = "auto",
) -> LungMask:
    """Segment right and left lung.

    Parameters
    ----------
    volume
        In HU, with known voxel size.
    progress
        Told the finished fraction; may cancel between batches of slabs.
    segmenter
        A network to use in place of the live weights.
    device
        For the live weights; see `covid_bert.networks.devices.choose_device`.

    Returns
    -------
    LungMask
        On the volume's own grid.

    Raises
    ------
    InputError
        If the volume is not in HU, or its voxel size is not known.
    WeightsError
        If no weights are live, or the live ones are damaged.
    NotChestError
        If what the network finds cannot be lungs.
    CancelledError
        If `progress` was cancelled.
    """
    if not is_possible(volume):
        raise InputError("The lung method 'unet' needs Hounsfield units and a known voxel size.", _OTHER_METHOD)
    progress = progress or Progress()
    progress.update(STAGE, 0.0)
    segmenter = segmenter or default_segmenter(device)
    if segmenter is None:
        raise WeightsError("No weights of the default lung network are live.", _OTHER_METHOD)
    grid = WorkingGrid.of(volume.shape, volume.spacing, pixel=PIXEL_MILLIMETERS, thickness=SLAB_MILLIMETERS)
    planes = grid.forward(volume.array)
    progress.update(STAGE, _PLANES_DONE)
    probabilities = predict(
        segmenter.module,
        scale(planes, segmenter.window_hu),
        context=CONTEXT,
        batch=_BATCH,
        device=segmenter.device,
        dtype=segmenter.dtype,
        on_progress=lambda done: progress.update(STAGE, _PLANES_DONE + (_NETWORK_DONE - _PLANES_DONE) * done),
    )
    spacing = grid.working_spacing(volume.spacing)
    sides = tidy(probabilities, spacing[1] * spacing[2])
    rows, columns = grid.size
    warnings = check_lungs(sides[:, :rows, :columns], planes[:, :rows, :columns], spacing)
    mask = _on_volume(probabilities, grid, progress)
    progress.update(STAGE, 1.0)
    return LungMask(mask, METHOD, (*segmenter.warnings, *warnings, *_side_warnings(sides)), segmenter.identity)


def tidy(probabilities: FloatArray, pixel_area: float) -> npt.NDArray[np.uint8]:
    """Take away small pieces of a side, which go to the next likeliest class, and fill holes.

    Parameters
    ----------
    probabilities
        (background, right, left; slabs, rows, columns); changed in place, so that they agree with the result.
    pixel_area
        Of a working pixel, in mm2.

    Returns
    -------
    uint8 array
        (slabs, rows, columns): 0 background, 1 right, 2 left.
    """
    sides = _likeliest(probabilities)
    for side in (RIGHT_LUNG, LEFT_LUNG):
        lung = sides == side
        probabilities[side][lung & ~_large_pieces(lung)] = 0.0
    sides = _likeliest(probabilities)
    for side in (RIGHT_LUNG, LEFT_LUNG):
        # A piece that was taken from one side may not have gone to a lung of the other.
        lung = sides == side
        small = lung & ~_large_pieces(lung)
        sides[small] = 0
        probabilities[:, small] = 0.0
        probabilities[0][small] = 1.0
    for side in (RIGHT_LUNG, LEFT_LUNG):
        holes = _filled(sides == side, pixel_area) & (sides == 0)
        sides[holes] = side
        probabilities[:, holes] = 0.0
        probabilities[side][holes] = 1.0
    return sides


def _likeliest(probabilities: FloatArray) -> npt.NDArray[np.uint8]:
    """The class of each voxel; several times faster than argmax along the first axis."""
    background, right, left = probabilities
    labels = ((right > background) & (right >= left)).view(np.uint8) * np.uint8(RIGHT_LUNG)
    labels[(left > background) & (left > right)] = LEFT_LUNG
    return labels


def _large_pieces(lung: BoolArray) -> BoolArray:
    labels = cc3d.connected_components(lung, connectivity=26)
    counts = cc3d.statistics(labels)["voxel_counts"]
    counts[0] = 0
    return ((counts > 0) & (counts >= _SMALLEST_PIECE * counts.max()))[labels]


def _filled(lung: BoolArray, pixel_area: float) -> BoolArray:
    """Close cavities, and in each slab small holes."""
    filled = fill_voids.fill(lung)
    smallest = int(_LARGEST_HOLE / pixel_area) + 1
    for plane in filled:
        if plane.any():
            plane[:] = ~cc3d.dust(~plane, threshold=smallest, connectivity=4)
    return filled


def _side_warnings(sides: npt.NDArray[np.uint8]) -> tuple[str, ...]:
    """Warn when the lungs lie the other way round: columns run from the patient's right to the left."""
    right, left = (np.nonzero((sides == side).any(axis=(0, 1)))[0] for side in (RIGHT_LUNG, LEFT_LUNG))
    if right.size and left.size and right.mean() > left.mean():
        return (
            "The right lung was found on the left of the left one: check the orientation of the images, or the sides.",
        )
    return ()


def _on_volume(probabilities: FloatArray, grid: WorkingGrid, progress: Progress) -> npt.NDArray[np.uint8]:
    mask = np.empty(grid.shape, np.uint8)
    for part, values in grid.back(probabilities):
        progress.update(STAGE, _NETWORK_DONE + (1.0 - _NETWORK_DONE) * part.start / grid.shape[0])
        mask[part] = _likeliest(values)
    return mask
