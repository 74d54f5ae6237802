"""The copy of an automatic mask that a reader corrects, and which study of the server a volume is.

The automatic mask stays as it came: it is what the correction is compared with. Both are found again in a saved scene.
"""

from __future__ import annotations

import hashlib

import numpy as np
import slicer

from .fingerprint import is_image, of_image
from .i18n import tr as _
from .label_arrays import checksum
from .stored import ROLE_ATTRIBUTE

_AUTOMATIC = "CovidBert.Automatic"
_CORRECTION_ROLE = "correction"
_IMAGE, _IMAGE_SERVER, _IMAGE_CONTENT = "CovidBert.Image", "CovidBert.ImageServer", "CovidBert.ImageContent"
_AS_SENT = "CovidBert.AsSent"


def correction_of(automatic: slicer.vtkMRMLSegmentationNode | None) -> slicer.vtkMRMLSegmentationNode | None:
    """Return the newest correction of an automatic mask, or None."""
    if automatic is None:
        return None
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    found = [node for node in nodes if node.GetNodeReference(_AUTOMATIC) is automatic]
    return found[-1] if found else None


def start_correction(
    automatic: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLSegmentationNode:
    """Copy an automatic mask to correct it; the automatic one is hidden, and not changed.

    Parameters
    ----------
    automatic
        The mask as the server sent it.
    volume
        Its volume.
    """
    name = slicer.mrmlScene.GenerateUniqueName(_("{name} corrected").format(name=automatic.GetName()))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.GetSegmentation().DeepCopy(automatic.GetSegmentation())
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().CopyContent(automatic.GetDisplayNode())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetAndObserveTransformNodeID(automatic.GetTransformNodeID())
    node.SetAttribute(ROLE_ATTRIBUTE, _CORRECTION_ROLE)
    node.SetNodeReferenceID(_AUTOMATIC, automatic.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    parent = hierarchy.GetItemByDataNode(volume)
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(parent, node), parent)
    automatic.GetDisplayNode().SetVisibility(False)
    node.GetDisplayNode().SetVisibility(True)
    return node


def image_of(volume: slicer.vtkMRMLScalarVolumeNode | None, server_url: str) -> str | None:
    """Return under which id a server knows a volume, or None where that is not known."""
    image = _noted_image(volume, server_url)
    # A copy of a volume takes its attributes along, and a volume that is edited keeps them.
    return image if image is not None and is_image(volume, volume.GetAttribute(_IMAGE_CONTENT)) else None


def former_image_of(volume: slicer.vtkMRMLScalarVolumeNode | None, server_url: str) -> str | None:
    """Return under which id a server knows what a volume was before it was changed, None where it was not."""
    return None if image_of(volume, server_url) is not None else _noted_image(volume, server_url)


def remember_image(
    volume: slicer.vtkMRMLScalarVolumeNode, server_url: str, image: str, content: str | None = None
) -> None:
    """Note under which id a server knows a volume.

    Parameters
    ----------
    volume
        The volume.
    server_url, image
        Server and id.
    content
        `fingerprint.of_image` of what the server got; None for the volume as it is now.
    """
    volume.SetAttribute(_IMAGE, image)
    volume.SetAttribute(_IMAGE_SERVER, _fingerprint(server_url))
    volume.SetAttribute(_IMAGE_CONTENT, of_image(volume) if content is None else content)


def volume_of_image(server_url: str, image: str) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the volume in the scene that a server knows under an id, or None."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((node for node in nodes if image_of(node, server_url) == image), None)


def note_automatic(automatic: slicer.vtkMRMLSegmentationNode, labels: np.ndarray) -> None:
    """Note what the server sent as a mask: ``labels``, uint8 (k, j, i) on the grid of the volume."""
    automatic.SetAttribute(_AS_SENT, checksum(labels))


def as_sent(automatic: slicer.vtkMRMLSegmentationNode) -> str | None:
    """Return the checksum of an automatic mask as the server sent it; None where that was not noted."""
    return automatic.GetAttribute(_AS_SENT) or None


def _noted_image(volume: slicer.vtkMRMLScalarVolumeNode | None, server_url: str) -> str | None:
    if volume is None or volume.GetAttribute(_IMAGE_SERVER) != _fingerprint(server_url):
        return None
    return volume.GetAttribute(_IMAGE) or None


def _fingerprint(server_url: str) -> str:
    # A scene is passed on: it need not tell which servers there are.
    return hashlib.sha256(server_url.strip().rstrip("/").encode()).hexdigest()[:16]
