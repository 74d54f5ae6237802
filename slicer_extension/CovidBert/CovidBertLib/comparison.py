"""How far a corrected segmentation lies from the automatic one, before it is submitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from .geometry import index_to_patient, occupied_box
from .masks import label_array, voxel_milliliters
from .segments import KINDS, LUNGS, SegmentKind

_PERCENTILE = 95


@dataclass(frozen=True)
class SegmentComparison:
    """One segment before and after correction.

    Parameters
    ----------
    kind
        The segment.
    dice
        Twice the common voxels by the voxels of both, in [0, 1]; None where both are empty.
    before_ml, after_ml
        Volumes in ml.
    mean_distance_mm
        Mean, over the surface voxels of both, of the distance to the nearest surface voxel of the other; None where
        one of them is empty.
    distance_95_mm
        The larger of the 95th percentiles of those distances from the one and from the other; None as above.
    """

    kind: SegmentKind
    dice: float | None
    before_ml: float
    after_ml: float
    mean_distance_mm: float | None
    distance_95_mm: float | None

    @property
    def change_ml(self) -> float:
        """Volume after less volume before, in ml."""
        return self.after_ml - self.before_ml


@dataclass(frozen=True)
class Comparison:
    """A mask before and after correction.

    Parameters
    ----------
    segments
        In the order of the labels: right and left lung, or ground-glass and consolidation.
    changed_voxels
        Voxels whose label differs.
    """

    segments: tuple[SegmentComparison, ...]
    changed_voxels: int


def compare(
    before_node: slicer.vtkMRMLSegmentationNode,
    after_node: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    mask: str = LUNGS,
) -> Comparison:
    """Compare a corrected segmentation with the automatic one.

    Parameters
    ----------
    before_node, after_node
        The automatic and the corrected segmentation.
    volume_node
        The volume whose grid they are compared on.
    mask
        ``lungs`` or ``lesions``.

    Raises
    ------
    SceneError, MaskError
        As by `masks.write_mask`, for either segmentation.
    """
    before = label_array(before_node, volume_node, mask)
    after = label_array(after_node, volume_node, mask)
    return compare_labels(before, after, index_to_patient(volume_node), voxel_milliliters(volume_node), mask)


def compare_labels(before: np.ndarray, after: np.ndarray, affine: np.ndarray, voxel_ml: float, mask: str) -> Comparison:
    """Compare two label arrays.

    Parameters
    ----------
    before, after
        uint8 (k, j, i) of the same shape.
    affine
        4x4, (i, j, k, 1) to mm.
    voxel_ml
        Volume of a voxel in ml.
    mask
        ``lungs`` or ``lesions``.
    """
    box = occupied_box(before | after)
    before, after = before[box], after[box]
    segments = tuple(
        _compare(kind, before == kind.label, after == kind.label, affine, voxel_ml) for kind in KINDS[mask]
    )
    return Comparison(segments, int(np.count_nonzero(before != after)))


def _compare(
    kind: SegmentKind, before: np.ndarray, after: np.ndarray, affine: np.ndarray, voxel_ml: float
) -> SegmentComparison:
    sizes = int(np.count_nonzero(before)), int(np.count_nonzero(after))
    mean = percentile = dice = None
    if sum(sizes):
        dice = 2 * int(np.count_nonzero(before & after)) / sum(sizes)
    if all(sizes):
        mean, percentile = _surface_distances(before, after, affine)
    return SegmentComparison(kind, dice, sizes[0] * voxel_ml, sizes[1] * voxel_ml, mean, percentile)


def _surface_distances(before: np.ndarray, after: np.ndarray, affine: np.ndarray) -> tuple[float, float]:
    """Return the mean over both surfaces, and the larger 95th percentile, in mm."""
    box = occupied_box(before | after)
    surfaces = _surface(before[box]), _surface(after[box])
    directed = [_distances(surfaces[0], surfaces[1], affine), _distances(surfaces[1], surfaces[0], affine)]
    return float(np.concatenate(directed).mean()), float(max(np.percentile(part, _PERCENTILE) for part in directed))


def _distances(surface: np.ndarray, other: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the distance of each surface voxel to the nearest of the other surface, in mm.

    Only voxels that the other surface lacks are looked up: after a correction those are few. Points rather than a
    distance image serve here: they keep to oblique and sheared grids. The locator is exact; VTK's k-d tree is not for
    points far outside of it.
    """
    apart = surface & ~other
    distances = np.zeros(int(np.count_nonzero(surface)))
    if not apart.any():
        return distances
    queries, points = _places(apart, affine), _places(other, affine)
    source = _point_set(points)
    named = numpy_support.numpy_to_vtk(points, deep=True)
    named.SetName("place")
    source.GetPointData().AddArray(named)
    nearest = vtk.vtkPointInterpolator()
    nearest.SetInputData(_point_set(queries))
    nearest.SetSourceData(source)
    nearest.SetKernel(vtk.vtkVoronoiKernel())  # the value of the nearest point
    nearest.SetLocator(vtk.vtkStaticPointLocator())
    nearest.Update()
    found = numpy_support.vtk_to_numpy(nearest.GetOutput().GetPointData().GetArray("place"))
    distances[: len(found)] = np.linalg.norm(found - queries, axis=1)
    return distances


def _surface(inside: np.ndarray) -> np.ndarray:
    """Return the voxels that have one of six neighbours outside; what lies beyond the array is outside."""
    inner = inside.copy()
    for axis in range(inside.ndim):
        along, kept = np.moveaxis(inside, axis, 0), np.moveaxis(inner, axis, 0)
        kept[1:] &= along[:-1]
        kept[:-1] &= along[1:]
        kept[0] = kept[-1] = False
    return inside & ~inner


def _places(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return where voxels (k, j, i) lie, in mm from the first voxel, one each row."""
    return np.ascontiguousarray(np.argwhere(voxels)[:, ::-1] @ affine[:3, :3].T)


def _point_set(places: np.ndarray) -> vtk.vtkPolyData:
    points = vtk.vtkPoints()
    points.SetData(numpy_support.numpy_to_vtk(places, deep=True))
    data = vtk.vtkPolyData()
    data.SetPoints(points)
    return data
