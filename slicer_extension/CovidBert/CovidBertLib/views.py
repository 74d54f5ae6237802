"""Slice views and slices of a study: jump to a slice or a point, and which slice is shown."""

from __future__ import annotations

import numpy as np
import slicer

from .geometry import (
    index_to_patient,
    matrix_to_array,
    patient_to_scene,
    scene_to_patient,
    shape,
    slice_axis,
)

# Views whose normals span less than this have no common point.
_SMALLEST_DETERMINANT = 0.1


def jump_to_slice(volume_node: slicer.vtkMRMLScalarVolumeNode, index: int) -> None:
    """Move the slice views to a slice of a study; what they show across it stays where it is.

    Parameters
    ----------
    volume_node
        The study.
    index
        Slice as in `SliceEvidence`, 0 at the foot; beyond the ends, the last one.
    """
    axis = slice_axis(volume_node)
    place = _place(volume_node, _point_of_views())
    place[axis.axis] = axis.to_index(min(max(index, 0), axis.count - 1))
    _jump(volume_node, _patient(volume_node, place), slicer.vtkMRMLSliceNode.OffsetJumpSlice)


def jump_to_position(volume_node: slicer.vtkMRMLScalarVolumeNode, position_mm: float) -> None:
    """Move the slice views to the slice whose centre is nearest to a position towards the head, in mm."""
    positions = slice_positions(volume_node)
    jump_to_slice(volume_node, int(np.argmin(np.abs(positions - position_mm))))


def jump_to_point(volume_node: slicer.vtkMRMLScalarVolumeNode, ras_mm: tuple[float, ...]) -> None:
    """Move the middle of all slice views to a point of the patient (right, anterior, superior; mm)."""
    _jump(volume_node, np.array(ras_mm, float), slicer.vtkMRMLSliceNode.CenteredJumpSlice)


def slice_positions(volume_node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Return the position of each slice's centre towards the head, in mm, by the study's slice index."""
    axis = slice_axis(volume_node)
    place = (np.array(shape(volume_node), float) - 1) / 2
    positions = []
    for index in range(axis.count):
        place[axis.axis] = axis.to_index(index)
        positions.append(_patient(volume_node, place)[2])
    return np.array(positions)


def shown_slice(volume_node: slicer.vtkMRMLScalarVolumeNode) -> int | None:
    """Return the study's slice (0 at the foot) at the point where the slice views cross; None outside of the study.

    Where a view lies along the slices, that is the slice which it shows.
    """
    axis = slice_axis(volume_node)
    nearest = int(np.rint(axis.to_index(_place(volume_node, _point_of_views())[axis.axis])))
    return nearest if 0 <= nearest < axis.count else None


def view_along_slices(volume_node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSliceNode | None:
    """Return the first slice view whose plane is nearer to the study's slices than to its other planes."""
    axis = slice_axis(volume_node)
    for slice_node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        normal = matrix_to_array(slice_node.GetSliceToRAS())[:3, 2]
        if int(np.argmax(np.abs(_directions(volume_node) @ normal))) == axis.axis:
            return slice_node
    return None


def _directions(volume_node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Return unit normals in the scene of the planes across i, j and k, one each row."""
    middle = (np.array(shape(volume_node), float) - 1) / 2
    centre = patient_to_scene(volume_node, _patient(volume_node, middle))
    steps = [patient_to_scene(volume_node, _patient(volume_node, middle + unit)) - centre for unit in np.eye(3)]
    normals = np.array([np.cross(steps[(a + 1) % 3], steps[(a + 2) % 3]) for a in range(3)])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _point_of_views() -> np.ndarray:
    """Return the point where the first three slice views cross; the middle of the first where they do not."""
    planes = [matrix_to_array(node.GetSliceToRAS()) for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")[:3]]
    if not planes:
        return np.zeros(3)
    normals = np.array([plane[:3, 2] for plane in planes])
    if len(planes) < 3 or np.linalg.svd(normals, compute_uv=False)[2] < _SMALLEST_DETERMINANT:
        return planes[0][:3, 3]
    return np.linalg.lstsq(normals, np.array([plane[:3, 2] @ plane[:3, 3] for plane in planes]), rcond=None)[0]


def _patient(volume_node: slicer.vtkMRMLScalarVolumeNode, place: np.ndarray) -> np.ndarray:
    return (index_to_patient(volume_node) @ np.append(place, 1.0))[:3]


def _place(volume_node: slicer.vtkMRMLScalarVolumeNode, point: np.ndarray) -> np.ndarray:
    """Return the index (i, j, k), with fractions, of a point in the scene."""
    patient = scene_to_patient(volume_node, point)
    return (np.linalg.inv(index_to_patient(volume_node)) @ np.append(patient, 1.0))[:3]


def _jump(volume_node: slicer.vtkMRMLScalarVolumeNode, patient: np.ndarray, mode: int) -> None:
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *patient_to_scene(volume_node, patient), mode)
