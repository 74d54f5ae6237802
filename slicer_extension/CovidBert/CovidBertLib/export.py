"""From a volume node to the file that the worker sends: voxels as int16 and where they lie, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from . import fingerprint
from .geometry import LPS_TO_RAS, index_to_patient, shape, slice_axis
from .i18n import tr as _
from .pieces import Memory, slabs, write_pieces
from .problems import ExportError, SceneError

SMALLEST_SLICES = 8
RAW_FILE = "volume.raw"
# Of values with fractions: a CT spans more than this, while grey levels from 0 to 1 would be lost by rounding.
SMALLEST_SPAN = 256.0
_LIMITS = np.iinfo(np.int16)
_VOXEL_BYTES = 2


class VolumeCopy:
    """The voxels of a CT volume at one moment, and the file for the worker that they are written to.

    Parameters
    ----------
    volume_node
        The volume; transforms that it is placed under are left out, as results are placed under the same ones.
    folder
        Private folder of the task.

    Raises
    ------
    SceneError
        If the volume is gone.
    ExportError
        If it cannot be a CT, by what is known without looking at voxels.
    """

    def __init__(self, volume_node: slicer.vtkMRMLScalarVolumeNode, folder: str | Path) -> None:
        check_volume(volume_node)
        self._node, self._memory = volume_node, Memory()
        self._path = Path(folder) / RAW_FILE
        self._array: np.ndarray | None = None
        #: Of what was taken: ``raw``: path of the voxels, little-endian int16, i fastest; ``header``: ``type``,
        #: ``endian``, ``sizes`` along (i, j, k), ``directions`` of i, j and k from voxel to voxel in mm, and ``origin``
        #: in mm, both in LPS.
        self.order: dict[str, Any] = {}
        #: `fingerprint.of_image` of what was taken.
        self.content = ""

    @property
    def size_bytes(self) -> int:
        """Bytes in memory that are copied."""
        return int(slicer.util.arrayFromVolume(self._node).nbytes)

    def reserve(self) -> Iterator[int]:
        """Take the memory, and yield the bytes of each piece; CovidBertError where it does not suffice."""
        check_volume(self._node)
        return self._memory.reserve([self.size_bytes])

    def take(self) -> None:
        """Copy the volume as it is now; errors are those of the class."""
        check_volume(self._node)
        affine = LPS_TO_RAS @ index_to_patient(self._node)
        self._array = self._memory.copy(slicer.util.arrayFromVolume(self._node))
        self.content = fingerprint.of_image(self._node)
        self._memory = Memory()
        self.order = {
            "raw": str(self._path),
            "header": {
                "type": "int16",
                "endian": "little",
                "sizes": list(shape(self._node)),
                "directions": affine[:3, :3].T.tolist(),
                "origin": affine[:3, 3].tolist(),
            },
        }

    def write(self) -> Iterator[int]:
        """Write the file, let the copy go, and yield the bytes of memory that each piece was made of.

        Raises
        ------
        ExportError
            If the values cannot be those of a CT, or the file cannot be written.
        """
        array, self._array = self._array, None
        try:
            for size in write_pieces(_whole_numbers(array), self._path):
                yield size * array.itemsize // _VOXEL_BYTES
        except OSError as error:
            _remove(self._path)
            raise ExportError(
                _("The volume could not be written for sending: {reason}.").format(
                    reason=error.strerror or _("unknown")
                ),
                _("Make space on the disk of the temporary folder, then try again."),
                "disk",
            ) from error
        except ExportError:
            _remove(self._path)
            raise


def is_unchanged(volume_node: slicer.vtkMRMLScalarVolumeNode, exported: dict[str, Any]) -> bool:
    """Return whether a volume still holds what was written of it.

    Parameters
    ----------
    volume_node
        The volume.
    exported
        `VolumeCopy.order` of then; its file is still there.

    Returns
    -------
    False also where the file can no longer be read: what a result is about is then not known.
    """
    header = exported["header"]
    affine = LPS_TO_RAS @ index_to_patient(volume_node)
    geometry = [affine[:3, :3].T.tolist(), affine[:3, 3].tolist(), list(shape(volume_node))]
    if geometry != [header["directions"], header["origin"], header["sizes"]]:
        return False
    try:
        sent = np.memmap(exported["raw"], dtype="<i2", mode="r", shape=tuple(header["sizes"][::-1]))
    except (OSError, ValueError):
        return False
    slabs = zip(slicer.util.arrayFromVolume(volume_node), sent)
    return all(np.array_equal(np.rint(slab) if slab.dtype.kind == "f" else slab, written) for slab, written in slabs)


def check_volume(volume_node: slicer.vtkMRMLNode | None) -> None:
    """Refuse what cannot be a chest CT, by what is known without looking at voxels.

    Raises
    ------
    SceneError
        If there is no volume, or it is no longer in the scene.
    ExportError
        If it is not a scalar volume of at least 8 slices.
    """
    if volume_node is None or volume_node.GetScene() is None:
        raise SceneError(_("The volume is no longer in the scene."), _("Choose a volume."))
    choose = _("Choose the CT volume itself.")
    if volume_node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise ExportError(_("A label map is not a CT."), choose)
    if not volume_node.IsA("vtkMRMLScalarVolumeNode") or volume_node.IsA("vtkMRMLTensorVolumeNode"):
        raise ExportError(_("This is a colour, vector or tensor volume, not a CT."), choose)
    image = volume_node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0:
        raise ExportError(_("The volume holds no image."), _("Load the study again."))
    if image.GetNumberOfScalarComponents() != 1:
        raise ExportError(_("The volume holds colours or vectors, not CT values."), choose)
    affine = index_to_patient(volume_node)
    if not np.all(np.isfinite(affine)) or np.any(np.linalg.norm(affine[:3, :3], axis=0) == 0):
        raise ExportError(_("The volume has no valid voxel size or position."), _("Load the study again from DICOM."))
    if min(shape(volume_node)) == 1:
        raise ExportError(_("The volume is a single image."), _("Choose a chest CT of all its slices."))
    count = slice_axis(volume_node).count
    if count < SMALLEST_SLICES or min(shape(volume_node)) < SMALLEST_SLICES:
        raise ExportError(
            _("The volume has {count} slices or rows; at least {least} are needed.").format(
                count=min(shape(volume_node)), least=SMALLEST_SLICES
            ),
            _("Choose a chest CT of all its slices."),
        )


def _whole_numbers(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield an array as int16 in pieces; ExportError once a value shows that it is no CT."""
    if array.dtype == np.int16:
        # Each of its values can be one of a CT: it is not even looked at.
        yield from (slab.astype("<i2", copy=False) for slab in slabs(array))
        return
    lowest, highest, fractions = np.inf, -np.inf, False
    for slab in slabs(array):
        values = slab
        if slab.dtype.kind == "f":
            if not np.all(np.isfinite(slab)):
                raise ExportError(
                    _("The volume holds values that are not numbers."),
                    _("Replace them by -1024 HU, for example with Simple Filters, or load the study again."),
                )
            values = np.rint(slab)
            fractions = fractions or not np.array_equal(values, slab)
        lowest, highest = min(lowest, float(values.min())), max(highest, float(values.max()))
        if lowest < _LIMITS.min or highest > _LIMITS.max:
            raise ExportError(
                _("The volume holds values beyond those of a CT: {lowest:g} to {highest:g}.").format(
                    lowest=lowest, highest=highest
                ),
                _("Choose the CT volume in Hounsfield units."),
            )
        yield values.astype("<i2")
    if fractions and highest - lowest < SMALLEST_SPAN:
        raise ExportError(
            _("The volume holds values from {lowest:g} to {highest:g} with fractions: not Hounsfield units.").format(
                lowest=lowest, highest=highest
            ),
            _("Choose the CT volume in Hounsfield units, before any normalisation."),
        )


def _remove(path: Path) -> None:
    """Remove what was begun; a folder that cannot be written to now is emptied with the task."""
    try:
        path.unlink()
    except OSError:
        return
