"""A corrected segmentation as a mask: its segments checked and written on the grid of the volume, voxel for voxel."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from .geometry import LPS_TO_RAS, array_to_matrix, index_to_patient, matrix_to_array, occupied_box, shape
from .i18n import tr as _
from .problems import MaskError, SceneError
from .segments import KINDS, LEFT_LUNG_KIND, LUNGS, RIGHT_LUNG_KIND, SegmentKind, kind_of

_OWNER_ONLY = 0o600
# Grids whose corners differ by less than this share of a voxel are one grid.
_SAME_GRID_VOXELS = 1e-3


@dataclass(frozen=True)
class Mask:
    """A written mask.

    Parameters
    ----------
    path
        The file: NRRD, not compressed, on the volume's own grid.
    counts
        Voxels by segment id (`SegmentKind.identifier`).
    milliliters
        Volume in ml by segment id.
    """

    path: Path
    counts: dict[str, int]
    milliliters: dict[str, float]


def write_mask(
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    path: str | Path,
    mask: str = LUNGS,
) -> Mask:
    """Check a corrected segmentation and write it as a mask.

    Parameters
    ----------
    segmentation_node
        The corrected segmentation.
    volume_node
        The volume that it belongs to.
    path
        File to write; ends in .nrrd.
    mask
        ``lungs`` (right 1, left 2) or ``lesions`` (ground-glass 1, consolidation 2).

    Raises
    ------
    SceneError
        If a node is gone.
    MaskError
        If segments are missing, empty, of another kind, overlap or reach outside of the volume, if right and left
        are swapped, or if the file cannot be written.
    """
    labels = label_array(segmentation_node, volume_node, mask)
    path = Path(path)
    try:
        _write_nrrd(labels, volume_node, path)
    except OSError as error:
        raise MaskError(
            _("The mask could not be written: {reason}.").format(reason=error.strerror or _("unknown")),
            _("Make space on the disk of the temporary folder, then submit again. Your edits are still in the scene."),
            "disk",
        ) from error
    counts = {kind.identifier: int(np.count_nonzero(labels == kind.label)) for kind in KINDS[mask]}
    voxel = voxel_milliliters(volume_node)
    return Mask(path, counts, {name: count * voxel for name, count in counts.items()})


def label_array(
    segmentation_node: slicer.vtkMRMLSegmentationNode | None,
    volume_node: slicer.vtkMRMLScalarVolumeNode | None,
    mask: str = LUNGS,
) -> np.ndarray:
    """Return the labels of a segmentation on the grid of its volume.

    Returns
    -------
    uint8 (k, j, i). Parameters and errors are those of `write_mask`.
    """
    if segmentation_node is None or segmentation_node.GetScene() is None:
        raise SceneError(_("The segmentation is no longer in the scene."), _("Choose a segmentation."))
    if volume_node is None or volume_node.GetScene() is None or volume_node.GetImageData() is None:
        raise SceneError(_("The volume is no longer in the scene."), _("Choose a volume."))
    if segmentation_node.GetTransformNodeID() != volume_node.GetTransformNodeID():
        raise MaskError(
            _("Segmentation and volume are under different transforms."),
            _("Place both under the same transform in the Data module, or under none."),
        )
    labels = np.zeros(shape(volume_node)[::-1], np.uint8)
    found: set[SegmentKind] = set()
    segmentation = segmentation_node.GetSegmentation()
    for identifier in segmentation.GetSegmentIDs():
        inside = segment_array(segmentation_node, identifier, volume_node)
        segment = segmentation.GetSegment(identifier)
        kind = kind_of(segment, identifier, mask)
        if kind is None and inside.any():
            raise MaskError(
                _("The segment '{name}' is none of: {known}.").format(name=segment.GetName(), known=_names(mask)),
                _("Merge it into one of them with Logical operators, or remove it."),
            )
        if kind is None:
            continue
        if kind in found:
            raise MaskError(
                _("There are two segments for '{name}'.").format(name=kind.name),
                _("Merge them with Logical operators, then remove one."),
            )
        found.add(kind)
        if np.any(labels[inside]):
            raise MaskError(
                _("'{name}' overlaps another segment.").format(name=kind.name),
                _("In the Segment Editor choose 'Allow overlap: no', or subtract one from the other."),
            )
        labels[inside] = kind.label
    _check_found(labels, found, mask)
    if mask == LUNGS:
        _check_sides(labels, volume_node)
    return labels


def segment_array(
    segmentation_node: slicer.vtkMRMLSegmentationNode, identifier: str, volume_node: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray:
    """Return one segment on the grid of a volume.

    A segment on the grid of the volume is copied voxel for voxel; one on another grid takes the nearest voxel.

    Returns
    -------
    Boolean array (k, j, i).

    Raises
    ------
    MaskError
        If the segment reaches outside of the volume.
    """
    labelmap = slicer.vtkOrientedImageData()
    inside = np.zeros(shape(volume_node)[::-1], bool)
    if not segmentation_node.GetBinaryLabelmapRepresentation(identifier, labelmap) or labelmap.IsEmpty():
        return inside
    values, corner = _voxels(labelmap)
    box = occupied_box(values)
    low, high = np.array([part.start for part in box]), np.array([part.stop for part in box])
    if np.any(low == high):
        return inside
    start = low + corner
    shift = _grid_shift(labelmap, volume_node)
    if shift is None:
        return _resampled(labelmap, low + corner, high + corner, segmentation_node, identifier, volume_node)
    start = start + shift
    stop = start + (high - low)
    if np.any(start < 0) or np.any(stop > inside.shape):
        raise _outside(segmentation_node, identifier)
    window = tuple(slice(first, last) for first, last in zip(start, stop))
    inside[window] = values[tuple(slice(first, last) for first, last in zip(low, high))]
    return inside


def voxel_milliliters(volume_node: slicer.vtkMRMLScalarVolumeNode) -> float:
    """Return the volume of one voxel in ml."""
    return abs(float(np.linalg.det(index_to_patient(volume_node)[:3, :3]))) / 1000


def _voxels(labelmap: slicer.vtkOrientedImageData) -> tuple[np.ndarray, np.ndarray]:
    """Return a labelmap as boolean (k, j, i), and the index (k, j, i) of its first voxel on its own grid."""
    extent = np.array(labelmap.GetExtent()).reshape(3, 2)
    sizes = extent[:, 1] - extent[:, 0] + 1
    values = numpy_support.vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(sizes[::-1]) != 0
    return values, extent[::-1, 0]


def _grid_shift(
    labelmap: slicer.vtkOrientedImageData, volume_node: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray | None:
    """Return the whole voxels (k, j, i) between a labelmap's index and the volume's; None for another grid."""
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    between = np.linalg.inv(index_to_patient(volume_node)) @ matrix_to_array(matrix)
    shift = np.rint(between[:3, 3])
    exact = np.eye(4)
    exact[:3, 3] = shift
    extent = labelmap.GetExtent()
    corners = np.array([[i, j, k, 1] for i in extent[:2] for j in extent[2:4] for k in extent[4:]], float)
    if np.abs((between - exact) @ corners.T).max() > _SAME_GRID_VOXELS:
        return None
    return shift[::-1].astype(int)


def _resampled(
    labelmap: slicer.vtkOrientedImageData,
    low: np.ndarray,
    high: np.ndarray,
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    identifier: str,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
) -> np.ndarray:
    """Bring a segment of another grid onto that of the volume; `low` and `high` bound it there, as (k, j, i)."""
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    between = np.linalg.inv(index_to_patient(volume_node)) @ matrix_to_array(matrix)
    first, last = low[::-1], high[::-1] - 1
    corners = np.array([[i, j, k, 1] for i, j, k in np.array(np.meshgrid(*zip(first, last))).reshape(3, -1).T], float)
    places = (between @ corners.T)[:3]
    sizes = np.array(shape(volume_node))[:, None]
    if np.any(places < -0.5) or np.any(places > sizes - 0.5):
        raise _outside(segmentation_node, identifier)
    reference = slicer.vtkOrientedImageData()
    reference.SetDimensions(*shape(volume_node))
    reference.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    reference.SetGeometryFromImageToWorldMatrix(array_to_matrix(index_to_patient(volume_node)))
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        labelmap, reference, resampled, False
    )
    return _voxels(resampled)[0]


def _check_found(labels: np.ndarray, found: set[SegmentKind], mask: str) -> None:
    missing = [kind.name for kind in KINDS[mask] if kind not in found]
    if missing:
        raise MaskError(
            _("The segmentation has no segment '{name}'.").format(name=missing[0]),
            _("Start from the automatic result, or add segments named: {known}.").format(known=_names(mask)),
        )
    if mask == LUNGS and not labels.any():
        raise MaskError(_("Both lungs are empty."), _("Draw at least one lung before submitting."))


def _check_sides(labels: np.ndarray, volume_node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Refuse a right lung that lies to the left of the left one."""
    affine = index_to_patient(volume_node)
    to_the_right = []
    for kind in (RIGHT_LUNG_KIND, LEFT_LUNG_KIND):
        inside = labels == kind.label
        if not inside.any():
            return
        sums = [np.count_nonzero(inside, axis=axes) for axes in ((0, 1), (0, 2), (1, 2))]  # along i, j and k
        middle = [float(np.average(np.arange(len(sum_)), weights=sum_)) for sum_ in sums]
        to_the_right.append(float(affine[0] @ [*middle, 1.0]))
    if to_the_right[0] <= to_the_right[1]:
        raise MaskError(
            _("Right and left lung are swapped: 'right lung' lies on the patient's left."),
            _("Exchange the two segments; the right lung is on the left of an axial view."),
        )


def _write_nrrd(labels: np.ndarray, volume_node: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    affine = LPS_TO_RAS @ index_to_patient(volume_node)
    vectors = [f"({','.join(repr(float(value)) for value in vector)})" for vector in affine[:3].T]
    header = [
        "NRRD0004",
        "type: uint8",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(size) for size in shape(volume_node))}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        "encoding: raw",
        f"space origin: {vectors[3]}",
    ]
    with os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, _OWNER_ONLY), "wb") as file:
        file.write(("\n".join(header) + "\n\n").encode("ascii"))
        file.write(np.ascontiguousarray(labels).tobytes())


def _names(mask: str) -> str:
    return ", ".join(kind.name for kind in KINDS[mask])


def _outside(segmentation_node: slicer.vtkMRMLSegmentationNode, identifier: str) -> MaskError:
    name = segmentation_node.GetSegmentation().GetSegment(identifier).GetName()
    return MaskError(
        _("'{name}' reaches outside of the volume.").format(name=name),
        _("Erase what lies outside, for example with Scissors, or choose the volume that it was drawn on."),
    )
