"""From a result to nodes of the scene. Each call makes new nodes: what was edited is never overwritten, but hidden."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import slicer

from .correction import note_automatic
from .export import check_volume
from .geometry import slice_axis
from .i18n import tr as _
from .labelmaps import oriented_labelmap, read_on_grid
from .overlay import add_location_map, hide_overlay, legend_of
from .problems import ResultError
from .result import Result
from .segments import KINDS, add_segments
from .stored import LESIONS, LOCATION, LUNGS, ROLE_ATTRIBUTE, VOLUME, Shown, add_record, find, find_all, shown_of
from .visibility import hide_older

__all__ = ["Shown", "find", "find_all", "remove", "show"]

# The CT must be seen through a lesion's fill and the map over it; the outline shows where it ends.
_FILL, _OUTLINE = 0.15, 1.0
_LUNGS_3D, _LESIONS_3D = 0.3, 1.0
_LARGEST_LABEL = 2
_LARGEST_MAP_VALUE = 255


def show(volume_node: slicer.vtkMRMLScalarVolumeNode, result: Result, files: Mapping[str, str | Path]) -> Shown:
    """Show a result.

    Parameters
    ----------
    volume_node
        The volume that was classified.
    result
        Its result.
    files
        Downloaded masks and map by ``lungs``, ``lesions`` and ``location``; any of them may be missing.

    Returns
    -------
    The new nodes, under the volume in the subject hierarchy and under its transform. What is shown of the volume's
    older results is hidden; else slice views are left as they are.

    Raises
    ------
    SceneError
        If the volume is gone.
    ResultError
        If the result or a file does not fit the volume; then no node is added.
    """
    check_volume(volume_node)
    _check_slices(volume_node, result)
    labels = {
        mask: read_on_grid(files[mask], volume_node, highest=_LARGEST_LABEL)
        for mask in (LUNGS, LESIONS)
        if mask in files
    }
    location = read_on_grid(files[LOCATION], volume_node, highest=_LARGEST_MAP_VALUE) if LOCATION in files else None
    nodes: dict[str, slicer.vtkMRMLNode | None] = {VOLUME: volume_node}
    for mask, values in labels.items():
        nodes[mask] = _add_segmentation(volume_node, values, mask)
    if location is not None:
        nodes[LOCATION] = add_location_map(volume_node, location, _name(volume_node, LOCATION), _map_title(result))
        _place(nodes[LOCATION], volume_node, LOCATION)
    record = add_record(_name(volume_node, "result"), result, nodes)
    _nest(record, volume_node)
    shown = shown_of(record)
    hide_older(shown)
    return shown


def _check_slices(volume_node: slicer.vtkMRMLScalarVolumeNode, result: Result) -> None:
    """Refuse a result of another number of slices: its evidence would point to wrong places."""
    count = slice_axis(volume_node).count
    if result.study.slice_count != count:
        raise ResultError(
            _("The result is of {given} slices, the volume has {count}: it belongs to another image.").format(
                given=result.study.slice_count, count=count
            ),
            _("Classify the volume again."),
        )


def remove(shown: Shown) -> None:
    """Remove the nodes of a result; the volume stays."""
    if shown.location is not None:
        hide_overlay(shown.location)
        legend = legend_of(shown.location)
        if legend is not None:
            slicer.mrmlScene.RemoveNode(legend)
    for node in (shown.lungs, shown.lesions, shown.location, shown.record):
        if node is not None and node.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(node)


def _add_segmentation(
    volume_node: slicer.vtkMRMLScalarVolumeNode, values: np.ndarray, mask: str
) -> slicer.vtkMRMLSegmentationNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", _name(volume_node, mask))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    add_segments(node, oriented_labelmap(values, volume_node), mask)
    note_automatic(node, values)
    display = node.GetDisplayNode()
    display.SetOpacity2DFill(_FILL)
    display.SetOpacity2DOutline(_OUTLINE)
    for kind in KINDS[mask]:
        display.SetSegmentOpacity3D(kind.identifier, _LUNGS_3D if mask == LUNGS else _LESIONS_3D)
    _place(node, volume_node, mask)
    return node


def _place(node: slicer.vtkMRMLTransformableNode, volume_node: slicer.vtkMRMLScalarVolumeNode, role: str) -> None:
    node.SetAttribute(ROLE_ATTRIBUTE, role)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    _nest(node, volume_node)


def _nest(node: slicer.vtkMRMLNode, volume_node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Put a node under the volume in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    parent = hierarchy.GetItemByDataNode(volume_node)
    if not parent:
        parent = hierarchy.CreateItem(hierarchy.GetSceneItemID(), volume_node)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def _name(volume_node: slicer.vtkMRMLScalarVolumeNode, part: str) -> str:
    """Return a name that no node has: results of one volume are told apart, in the scene and as files of it."""
    what = {
        LUNGS: _("lungs"),
        LESIONS: _("lesions"),
        LOCATION: _("location map"),
        "result": _("COVID-BERT result"),
    }[part]
    return slicer.mrmlScene.GenerateUniqueName(f"{volume_node.GetName()} {what}")


def _map_title(result: Result) -> str:
    """Return what the map's numbers are, for its legend."""
    if result.is_untrained:
        return _("UNTRAINED: no meaning, %")
    if result.location is not None and "lesion" in result.location.method:
        return _("Lesion probability, %")
    return _("Location, % of maximum")
