"""The record of a result in the scene: a text node with its JSON, and references to all nodes that show it.

It is saved with the scene and found again after loading. It holds the server's result as it came, which names no
patient, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import slicer

from .fingerprint import of_volume
from .i18n import tr as _
from .result import Result, parse_json

ROLE_ATTRIBUTE = "CovidBert.Role"
RECORD_ROLE = "result"
_ORDER_ATTRIBUTE = "CovidBert.Order"
_VOXELS_ATTRIBUTE = "CovidBert.Voxels"
_REFERENCE = "CovidBert."
VOLUME, LUNGS, LESIONS, LOCATION = "volume", "lungs", "lesions", "location"
PARTS = (LUNGS, LESIONS, LOCATION)


@dataclass(frozen=True)
class Shown:
    """The nodes of one result; None for what the server did not send, or was deleted.

    Parameters
    ----------
    record
        Text node with the result's JSON.
    volume
        The classified volume.
    lungs, lesions
        Segmentation nodes.
    location
        Location map, a scalar volume in percent.
    """

    record: slicer.vtkMRMLTextNode
    volume: slicer.vtkMRMLScalarVolumeNode | None
    lungs: slicer.vtkMRMLSegmentationNode | None
    lesions: slicer.vtkMRMLSegmentationNode | None
    location: slicer.vtkMRMLScalarVolumeNode | None

    @property
    def is_outdated(self) -> bool:
        """Whether the volume holds other voxels than when it was classified."""
        known = self.record.GetAttribute(_VOXELS_ATTRIBUTE)
        return known is not None and self.volume is not None and known != of_volume(self.volume)

    def result(self) -> Result:
        """Return the result; ResultError if the record was changed or comes from another version."""
        return parse_json(self.record.GetText() or "")


def add_record(name: str, result: Result, nodes: Mapping[str, slicer.vtkMRMLNode | None]) -> slicer.vtkMRMLTextNode:
    """Add the record of a result.

    Parameters
    ----------
    name
        Of the text node.
    result
        The result.
    nodes
        ``volume`` and those of `PARTS` that there are.
    """
    record = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", name)
    # In the scene file itself: a record in a file of its own could be left behind.
    record.SetForceCreateStorageNode(slicer.vtkMRMLTextNode.CreateStorageNodeNever)
    record.SetText(result.to_json())
    record.SetAttribute(ROLE_ATTRIBUTE, RECORD_ROLE)
    record.SetAttribute(_ORDER_ATTRIBUTE, str(1 + max([_order(known) for known in _records()], default=0)))
    if nodes.get(VOLUME) is not None:
        record.SetAttribute(_VOXELS_ATTRIBUTE, of_volume(nodes[VOLUME]))
    for part, node in nodes.items():
        if node is not None:
            record.SetNodeReferenceID(_REFERENCE + part, node.GetID())
    return record


def find(volume_node: slicer.vtkMRMLVolumeNode | None) -> list[Shown]:
    """Return the results of a volume, newest first."""
    return [shown for shown in find_all() if volume_node is not None and shown.volume is volume_node]


def find_all() -> list[Shown]:
    """Return all results in the scene, newest first."""
    return [shown_of(record) for record in sorted(_records(), key=_order, reverse=True)]


def shown_of(record: slicer.vtkMRMLTextNode) -> Shown:
    """Return the nodes that a record refers to."""
    return Shown(record, *(record.GetNodeReference(_REFERENCE + part) for part in (VOLUME, *PARTS)))


def outdated_words(volume_node: slicer.vtkMRMLVolumeNode) -> tuple[str, str]:
    """Return what is said of a result whose volume was changed, and what to do."""
    return (
        _("{name} was changed after it was classified: the result is of what it was before.").format(
            name=volume_node.GetName()
        ),
        _("Classify it again."),
    )


def _records() -> list[slicer.vtkMRMLTextNode]:
    nodes = slicer.util.getNodesByClass("vtkMRMLTextNode")
    return [node for node in nodes if node.GetAttribute(ROLE_ATTRIBUTE) == RECORD_ROLE]


def _order(record: slicer.vtkMRMLTextNode) -> int:
    value = record.GetAttribute(_ORDER_ATTRIBUTE) or ""
    return int(value) if value.isdigit() else 0
