"""Short texts by which is noticed that an image in the scene is another than before; kept with the scene."""

from __future__ import annotations

import json
import zlib

import numpy as np
import slicer

from .geometry import index_to_patient, shape

# Of a volume at most so many voxels along each axis are looked at, which takes milliseconds.
_SAMPLED_VOXELS = 64
# A scene that is saved and loaded rounds; two grids are one where no corner lies further apart, in voxels.
_SAME_GRID_VOXELS = 1e-3


def of_volume(volume_node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Return size and a checksum of voxels all over a volume, "" for one without an image."""
    if volume_node.GetImageData() is None:
        return ""
    voxels = slicer.util.arrayFromVolume(volume_node)
    steps = tuple(slice(None, None, max(1, count // _SAMPLED_VOXELS)) for count in voxels.shape)
    sample = np.ascontiguousarray(voxels[steps])
    return f"{'x'.join(str(count) for count in voxels.shape)}-{zlib.crc32(sample.tobytes()):08x}"


def of_image(volume_node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Return the fingerprint of a volume's voxels and of where they lie, for `is_image`."""
    return json.dumps([of_volume(volume_node), index_to_patient(volume_node)[:3].ravel().tolist()])


def is_image(volume_node: slicer.vtkMRMLScalarVolumeNode, known: str | None) -> bool:
    """Return whether a volume is the image of which `of_image` was taken; not where that was never taken."""
    try:
        voxels, numbers = json.loads(known or "")
        affine = np.vstack([np.array(numbers, float).reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
        between = np.linalg.inv(affine) @ index_to_patient(volume_node) - np.eye(4)
    except (ValueError, TypeError, np.linalg.LinAlgError):
        return False
    if voxels != of_volume(volume_node):
        return False
    i, j, k = shape(volume_node)
    corners = np.array([[x, y, z, 1] for x in (0, i) for y in (0, j) for z in (0, k)], float)
    return bool(np.abs(between @ corners.T).max() < _SAME_GRID_VOXELS)
