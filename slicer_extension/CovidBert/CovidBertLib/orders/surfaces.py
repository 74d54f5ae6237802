"""How far two masks lie apart: Dice, voxels, and the distances between their surfaces.

It needs NumPy and VTK, which Slicer's Python has; it is loaded by the order that compares only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from vtkmodules.util import numpy_support
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkPolyData, vtkStaticPointLocator
from vtkmodules.vtkFiltersPoints import vtkPointInterpolator, vtkVoronoiKernel

from ..client.backoff import Cancelled, check_cancelled
from ..label_arrays import occupied_box

_PERCENTILE = 95
_LABELS = (1, 2)


def compare_labels(before: np.ndarray, after: np.ndarray, affine: np.ndarray, cancelled: Cancelled) -> dict[str, Any]:
    """Compare two label arrays.

    Parameters
    ----------
    before, after
        uint8 (k, j, i) of the same shape.
    affine
        4x4, (i, j, k, 1) to mm.
    cancelled
        Asked now and then.

    Returns
    -------
    dict
        ``changed_voxels``, whose label differs; ``segments``: for the labels 1 and 2 ``before`` and ``after`` in
        voxels, ``dice``, None where both are empty, ``mean_distance_mm`` over both surfaces and ``distance_95_mm``,
        the larger of the 95th percentiles from the one and from the other, None where one is empty.
    """
    box = occupied_box(before | after)
    before, after = before[box], after[box]
    segments = []
    for label in _LABELS:
        check_cancelled(cancelled)
        segments.append(_compare(before == label, after == label, affine, cancelled))
    return {"segments": segments, "changed_voxels": int(np.count_nonzero(before != after))}


def _compare(before: np.ndarray, after: np.ndarray, affine: np.ndarray, cancelled: Cancelled) -> dict[str, Any]:
    sizes = int(np.count_nonzero(before)), int(np.count_nonzero(after))
    mean = percentile = dice = None
    if sum(sizes):
        dice = 2 * int(np.count_nonzero(before & after)) / sum(sizes)
    if all(sizes):
        mean, percentile = _surface_distances(before, after, affine, cancelled)
    return {
        "before": sizes[0],
        "after": sizes[1],
        "dice": dice,
        "mean_distance_mm": mean,
        "distance_95_mm": percentile,
    }


def _surface_distances(
    before: np.ndarray, after: np.ndarray, affine: np.ndarray, cancelled: Cancelled
) -> tuple[float, float]:
    """Return the mean over both surfaces, and the larger 95th percentile, in mm."""
    box = occupied_box(before | after)
    surfaces = _surface(before[box]), _surface(after[box])
    directed = []
    for surface, other in (surfaces, surfaces[::-1]):
        check_cancelled(cancelled)
        directed.append(_distances(surface, other, affine))
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
    nearest = vtkPointInterpolator()
    nearest.SetSourceData(source)
    nearest.SetKernel(vtkVoronoiKernel())  # the value of the nearest point
    nearest.SetLocator(vtkStaticPointLocator())
    nearest.SetInputData(_point_set(queries))
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


def _point_set(places: np.ndarray) -> vtkPolyData:
    points = vtkPoints()
    points.SetData(numpy_support.numpy_to_vtk(places, deep=True))
    data = vtkPolyData()
    data.SetPoints(points)
    return data
