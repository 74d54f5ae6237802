"""Masks and maps from files, on the grid of the volume that they belong to, without any interpolation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from .geometry import array_to_matrix, index_to_patient, shape
from .i18n import tr as _
from .problems import ResultError

# A header rounds; more than this share of a voxel is another grid.
TOLERATED_VOXELS = 0.1


def read_on_grid(path: str | Path, volume_node: slicer.vtkMRMLScalarVolumeNode, *, highest: int = 255) -> np.ndarray:
    """Read an image of whole numbers that lies on the grid of a volume; its axes may be stored in another order.

    Parameters
    ----------
    path
        .nrrd, .nii, .nii.gz or .mha.
    volume_node
        The volume.
    highest
        Largest value that may occur.

    Returns
    -------
    uint8 array (k, j, i) in the volume's own order.

    Raises
    ------
    ResultError
        If it cannot be read, lies on another grid or holds other values.
    """
    image, affine = _read(Path(path))
    values = _array(image)
    values = _reordered(values, affine, volume_node)
    if values.size and (values.min() < 0 or values.max() > highest):
        raise ResultError(
            _("The answer of the server holds values that it should not: {lowest} to {highest}.").format(
                lowest=values.min(), highest=values.max()
            ),
            _("Compare the versions of this module and of the server; update the older one."),
        )
    return np.ascontiguousarray(values, dtype=np.uint8)


def oriented_labelmap(labels: np.ndarray, volume_node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkOrientedImageData:
    """Return labels (k, j, i) as an image with the geometry of the volume, to the last digit of its matrix."""
    image = slicer.vtkOrientedImageData()
    fill_image(image, labels)
    image.SetGeometryFromImageToWorldMatrix(array_to_matrix(index_to_patient(volume_node)))
    return image


def fill_image(image: vtk.vtkImageData, values: np.ndarray) -> None:
    """Give an image the size and a copy of the values of an array (k, j, i)."""
    image.SetDimensions(*values.shape[::-1])
    image.AllocateScalars(numpy_support.get_vtk_array_type(values.dtype), 1)
    # Into its own memory: a copy by VTK would hold the window several times as long.
    numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(values.shape)[...] = values


def _read(path: Path) -> tuple[vtk.vtkImageData, np.ndarray]:
    """Read a file by a node outside of the scene, so that nothing of a bad file is left in it."""
    node = slicer.vtkMRMLScalarVolumeNode()
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetSingleFile(1)
    storage.SetCenterImage(0)
    read = path.is_file() and storage.ReadData(node)
    if not read or node.GetImageData() is None or node.GetImageData().GetPointData().GetScalars() is None:
        raise ResultError(
            _("A mask or map of the answer is missing or damaged."),
            _("Classify the study again; if it happens again, look at the server's log."),
        )
    return node.GetImageData(), index_to_patient(node)


def _array(image: vtk.vtkImageData) -> np.ndarray:
    if image.GetNumberOfScalarComponents() != 1:
        raise _other_grid()
    values = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    if values.dtype.kind == "f":
        whole = np.rint(values)
        if not np.array_equal(whole, values):
            raise ResultError(
                _("A mask of the answer holds other values than whole numbers."),
                _("Compare the versions of this module and of the server; update the older one."),
            )
        return whole
    return values


def _reordered(values: np.ndarray, affine: np.ndarray, volume_node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Permute and flip the axes of (k, j, i) values so that they come to lie on the grid of the volume."""
    sizes = np.array(shape(volume_node))
    between = np.linalg.inv(index_to_patient(volume_node)) @ affine  # (i, j, k) of the file to those of the volume
    turn = np.rint(between[:3, :3]).astype(int)
    if not np.array_equal(np.abs(turn).sum(0), [1, 1, 1]) or not np.array_equal(np.abs(turn).sum(1), [1, 1, 1]):
        raise _other_grid()
    file_sizes = np.array(values.shape[::-1])
    if not np.array_equal(np.abs(turn) @ file_sizes, sizes):
        raise _other_grid()
    shift = np.where(turn.sum(1) < 0, sizes - 1, 0)
    exact = np.eye(4)
    exact[:3, :3], exact[:3, 3] = turn, shift
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= file_sizes - 1
    if np.abs((between - exact) @ corners.T).max() > TOLERATED_VOXELS:
        raise _other_grid()
    source = np.abs(turn).argmax(1)  # of each axis of the volume: the axis of the file
    moved = values.transpose(2, 1, 0).transpose(source)
    flips = tuple(slice(None, None, -1 if direction < 0 else 1) for direction in turn.sum(1))
    return moved[flips].transpose(2, 1, 0)


def _other_grid() -> ResultError:
    return ResultError(
        _("A mask or map of the answer does not lie on the grid of the volume."),
        _("Was the volume changed since it was sent? Classify it again."),
    )
