"""Lungs of grey-level slice images (8 bit, exported with a lung window), where no HU and no spacing are known.

After section 3.1 of Tan and Liu (arXiv 2106.14403) and their published preprocessing: Gaussian blur, Otsu threshold
of the body, erosion, filling from the corners, clearing of the border, labelling, closing, hole filling. Here the
slices of a study also vouch for each other, and each lung has its side.
"""

from __future__ import annotations

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import isotropic_closing, isotropic_erosion
from skimage.segmentation import clear_border, flood_fill

from covid_bert.lungs.grid import BoolArray
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG, LungMask
from covid_bert.lungs.plausibility import no_lungs
from covid_bert.progress import Progress
from covid_bert.volumes.volume import Volume

METHOD = "morphological"
STAGE = "lungs"
DARK_LEVEL = 10
_REFERENCE_SIDE = 512  # the published radii are pixels of a slice of this size
_BLUR = np.array([1, 4, 6, 4, 1], np.uint32)  # OpenCV's 5-tap Gaussian, in sixteenths
_ERODED_SQUARE = 7
_CLOSING_RADIUS = 10
_EROSION_RADIUS = 1
_SMALLEST_SHARE = 0.001  # of the pixels of a slice
_LEAST_LUNG_SHARE = 0.02  # of the pixels of the fullest slice
_SECOND_LUNG_SHARE = 0.1  # of the larger lung
_JUNCTION_REACH = 0.12  # of the body's width, to both sides of its middle


def segment(volume: Volume, progress: Progress | None = None) -> LungMask:
    """Segment right and left lung of slice images.

    Parameters
    ----------
    volume
        uint8 grey levels, lung air darker than tissue.
    progress
        Told the finished fraction; may cancel between slices.

    Raises
    ------
    NotChestError
        If no slice shows lungs.
    CancelledError
        If `progress` was cancelled.
    """
    progress = progress or Progress()
    air = np.zeros(volume.shape, bool)
    # The published square of 7 pixels eats through a thin chest wall, through any at 256 pixels.
    square = 2 * round(_EROSION_RADIUS * max(volume.shape[1:]) / _REFERENCE_SIDE) + 1
    middles = np.zeros(volume.shape[0])
    widths = np.zeros(volume.shape[0])
    for index, image in enumerate(volume.array):
        progress.update(STAGE, 0.6 * index / volume.shape[0])
        _, box = body_box(np.asarray(image, np.uint8))
        air[index] = _enclosed_air(_binary(np.asarray(image, np.uint8), square))
        middles[index], widths[index] = (box[1].start + box[1].stop - 1) / 2, box[1].stop - box[1].start
    lungs = _largest_pieces(air)
    mask = np.zeros(volume.shape, np.uint8)
    for index in np.flatnonzero(lungs.any(axis=(1, 2))):
        progress.update(STAGE, 0.6 + 0.4 * index / volume.shape[0])
        mask[index] = _sides(_smooth(_two_largest(lungs[index])), middles[index], widths[index])
    if max((np.count_nonzero(plane) for plane in mask), default=0) < _LEAST_LUNG_SHARE * mask[0].size:
        raise no_lungs()
    progress.update(STAGE, 1.0)
    return LungMask(mask, METHOD)


def body_box(image: npt.NDArray[np.uint8]) -> tuple[BoolArray, tuple[slice, slice]]:
    """Find the body in a slice image as the published preprocessing does.

    Parameters
    ----------
    image
        (rows, columns).

    Returns
    -------
    binary
        Pixels above Otsu's threshold after a 5 x 5 Gaussian blur, eroded by a 7 x 7 square. Lung air is not part of
        it.
    box
        Rows and columns of its piece with the largest outline; the whole image if there is none.
    """
    binary = _binary(image, _ERODED_SQUARE)
    labels, count = ndimage.label(binary, np.ones((3, 3)))
    if count == 0:
        return binary, (slice(0, image.shape[0]), slice(0, image.shape[1]))
    boxes = ndimage.find_objects(labels)
    outlines = [
        np.count_nonzero(ndimage.binary_fill_holes(labels[box] == label)) for label, box in enumerate(boxes, start=1)
    ]
    return binary, boxes[int(np.argmax(outlines))]


def _binary(image: npt.NDArray[np.uint8], square: int) -> BoolArray:
    """Pixels above Otsu's threshold of the non-black ones after blurring, eroded by a square of that many pixels."""
    blurred = _blur(image)
    positive = blurred[blurred > 0]
    if positive.size == 0 or positive.min() == positive.max():
        return np.zeros(image.shape, bool)
    return ndimage.minimum_filter(blurred > threshold_otsu(positive), square, mode="constant", cval=1)


def published_dark_share(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Share of lung in each slice as the authors of S2 published it, for their choice of slices.

    In the box of the body, pixels outside the eroded body mask (lung air, but also what the erosion took) are set to
    0, what hangs together with a corner is filled with 255, and the pixels below 10 are counted. The authors kept six
    decimals in their list files, and so does this.

    Parameters
    ----------
    images
        uint8 (slices, rows, columns).

    Returns
    -------
    float64 array
        One value in [0, 1] a slice.

    References
    ----------
    github.com/deepcam-cn/3D-CNN-BERT-COVID19, preprocess/crop-images-ICCV-MAI.ipynb
    """
    return np.array([_dark_share(image) for image in images])


def _dark_share(image: npt.NDArray[np.uint8]) -> float:
    binary, box = body_box(image)
    crop = np.where(binary[box], image[box], np.uint8(0))
    for corner in (
        (0, 0),
        (crop.shape[0] - 1, 0),
        (0, crop.shape[1] - 1),
        (crop.shape[0] - 1, crop.shape[1] - 1),
    ):
        crop = flood_fill(crop, corner, 255, connectivity=1)
    return round(float((crop < DARK_LEVEL).mean()), 6)


def _blur(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Blur with the 5 x 5 Gaussian that OpenCV uses for 8-bit images, with its rounding and mirrored border."""
    total = image.astype(np.uint32)
    for axis in (0, 1):
        total = ndimage.correlate1d(total, _BLUR, axis=axis, mode="mirror")
    return ((total + 128) >> 8).astype(np.uint8)


def _enclosed_air(binary: BoolArray) -> BoolArray:
    """Dark pieces inside the body that do not touch the border of the image."""
    labels = cc3d.connected_components(clear_border(~binary), connectivity=4)
    counts = np.bincount(labels.ravel())
    large = counts >= _SMALLEST_SHARE * binary.size
    large[0] = False
    return large[labels]


def _largest_pieces(air: BoolArray) -> BoolArray:
    """The largest piece through all slices, and a second one if it is not much smaller: bowel and sinuses are."""
    labels = cc3d.connected_components(air, connectivity=26)
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    kept = counts >= _SECOND_LUNG_SHARE * counts.max()
    order = np.argsort(counts)[::-1]
    kept[order[2:]] = False
    kept[0] = False
    return kept[labels]


def _two_largest(lungs: BoolArray) -> BoolArray:
    """Two largest pieces of one slice; the trachea is the third."""
    return cc3d.largest_k(lungs, k=2, connectivity=8) > 0


def _smooth(lungs: BoolArray) -> BoolArray:
    """Take vessels and lesions in: erosion (as much as the body was eroded), closing and hole filling."""
    scale = max(lungs.shape) / _REFERENCE_SIDE
    margin = int(np.ceil(_CLOSING_RADIUS * scale)) + 2
    padded = np.pad(isotropic_erosion(lungs, _EROSION_RADIUS * scale), margin)
    closed = isotropic_closing(padded, _CLOSING_RADIUS * scale)
    return ndimage.binary_fill_holes(closed[margin:-margin, margin:-margin])


def _sides(lungs: BoolArray, middle: float, width: float) -> npt.NDArray[np.uint8]:
    """Label the pieces by the side of the body on which they lie; a piece on both sides is cut where it is thinnest."""
    sides = np.zeros(lungs.shape, np.uint8)
    columns = np.arange(lungs.shape[1])
    labels, count = ndimage.label(lungs, np.ones((3, 3)))
    for label in range(1, count + 1):
        piece = labels == label
        profile = piece.sum(axis=0)
        left_share = profile[columns > middle].sum() / profile.sum()
        if 0.25 < left_share < 0.75:
            near = np.abs(columns - middle) <= _JUNCTION_REACH * width
            thickness = np.where(near, profile, np.iinfo(profile.dtype).max)
            side = np.where(columns > np.argmin(thickness), LEFT_LUNG, RIGHT_LUNG)
        else:
            side = np.full(columns.shape, LEFT_LUNG if left_share >= 0.5 else RIGHT_LUNG)
        sides[piece] = np.broadcast_to(side, lungs.shape)[piece]
    return sides
