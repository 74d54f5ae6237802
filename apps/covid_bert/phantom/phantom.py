"""`Phantom`: a synthetic chest CT with the exact masks of what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from covid_bert.errors import ParameterError
from covid_bert.lungs.mask import LungMask
from covid_bert.phantom.anatomy import Anatomy
from covid_bert.phantom.grid import FloatArray, Grid
from covid_bert.phantom.lesions import Lesion, Pattern, air_bronchograms, draw_lesions, paint_lesions
from covid_bert.phantom.raster import draw, tube_coverage
from covid_bert.phantom.tissue import AIR, BLOOD, CORTEX, MARROW, MUSCLE, Texture, paint
from covid_bert.phantom.trees import central_airways, great_vessels, lung_trees, shoulder_bones
from covid_bert.volumes.geometry import LPS_TO_RAS
from covid_bert.volumes.orientation import NativeGrid, to_canonical
from covid_bert.volumes.volume import Source, Unit, Volume

LOWEST_HOUNSFIELD = -1024
HIGHEST_HOUNSFIELD = 3071
NOISE_BLUR_MILLIMETERS = 0.55


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic study. All masks lie on the volume's canonical grid (slices, rows, columns).

    Parameters
    ----------
    volume
        int16 HU.
    lungs
        Right and left lung with their vessels, small airways and lesions, without trachea and main bronchi.
    lesions
        uint8: 0 none, 1 ground-glass, 2 consolidation.
    airways
        bool: lumen of trachea, bronchi and air bronchograms.
    vessels
        bool: vessels inside the lungs.
    seed
        The number that the person was drawn from.
    """

    volume: Volume
    lungs: LungMask
    lesions: npt.NDArray[np.uint8]
    airways: npt.NDArray[np.bool_]
    vessels: npt.NDArray[np.bool_]
    seed: int


def make(
    *,
    shape: tuple[int, int, int] = (64, 128, 128),
    spacing: tuple[float, float, float] = (5.0, 2.5, 2.5),
    direction: npt.ArrayLike | None = None,
    center: tuple[float, float, float] = (0.0, 0.0, 0.0),
    seed: int = 0,
    lesions: str = "none",
    severity: float = 0.5,
    noise: float = 18.0,
) -> Phantom:
    """Make a synthetic chest CT.

    One seed is one person with the same lesions, whatever the grid: only the noise depends on the grid.

    Parameters
    ----------
    shape
        Voxels along the file's (slice, row, column) axes.
    spacing
        mm along the same axes. The chest is about 310 mm wide, 230 mm deep; the lungs are about 250 mm high.
    direction
        3x3 direction cosines as in ITK: columns are the directions of the file's column, row and slice index in
        patient coordinates LPS. Default: identity, which is the canonical orientation.
    center
        Patient coordinates LPS in mm of the middle of the volume; (0, 0, 0) is the middle of the chest.
    seed
        Which person.
    lesions
        A key of `covid_bert.phantom.PATTERNS`.
    severity
        In (0, 1]: number and size of the lesions.
    noise
        Standard deviation in HU of the noise in soft tissue.

    Returns
    -------
    Phantom
        The volume in canonical order, whose `native` grid is the one described by the parameters.

    Raises
    ------
    ParameterError
        If shape, spacing, direction, noise, severity or pattern cannot be used.
    """
    native, affine, canonical_shape = _grids(shape, spacing, direction, center)
    if noise < 0:
        raise ParameterError("The noise cannot be negative.", "Give a standard deviation in HU, for example 18.")
    streams = [np.random.default_rng([seed, stream]) for stream in range(5)]
    anatomy = Anatomy.draw(streams[0])
    texture = Texture.draw(streams[1])
    scanner_grid = Grid(canonical_shape, LPS_TO_RAS @ affine)
    grid = anatomy.frame(scanner_grid)

    image = np.empty(canonical_shape, dtype=np.float32)
    lungs = np.empty(canonical_shape, dtype=np.uint8)
    body = np.empty(canonical_shape, dtype=np.uint8)
    for slab, sub in grid.slabs():
        image[slab], lungs[slab], share = paint(anatomy, texture, sub)
        body[slab] = share * 255

    found = draw_lesions(anatomy, streams[3], lesions, severity)
    labels = np.zeros(canonical_shape, dtype=np.uint8)
    paint_lesions(image, labels, found, anatomy, grid, Pattern.draw(streams[3]))
    vessels, airways = _draw_tubes(image, lungs, labels, anatomy, grid, found, streams[2], streams[3])

    volume = Volume(
        array=_scan(image, body, scanner_grid, noise, streams[4]),
        affine=affine,
        unit=Unit.HOUNSFIELD,
        source=Source(Path(f"phantom-{seed}"), "phantom"),
        native=native,
    )
    return Phantom(volume, LungMask(lungs, "given"), labels, airways, vessels, seed)


def _grids(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    direction: npt.ArrayLike | None,
    center: tuple[float, float, float],
) -> tuple[NativeGrid, npt.NDArray[np.float64], tuple[int, int, int]]:
    """Return the file's grid, and the affine (to RAS) and shape of the canonical one."""
    if min(shape) < 1 or min(spacing) <= 0:
        raise ParameterError("Shape and spacing of a phantom must be positive.", "Give (slices, rows, columns).")
    axes = np.eye(3) if direction is None else np.asarray(direction, dtype=float)
    if axes.shape != (3, 3) or not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise ParameterError(
            "The direction of a phantom must be three perpendicular unit vectors.",
            "Give a 3x3 matrix of direction cosines; its columns belong to column, row and slice index.",
        )
    native_shape = (shape[2], shape[1], shape[0])
    lps = np.eye(4)
    lps[:3, :3] = axes * np.array(spacing[::-1])
    lps[:3, 3] = np.array(center) - lps[:3, :3] @ ((np.array(native_shape) - 1) / 2)
    native = NativeGrid(native_shape, LPS_TO_RAS @ lps)
    moved, affine = to_canonical(np.broadcast_to(np.uint8(0), native_shape), native.affine)
    slices, rows, columns = moved.shape
    return native, affine, (slices, rows, columns)


def _draw_tubes(
    image: FloatArray,
    lungs: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    anatomy: Anatomy,
    grid: Grid,
    lesions: list[Lesion],
    tree_stream: np.random.Generator,
    lesion_stream: np.random.Generator,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Draw bones, vessels and airways over the tissues, and return the masks of vessels and airways."""
    bones, central = shoulder_bones(), central_airways(anatomy)
    draw(image, bones, grid, 0.8 * CORTEX, keep=lungs)
    draw(image, bones.widened(-1.8), grid, MARROW, keep=lungs)
    draw(image, great_vessels(anatomy), grid, BLOOD, keep=lungs)

    tree, bronchi = lung_trees(anatomy, tree_stream)
    vessels = np.zeros(grid.shape, dtype=np.bool_)
    airways = np.zeros(grid.shape, dtype=np.bool_)
    draw(image, tree, grid, BLOOD, mask=vessels)
    grams = air_bronchograms(lesions, bronchi, lesion_stream)
    if grams is not None:
        draw(image, grams, grid, -880.0, mask=airways, keep=lungs == 0)
    # Small bronchi first, so that a wall never closes the lumen of a larger one.
    for lumina, wall, inside in ((bronchi, 0.6, -930.0), (central, 1.4, AIR + 15.0)):
        draw(image, lumina.widened(wall), grid, MUSCLE - 15.0)
        draw(image, lumina, grid, inside, mask=airways)

    outside = np.zeros(grid.shape, dtype=np.bool_)
    for box, share in tube_coverage(central.widened(1.4), grid):
        outside[box] |= share >= 0.5
    lungs[outside] = 0
    vessels &= (lungs > 0) & ~airways
    labels[lungs == 0] = 0
    return vessels, airways


def _scan(
    image: FloatArray, body: npt.NDArray[np.uint8], grid: Grid, noise: float, stream: np.random.Generator
) -> npt.NDArray[np.int16]:
    """Add the noise of a scanner, correlated within slices by its reconstruction kernel, and round to int16 HU."""
    sigmas = [NOISE_BLUR_MILLIMETERS / float(np.linalg.norm(grid.affine[:3, axis])) for axis in (1, 0)]
    impulse = np.zeros((41, 41), dtype=np.float32)
    impulse[20, 20] = 1.0
    gain = float(np.sqrt((_blur(impulse, sigmas) ** 2).sum()))
    result = np.empty(image.shape, dtype=np.int16)
    for slab, _ in grid.slabs():
        white = stream.standard_normal(image[slab].shape, dtype=np.float32)
        strength = np.float32(noise / gain) * (0.4 + np.float32(0.6 / 255.0) * body[slab])
        noisy = image[slab] + strength * _blur(white, sigmas)
        result[slab] = np.clip(np.rint(noisy), LOWEST_HOUNSFIELD, HIGHEST_HOUNSFIELD)
    return result


def _blur(array: FloatArray, sigmas: list[float]) -> FloatArray:
    for axis, sigma in zip((-2, -1), sigmas, strict=True):
        if sigma > 0.2:
            array = gaussian_filter1d(array, sigma, axis=axis, mode="reflect", truncate=3.0)
    return array
