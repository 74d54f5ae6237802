"""The copy of an automatic mask that a reader corrects, and which study of the server a volume is.

The automatic mask stays as it came: it is what the correction is compared with. Both are found again in a saved scene.
"""

from __future__ import annotations

import hashlib

import slicer

from .i18n import tr as _
from .stored import ROLE_ATTRIBUTE

_AUTOMATIC = "CovidBert.Automatic"
_CORRECTION_ROLE = "correction"
_IMAGE, _IMAGE_SERVER = "CovidBert.Image", "CovidBert.ImageServer"


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
    if volume is None or volume.GetAttribute(_IMAGE_SERVER) != _fingerprint(server_url):
        return None
    return volume.GetAttribute(_IMAGE) or None


def remember_image(volume: slicer.vtkMRMLScalarVolumeNode, server_url: str, image: str) -> None:
    """Note under which id a server knows a volume."""
    volume.SetAttribute(_IMAGE, image)
    volume.SetAttribute(_IMAGE_SERVER, _fingerprint(server_url))


def volume_of_image(server_url: str, image: str) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the volume in the scene that a server knows under an id, or None."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((node for node in nodes if image_of(node, server_url) == image), None)


def _fingerprint(server_url: str) -> str:
    # A scene is passed on: it need not tell which servers there are.
    return hashlib.sha256(server_url.strip().rstrip("/").encode()).hexdigest()[:16]
