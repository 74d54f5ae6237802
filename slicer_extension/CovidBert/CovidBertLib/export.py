"""From a volume node to the file that the worker sends: voxels as int16 and where they lie, and no more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from .geometry import LPS_TO_RAS, index_to_patient, shape, slice_axis
from .i18n import tr as _
from .problems import ExportError, SceneError

SMALLEST_SLICES = 8
RAW_FILE = "volume.raw"
# Of values with fractions: a CT spans more than this, while grey levels from 0 to 1 would be lost by rounding.
SMALLEST_SPAN = 256.0
_LIMITS = np.iinfo(np.int16)
_OWNER_ONLY = 0o600


def export_volume(volume_node: slicer.vtkMRMLScalarVolumeNode, folder: str | Path) -> dict[str, Any]:
    """Write the voxels of a CT volume for the worker.

    Parameters
    ----------
    volume_node
        The volume; transforms that it is placed under are left out, as results are placed under the same ones.
    folder
        Private folder of the task.

    Returns
    -------
    ``raw``: path of the voxels, little-endian int16, i fastest; ``header``: ``type``, ``endian``, ``sizes`` along
    (i, j, k), ``directions`` of i, j and k from voxel to voxel in mm, and ``origin`` in mm, both in LPS.

    Raises
    ------
    SceneError
        If the volume is gone.
    ExportError
        If it cannot be a CT, or the file cannot be written.
    """
    check_volume(volume_node)
    affine = LPS_TO_RAS @ index_to_patient(volume_node)
    path = Path(folder) / RAW_FILE
    try:
        _write(slicer.util.arrayFromVolume(volume_node), path)
    except OSError as error:
        _remove(path)
        raise ExportError(
            _("The volume could not be written for sending: {reason}.").format(reason=error.strerror or _("unknown")),
            _("Make space on the disk of the temporary folder, then try again."),
            "disk",
        ) from error
    except ExportError:
        _remove(path)
        raise
    return {
        "raw": str(path),
        "header": {
            "type": "int16",
            "endian": "little",
            "sizes": list(shape(volume_node)),
            "directions": affine[:3, :3].T.tolist(),
            "origin": affine[:3, 3].tolist(),
        },
    }


def is_unchanged(volume_node: slicer.vtkMRMLScalarVolumeNode, exported: dict[str, Any]) -> bool:
    """Return whether a volume still holds what was written of it.

    Parameters
    ----------
    volume_node
        The volume.
    exported
        What `export_volume` returned; its file is still there.

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


def _write(array: np.ndarray, path: Path) -> None:
    """Write an array slab by slab, so that no second volume lies in memory."""
    lowest, highest, fractions = np.inf, -np.inf, False
    with os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, _OWNER_ONLY), "wb") as file:
        for slab in array:
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
            file.write(np.ascontiguousarray(values, dtype="<i2").tobytes())
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
