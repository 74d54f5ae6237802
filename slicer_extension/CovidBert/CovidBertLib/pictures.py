"""Pictures of the slice views as they are on the screen, for the report.

What the application writes into the corners of a view, which may be the patient's name, is left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
import vtk

from .geometry import matrix_to_array
from .i18n import tr as _

VIEWS = ("Red", "Green", "Yellow")
# Of the axes of the patient, towards larger and smaller values, as 3D Slicer names them.
_LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))
_PLAIN = 0.9  # cosine from which a view counts as axial, coronal or sagittal


@dataclass(frozen=True)
class Picture:
    """One view.

    Parameters
    ----------
    image
        A ``QImage``.
    title
        Which plane, and where.
    left, right, top, bottom
        Letter of the patient's side at each edge.
    """

    image: Any
    title: str
    left: str
    right: str
    top: str
    bottom: str


def grab(volume_node: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> list[Picture]:
    """Return pictures of the slice views that show a volume, as the user sees them.

    Parameters
    ----------
    volume_node
        The study.
    folder
        Private folder for files that are removed at once.

    Returns
    -------
    Red, green and yellow view, without those that the layout hides or that show another volume.
    """
    manager = slicer.app.layoutManager()
    pictures = []
    for name in VIEWS:
        widget = manager.sliceWidget(name) if manager is not None else None
        if widget is None or not widget.mrmlSliceNode().IsMappedInLayout():
            continue
        if widget.sliceLogic().GetSliceCompositeNode().GetBackgroundVolumeID() == volume_node.GetID():
            matrix = matrix_to_array(widget.mrmlSliceNode().GetSliceToRAS())
            image = _image(widget.sliceView().renderWindow(), folder)
            if not image.isNull():
                pictures.append(Picture(image, _title(matrix), *_edges(matrix)))
    return pictures


def _image(window: Any, folder: Path) -> Any:
    """Return what a window shows, without the texts in its corners."""
    with _without_corner_texts(window):
        window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
    image = qt.QImage()
    with tempfile.TemporaryDirectory(dir=folder) as private:
        path = str(Path(private) / "view.png")
        writer = vtk.vtkPNGWriter()
        writer.SetInputConnection(grabber.GetOutputPort())
        writer.SetFileName(path)
        writer.Write()
        image.load(path)
    return image


@contextmanager
def _without_corner_texts(window: Any) -> Iterator[None]:
    texts = []
    renderers = window.GetRenderers()
    for place in range(renderers.GetNumberOfItems()):
        props = renderers.GetItemAsObject(place).GetViewProps()
        each = [props.GetItemAsObject(number) for number in range(props.GetNumberOfItems())]
        texts += [prop for prop in each if prop.IsA("vtkCornerAnnotation") and prop.GetVisibility()]
    for prop in texts:
        prop.SetVisibility(False)
    try:
        yield
    finally:
        for prop in texts:
            prop.SetVisibility(True)


def _title(slice_to_ras: np.ndarray) -> str:
    """Return the plane and its position, such as ``Axial, S 12.5 mm``."""
    normal = slice_to_ras[:3, 2]
    axis = int(np.argmax(np.abs(normal)))
    if abs(normal[axis]) < _PLAIN:
        return _("Oblique")
    place = float(slice_to_ras[axis, 3])
    letter = _LETTERS[axis][0 if place >= 0 else 1]
    plane = (_("Sagittal"), _("Coronal"), _("Axial"))[axis]
    return f"{plane}, {letter} {abs(place):.1f} mm"


def _edges(slice_to_ras: np.ndarray) -> tuple[str, str, str, str]:
    """Return the letters at the left, right, top and bottom edge."""
    across, up = slice_to_ras[:3, 0], slice_to_ras[:3, 1]
    return _letter(-across), _letter(across), _letter(up), _letter(-up)


def _letter(direction: np.ndarray) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return _LETTERS[axis][0 if direction[axis] > 0 else 1]
