"""Where the voxels of a volume lie: between voxel index, the patient and the scene.

Index order is (i, j, k) as in MRML. *Patient* is RAS in mm as the volume's own matrix says, which is what the server
knows; *scene* is RAS after the transforms that the volume is placed under in the scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk

# Between LPS (DICOM, ITK, NRRD) and RAS.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
TOWARDS_HEAD = 2


def matrix_to_array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """Return a 4x4 matrix as float64 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def array_to_matrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """Return a 4x4 array as matrix."""
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(array[row, column]))
    return matrix


def index_to_patient(volume_node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return the 4x4 array that takes (i, j, k, 1) to the patient's RAS in mm."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return matrix_to_array(matrix)


def shape(volume_node: slicer.vtkMRMLVolumeNode) -> tuple[int, int, int]:
    """Return the number of voxels along (i, j, k); (0, 0, 0) without an image."""
    image = volume_node.GetImageData()
    return tuple(image.GetDimensions()) if image is not None else (0, 0, 0)


def axis_order(affine: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Say which patient axis each index axis follows.

    Parameters
    ----------
    affine
        4x4, (i, j, k, 1) to RAS in mm.

    Returns
    -------
    For i, j and k: the patient axis (0 right, 1 anterior, 2 superior) and 1, or -1 for the opposite direction. Each
    patient axis occurs once: the rule is that of nibabel, by which the server brings a volume into its own order.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(directions)
    closest = left @ right
    order = [(0, 1)] * 3
    for axis in np.argsort(np.min(-(closest**2), axis=0), kind="stable"):
        patient = int(np.argmax(np.abs(closest[:, axis])))
        order[axis] = (patient, 1 if closest[patient, axis] > 0 else -1)
        closest[patient] = 0.0
    return tuple(order)


@dataclass(frozen=True)
class SliceAxis:
    """The index axis of a volume that the server counts slices along, from foot to head.

    Parameters
    ----------
    axis
        0, 1 or 2 for i, j or k.
    towards_head
        Whether the index grows towards the head.
    count
        Number of slices.
    """

    axis: int
    towards_head: bool
    count: int

    def to_index(self, slice_: float) -> float:
        """Return the index along `axis` of a slice counted from the foot, and the other way round."""
        return slice_ if self.towards_head else self.count - 1 - slice_


def slice_axis(volume_node: slicer.vtkMRMLVolumeNode) -> SliceAxis:
    """Find the axis that slices are counted along."""
    for axis, (patient, direction) in enumerate(axis_order(index_to_patient(volume_node))):
        if patient == TOWARDS_HEAD:
            return SliceAxis(axis, direction > 0, shape(volume_node)[axis])
    raise AssertionError("each patient axis occurs once")


def patient_to_scene(volume_node: slicer.vtkMRMLVolumeNode, point: np.ndarray) -> np.ndarray:
    """Return where a point of the patient lies in the scene, in mm."""
    return _transformed(volume_node.GetParentTransformNode(), None, point)


def scene_to_patient(volume_node: slicer.vtkMRMLVolumeNode, point: np.ndarray) -> np.ndarray:
    """Return which point of the patient lies at a point of the scene, in mm."""
    return _transformed(None, volume_node.GetParentTransformNode(), point)


def _transformed(
    source: slicer.vtkMRMLTransformNode | None, target: slicer.vtkMRMLTransformNode | None, point: np.ndarray
) -> np.ndarray:
    between = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, between)
    return np.array(between.TransformPoint([float(value) for value in point]))
