"""The location map over the CT: colours, transparency, legend, and whether the slice views show it."""

from __future__ import annotations

import numpy as np
import slicer

from .geometry import array_to_matrix, index_to_patient
from .i18n import tr as _
from .labelmaps import fill_image

OPACITY = 0.5
# In percent: below it the map is transparent.
THRESHOLD = 20.0
HIGHEST = 100.0
LEGEND_LABELS = 6
# Shares of a view: at Slicer's own size, title and numbers cover a lung. The letters follow the size.
LEGEND_SIZE = (0.08, 0.4)
LEGEND_PLACE = (0.98, 0.5)
_STORED_HIGHEST = 255
_COLOURS_ATTRIBUTE = "CovidBert.LocationColours"
_STEPS = 256
# Of the form of `_colours`: a table of another one, in a scene that was saved before, is not taken.
_COLOURS_FORM = "2"
# Dark to bright red at even places: it grows lighter, is never grey as the CT is, and stays apart from the segments'
# colours with any colour vision.
_REDS = (
    (64, 0, 10),
    (128, 0, 16),
    (184, 0, 24),
    (232, 32, 42),
    (255, 90, 80),
)


def add_location_map(
    volume_node: slicer.vtkMRMLScalarVolumeNode, values: np.ndarray, name: str, title: str
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a location map as a volume with colours and legend; the views do not show it yet (`show_overlay`).

    Parameters
    ----------
    volume_node
        The CT.
    values
        uint8 (k, j, i) on its grid, 0 to 255 for 0 to 100 %; kept as whole percent, which data probe and legend say.
    name
        Of the new node.
    title
        Of the legend.
    """
    # By a table: arithmetic on the whole volume would hold the window for seconds.
    table = np.rint(np.arange(_STORED_HIGHEST + 1) * (HIGHEST / _STORED_HIGHEST)).astype(np.uint8)
    percent = table[values]
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    image = slicer.vtkOrientedImageData()
    fill_image(image, percent)
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(array_to_matrix(index_to_patient(volume_node)))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(_colours().GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, HIGHEST)
    display.SetInterpolate(True)
    set_threshold(node, THRESHOLD)
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText(title)
    legend.SetLabelFormat("%.0f")  # a percent sign comes out doubled: the title has it
    legend.SetNumberOfLabels(LEGEND_LABELS)
    legend.SetSize(*LEGEND_SIZE)
    legend.SetPosition(*LEGEND_PLACE)
    return node


def map_colour(percent: float) -> tuple[float, float, float]:
    """Return red, green and blue in [0, 1] of a value of the map in percent."""
    anchors = np.array(_REDS, float) / 255
    places = np.linspace(0.0, HIGHEST, len(anchors))
    red, green, blue = (float(np.interp(percent, places, channel)) for channel in anchors.T)
    return red, green, blue


def set_threshold(location_node: slicer.vtkMRMLScalarVolumeNode, percent: float) -> None:
    """Make a location map transparent below a value in [0, 100]."""
    display = location_node.GetDisplayNode()
    display.AutoThresholdOff()
    display.SetThreshold(min(max(percent, 1.0), HIGHEST), HIGHEST)  # 0 is outside the lungs and never shown
    display.ApplyThresholdOn()


def show_overlay(
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    location_node: slicer.vtkMRMLScalarVolumeNode,
    opacity: float = OPACITY,
) -> None:
    """Show a location map over its volume in all slice views, with its legend.

    Parameters
    ----------
    volume_node, location_node
        The CT, which becomes the background, and its map, which becomes the foreground.
    opacity
        Of the map, in [0, 1].
    """
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(volume_node.GetID())
        composite.SetForegroundVolumeID(location_node.GetID())
        composite.SetForegroundOpacity(opacity)
    _show_legend(location_node, True)


def hide_overlay(location_node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Take a location map and its legend out of the slice views; other foregrounds stay."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetForegroundVolumeID() == location_node.GetID():
            composite.SetForegroundVolumeID(None)
    _show_legend(location_node, False)


def overlay_shown(location_node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether a slice view has the map as its foreground."""
    return any(
        composite.GetForegroundVolumeID() == location_node.GetID()
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    )


def legend_of(location_node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLColorLegendDisplayNode | None:
    """Return the legend of a location map; None if it was deleted."""
    return slicer.modules.colors.logic().GetColorLegendDisplayNode(location_node)


def _show_legend(location_node: slicer.vtkMRMLScalarVolumeNode, visible: bool) -> None:
    legend = legend_of(location_node)
    if legend is not None:
        legend.SetVisibility(visible)
        legend.Modified()  # the views look at their foreground anew


def _colours() -> slicer.vtkMRMLColorTableNode:
    """Return the colours of location maps; one table for all maps of a scene."""
    for known in slicer.util.getNodesByClass("vtkMRMLColorTableNode"):
        if known.GetAttribute(_COLOURS_ATTRIBUTE) == _COLOURS_FORM:
            return known
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", _("Location map colours"))
    node.SetTypeToUser()
    node.SetAttribute(_COLOURS_ATTRIBUTE, _COLOURS_FORM)
    node.SetAttribute("Category", "COVID-BERT")
    node.SetNumberOfColors(_STEPS)
    for step, percent in enumerate(np.linspace(0.0, HIGHEST, _STEPS)):
        node.SetColor(step, *map_colour(float(percent)), 1.0)
    node.SetNamesFromColors()
    return node
