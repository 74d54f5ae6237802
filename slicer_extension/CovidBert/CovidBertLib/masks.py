"""A segmentation as it is now, for the worker that checks it and brings it onto the grid of the volume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from .geometry import index_to_patient, matrix_to_array, shape
from .i18n import tr as _
from .pieces import Memory, slabs, write_pieces
from .problems import CovidBertError, MaskError, SceneError
from .segments import KINDS, LUNGS, SegmentKind, kind_of


class MaskCopy:
    """The labels of a segmentation at one moment, and the files for the worker that they are written to.

    Labelmaps are copied as they are, whatever their grid: what they are on the grid of the volume is found out by the
    worker (`orders.labels`).

    Parameters
    ----------
    segmentation_node
        The segmentation.
    volume_node
        The volume that it belongs to.
    folder
        Private folder of the task.
    mask
        ``lungs`` (right 1, left 2) or ``lesions`` (ground-glass 1, consolidation 2).
    name
        What the files' names begin with.

    Raises
    ------
    SceneError
        If a node is gone.
    MaskError
        If the nodes are under different transforms, or segments are missing or doubled.
    """

    def __init__(
        self,
        segmentation_node: slicer.vtkMRMLSegmentationNode | None,
        volume_node: slicer.vtkMRMLScalarVolumeNode | None,
        folder: str | Path,
        mask: str = LUNGS,
        name: str = "mask",
    ) -> None:
        self._nodes = segmentation_node, volume_node
        self._mask, self._folder, self._name = mask, Path(folder), name
        self._memory = Memory()
        self._arrays: list[np.ndarray] = []
        self._names: list[str] = []
        self._revision: tuple[Any, ...] = ()
        #: Of what was taken: what `orders.labels.read_mask` reads.
        self.order: dict[str, Any] = {}
        _checked_kinds(segmentation_node, volume_node, mask)

    @property
    def size_bytes(self) -> int:
        """Bytes in memory that are copied."""
        return sum(int(_values(labelmap).nbytes) for labelmap in _labelmaps(self._nodes[0]).values())

    def reserve(self) -> Iterator[int]:
        """Take the memory, and yield the bytes of each piece; CovidBertError where it does not suffice."""
        _checked_kinds(*self._nodes, self._mask)
        return self._memory.reserve([_values(labelmap).nbytes for labelmap in _labelmaps(self._nodes[0]).values()])

    def take(self) -> None:
        """Copy the segmentation as it is now; errors are those of the class."""
        segmentation_node, volume_node = self._nodes
        kinds = _checked_kinds(segmentation_node, volume_node, self._mask)
        labelmaps = _labelmaps(segmentation_node)
        self._revision = revision(segmentation_node)
        self._arrays = [self._memory.copy(_values(labelmap)) for labelmap in labelmaps.values()]
        self._memory = Memory()
        segmentation = segmentation_node.GetSegmentation()
        segments = []
        self._names = []
        for identifier, kind in kinds.items():
            segment = segmentation.GetSegment(identifier)
            labelmap = _labelmap(segment)
            self._names.append(segment.GetName())
            segments.append(
                {
                    "layer": None if labelmap is None else list(labelmaps).index(_address(labelmap)),
                    "value": int(segment.GetLabelValue()),
                    "label": None if kind is None else kind.label,
                }
            )
        self.order = {
            "layers": [self._layer(number, labelmap) for number, labelmap in enumerate(labelmaps.values())],
            "segments": segments,
            "sizes": list(shape(volume_node)),
            "matrix": index_to_patient(volume_node).ravel().tolist(),
            "sides": self._mask == LUNGS,
        }

    def write(self) -> Iterator[int]:
        """Write the files, let the copy go, and yield the bytes of each piece.

        Raises
        ------
        MaskError
            If a file cannot be written.
        """
        arrays, self._arrays = self._arrays, []
        try:
            for array, layer in zip(arrays, self.order["layers"]):
                yield from write_pieces(slabs(array), Path(layer["raw"]))
        except OSError as error:
            raise MaskError(
                _("The mask could not be written: {reason}.").format(reason=error.strerror or _("unknown")),
                _("Make space on the disk of the temporary folder, then try again. Your edits are still in the scene."),
                "disk",
            ) from error

    def is_current(self) -> bool:
        """Return whether the segmentation is still as it was copied."""
        return revision(self._nodes[0]) == self._revision

    @property
    def voxel_milliliters(self) -> float:
        """Volume of one voxel of the volume in ml."""
        matrix = np.array(self.order["matrix"]).reshape(4, 4)
        return abs(float(np.linalg.det(matrix[:3, :3]))) / 1000

    def problem(self, found: dict[str, Any]) -> CovidBertError:
        """Return what the worker found wrong (``problem`` in what it answers) in words."""
        place = found.get("segment")
        name = self._names[place] if isinstance(place, int) and place < len(self._names) else ""
        return _in_words(str(found.get("kind")), name, self._mask)

    def _layer(self, number: int, labelmap: slicer.vtkOrientedImageData) -> dict[str, Any]:
        matrix = vtk.vtkMatrix4x4()
        labelmap.GetImageToWorldMatrix(matrix)
        return {
            "raw": str(self._folder / f"{self._name}-{number}.raw"),
            "type": self._arrays[number].dtype.str,
            "sizes": list(self._arrays[number].shape[::-1]),
            "first": [int(first) for first in labelmap.GetExtent()[::2]],
            "matrix": matrix_to_array(matrix).ravel().tolist(),
        }


def revision(segmentation_node: slicer.vtkMRMLSegmentationNode) -> tuple[Any, ...]:
    """Return what changes with every edit of a segmentation."""
    segmentation = segmentation_node.GetSegmentation()
    facts: list[Any] = [segmentation_node.GetTransformNodeID()]
    for identifier in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(identifier)
        labelmap = _labelmap(segment)
        time = None if labelmap is None else labelmap.GetMTime()
        facts.append((identifier, segment.GetName(), segment.GetLabelValue(), time))
    return tuple(facts)


def _checked_kinds(
    segmentation_node: slicer.vtkMRMLSegmentationNode | None,
    volume_node: slicer.vtkMRMLScalarVolumeNode | None,
    mask: str,
) -> dict[str, SegmentKind | None]:
    """Return which kind each segment is, by its id, after the checks that need no voxel."""
    if segmentation_node is None or segmentation_node.GetScene() is None:
        raise SceneError(_("The segmentation is no longer in the scene."), _("Choose a segmentation."))
    if volume_node is None or volume_node.GetScene() is None or volume_node.GetImageData() is None:
        raise SceneError(_("The volume is no longer in the scene."), _("Choose a volume."))
    if segmentation_node.GetTransformNodeID() != volume_node.GetTransformNodeID():
        raise MaskError(
            _("Segmentation and volume are under different transforms."),
            _("Place both under the same transform in the Data module, or under none."),
        )
    segmentation = segmentation_node.GetSegmentation()
    identifiers = segmentation.GetSegmentIDs()
    found = {identifier: kind_of(segmentation.GetSegment(identifier), identifier, mask) for identifier in identifiers}
    for kind in KINDS[mask]:
        count = list(found.values()).count(kind)
        if count != 1:
            raise _missing(kind, mask) if count == 0 else _doubled(kind)
    return found


def _labelmaps(segmentation_node: slicer.vtkMRMLSegmentationNode) -> dict[str, slicer.vtkOrientedImageData]:
    """Return the labelmaps of a segmentation by their address; segments may share them."""
    segmentation = segmentation_node.GetSegmentation()
    found = (_labelmap(segmentation.GetSegment(identifier)) for identifier in segmentation.GetSegmentIDs())
    return {_address(labelmap): labelmap for labelmap in found if labelmap is not None}


def _labelmap(segment: slicer.vtkSegment) -> slicer.vtkOrientedImageData | None:
    """Return the labelmap of a segment; None where it holds nothing."""
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    labelmap = segment.GetRepresentation(name)
    empty = labelmap is None or labelmap.IsEmpty() or labelmap.GetPointData().GetScalars() is None
    return None if empty else labelmap


def _address(labelmap: slicer.vtkOrientedImageData) -> str:
    return str(labelmap.GetAddressAsString("vtkObject"))


def _values(labelmap: slicer.vtkOrientedImageData) -> np.ndarray:
    """Return the values (k, j, i) of a labelmap, which are its own."""
    values = numpy_support.vtk_to_numpy(labelmap.GetPointData().GetScalars())
    return values.reshape(labelmap.GetDimensions()[::-1])


def _doubled(kind: SegmentKind) -> MaskError:
    return MaskError(
        _("There are two segments for '{name}'.").format(name=kind.name),
        _("Merge them with Logical operators, then remove one."),
    )


def _missing(kind: SegmentKind, mask: str) -> MaskError:
    return MaskError(
        _("The segmentation has no segment '{name}'.").format(name=kind.name),
        _("Start from the automatic result, or add segments named: {known}.").format(known=_known(mask)),
    )


def _in_words(problem: str, name: str, mask: str) -> CovidBertError:
    words = {
        "outside": (
            _("'{name}' reaches outside of the volume.").format(name=name),
            _("Erase what lies outside, for example with Scissors, or choose the volume that it was drawn on."),
        ),
        "unknown": (
            _("The segment '{name}' is none of: {known}.").format(name=name, known=_known(mask)),
            _("Merge it into one of them with Logical operators, or remove it."),
        ),
        "overlap": (
            _("'{name}' overlaps another segment.").format(name=name),
            _("In the Segment Editor choose 'Allow overlap: no', or subtract one from the other."),
        ),
        "empty": (_("Both lungs are empty."), _("Draw at least one lung before submitting.")),
        "swapped": (
            _("Right and left lung are swapped: 'right lung' lies on the patient's left."),
            _("Exchange the two segments; the right lung is on the left of an axial view."),
        ),
    }
    return MaskError(*words[problem])


def _known(mask: str) -> str:
    return ", ".join(kind.name for kind in KINDS[mask])
