"""Ground-glass and consolidation by a U-Net on slabs: the lungs' box in HU, and the lungs as a channel of their own."""

from __future__ import annotations

from collections.abc import Callable

import cc3d
import numpy as np
import numpy.typing as npt

from covid_bert.errors import CovidBertError, InputError, ParameterError, WeightsError
from covid_bert.lesions.mask import LESION_LABELS, LesionMask
from covid_bert.lungs.mask import LungMask
from covid_bert.progress import Progress
from covid_bert.segmentation import WorkingGrid, predict, scale
from covid_bert.segmentation.loading import LoadedSegmenter, load_segmenter
from covid_bert.volumes.volume import Unit, Volume
from covid_bert.weights.serving import serviceable
from covid_bert.weights.version_folder import InstalledWeights

METHOD = "unet"
STAGE = "lesions"
WEIGHTS_NAME = "default-lesions"
ARCHITECTURE = "lesion-segmenter"
PIXEL_MILLIMETERS = 1.4
SLAB_MILLIMETERS = 2.5
MARGIN_MILLIMETERS = 8.0
CONTEXT = 1
SMALLEST_MILLILITERS = 0.05
DEFAULT_THRESHOLD = 0.5
_BATCH = 8
# Shares of the stage until the network starts, and until it is done.
_PREPARED, _PREDICTED = 0.1, 0.8

FloatArray = npt.NDArray[np.float32]
Box = tuple[slice, slice, slice]
# Weights, and what the result must say of them.
_Usable = tuple[InstalledWeights, tuple[str, ...]]


def check_possible(volume: Volume) -> None:
    """Refuse a volume in which lesions cannot be segmented, before anything is computed.

    Raises
    ------
    InputError
        If the volume is not in HU, or its voxel size is not known.
    WeightsError
        If no weights are live, or the live ones are damaged.
    """
    _usable_weights(volume)


def why_not(volume: Volume) -> str | None:
    """Say why lesions cannot be segmented in a volume; None if they can.

    Raises
    ------
    WeightsError
        If the live weights are damaged.
    """
    found = _weights_or_problem(volume)
    return f"Lesions were not segmented. {found}" if isinstance(found, CovidBertError) else None


def segment_lesions(
    volume: Volume, lungs: LungMask, progress: Progress | None = None, *, device: str = "auto"
) -> LesionMask | None:
    """Segment ground-glass and consolidation where that is possible; else None, and `why_not` says why.

    Parameters and errors are those of `require_lesions`.
    """
    found = _weights_or_problem(volume)
    return None if isinstance(found, CovidBertError) else _segment(volume, lungs, found, progress, device)


def require_lesions(
    volume: Volume, lungs: LungMask, progress: Progress | None = None, *, device: str = "auto"
) -> LesionMask:
    """Segment ground-glass and consolidation inside the lungs.

    Parameters
    ----------
    volume
        In HU, with known voxel size.
    lungs
        On the volume's grid.
    progress
        Told the finished fraction of the stage ``lesions``; may cancel between batches.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns
    -------
    LesionMask
        On the volume's own grid.

    Raises
    ------
    InputError
        If the volume is not in HU, or its voxel size is not known.
    ParameterError
        If the lungs are empty or on another grid, or there is no such device.
    WeightsError
        If no weights are live, or the live ones are damaged or do not fit.
    CancelledError
        If `progress` was cancelled.
    """
    return _segment(volume, lungs, _usable_weights(volume), progress, device)


def lesion_box(lungs: LungMask, spacing: tuple[float, float, float]) -> Box:
    """The part of a volume that the network sees: slices with lung, and 8 mm around the lungs in plane.

    Parameters
    ----------
    lungs
        With any lung.
    spacing
        In mm, (slices, rows, columns).

    Raises
    ------
    ParameterError
        If there is no lung.
    """
    ends = [np.flatnonzero(lungs.array.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    if ends[0].size == 0:
        raise ParameterError("The lung mask is empty.", "Draw the lungs, or let them be segmented.")
    box = []
    for found, length, step in zip(ends, lungs.array.shape, (np.inf, *spacing[1:]), strict=True):
        margin = int(np.ceil(MARGIN_MILLIMETERS / step))
        box.append(slice(max(int(found[0]) - margin, 0), min(int(found[-1]) + 1 + margin, length)))
    return box[0], box[1], box[2]


def lesion_probabilities(
    hounsfield: npt.NDArray[np.generic],
    inside: npt.NDArray[np.bool_],
    spacing: tuple[float, float, float],
    segmenter: LoadedSegmenter,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[WorkingGrid, FloatArray]:
    """Run the network on the box around the lungs, in use and for the training of classifiers.

    Parameters
    ----------
    hounsfield, inside
        (slices, rows, columns): HU of the box, and where lung is.
    spacing
        In mm along the same axes.
    segmenter
        The network.
    on_progress
        See `covid_bert.segmentation.predict`.

    Returns
    -------
    grid : WorkingGrid
        Of the box.
    probabilities : float32 (classes, slabs, rows, columns)
        On that grid: background, then the lesions.
    """
    slices, rows, columns = inside.shape
    grid = WorkingGrid.of((slices, rows, columns), spacing, pixel=PIXEL_MILLIMETERS, thickness=SLAB_MILLIMETERS)
    return grid, predict(
        segmenter.module,
        scale(grid.forward(hounsfield), segmenter.window_hu),
        context=CONTEXT,
        extra=grid.forward(inside, fill=0.0),
        batch=_BATCH,
        device=segmenter.device,
        dtype=segmenter.dtype,
        on_progress=on_progress,
    )


def _segment(volume: Volume, lungs: LungMask, usable: _Usable, progress: Progress | None, device: str) -> LesionMask:
    if lungs.array.shape != volume.shape:
        raise ParameterError("The lung mask does not lie on the grid of the volume.", "Segment this volume again.")
    progress = progress or Progress()
    progress.update(STAGE, 0.0)
    weights, warnings = usable
    segmenter = load_segmenter(weights, ARCHITECTURE, device)
    box = lesion_box(lungs, volume.spacing)
    grid, probabilities = lesion_probabilities(
        volume.array[box],
        lungs.array[box] > 0,
        volume.spacing,
        segmenter,
        lambda done: progress.update(STAGE, _PREPARED + (_PREDICTED - _PREPARED) * done),
    )
    point = weights.manifest.operating_point
    labels, probability = _on_volume(
        probabilities, volume, lungs, box, grid, DEFAULT_THRESHOLD if point is None else point.threshold, progress
    )
    _drop_small(labels[box], SMALLEST_MILLILITERS / volume.voxel_milliliters)
    progress.update(STAGE, 1.0)
    return LesionMask(labels, probability, METHOD, segmenter.identity, warnings)


def _on_volume(
    probabilities: FloatArray,
    volume: Volume,
    lungs: LungMask,
    box: Box,
    grid: WorkingGrid,
    threshold: float,
    progress: Progress,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Labels and probability of any lesion on the volume's grid, a few slices at a time."""
    labels, probability = np.zeros(volume.shape, np.uint8), np.zeros(volume.shape, np.uint8)
    inside = lungs.array[box]
    for part, found in grid.back(probabilities):
        progress.update(STAGE, _PREDICTED + (1.0 - _PREDICTED) * part.start / len(inside))
        lesion = np.clip(1.0 - found[0], 0.0, 1.0) * (inside[part] > 0)
        probability[box][part] = np.rint(lesion * 255.0)
        kind = found[1:].argmax(axis=0).astype(np.uint8) + np.uint8(min(LESION_LABELS.values()))
        labels[box][part] = np.where((lesion >= threshold) & (inside[part] > 0), kind, 0)
    return labels, probability


def _drop_small(labels: npt.NDArray[np.uint8], smallest: float) -> None:
    """Take connected lesions of fewer voxels than `smallest` out of a mask."""
    labels[~cc3d.dust(labels > 0, threshold=int(np.ceil(smallest)), connectivity=26)] = 0


def _usable_weights(volume: Volume) -> _Usable:
    found = _weights_or_problem(volume)
    if isinstance(found, CovidBertError):
        raise found
    return found


def _weights_or_problem(volume: Volume) -> _Usable | CovidBertError:
    """The live weights, or what stands against their use; they are raised if they are damaged, and all before them."""
    if volume.unit is not Unit.HOUNSFIELD:
        return InputError("The lesion network needs Hounsfield units.", "Give DICOM, NIfTI, NRRD or MetaImage in HU.")
    if not volume.spacing_known:
        return InputError("The lesion network needs the voxel size.", "Give a study with known geometry.")
    found = serviceable(WEIGHTS_NAME)
    if found.weights is not None:
        return found.weights, found.warnings
    return WeightsError(
        "No weights of the lesion network are installed.",
        f"Bring them in with `covid-bert weights import FILE --name {WEIGHTS_NAME}`.",
    )
