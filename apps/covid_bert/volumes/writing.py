"""Writing masks and maps onto the grid of the file that the volume was read from."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt

from covid_bert.errors import GeometryError, OutputError, ParameterError
from covid_bert.files import replacing
from covid_bert.volumes.geometry import LPS_TO_RAS, restore_tilt
from covid_bert.volumes.orientation import NativeGrid, to_native
from covid_bert.volumes.volume import Volume

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
_SCANNER = 1


def write_mask(
    mask: npt.NDArray[np.generic], volume: Volume, path: str | Path, *, names: dict[str, int] | None = None
) -> Path:
    """Write a label mask with the shape and affine of the volume's own file.

    Parameters
    ----------
    mask
        (slices, rows, columns) on the canonical grid of `volume`; boolean, or integers 0 to 255.
    volume
        The volume that the mask belongs to. For a DICOM series the written axes are (columns, rows, slices), slices
        along the slice normal.
    path
        Ends in .nii.gz, .nii, .nrrd (also .seg.nrrd) or .mha. Written under another name first, so that a reader
        never sees half a file.
    names
        Segment name to label value: kept as 3D Slicer's segment fields in NRRD, as a comment in NIfTI.

    Returns
    -------
    The path.

    Raises
    ------
    ParameterError
        If shape, values or suffix are wrong.
    GeometryError
        If the format cannot hold the tilted grid.
    OutputError
        If the file cannot be written.
    """
    if mask.dtype.kind not in "bui" or (mask.size and not 0 <= int(mask.min()) <= int(mask.max()) <= 255):
        raise ParameterError("A mask must hold whole numbers from 0 to 255.", "Convert the mask to uint8 labels.")
    return _write(mask.astype(np.uint8), volume, Path(path), names or {}, labels=True)


def write_map(values: npt.NDArray[np.generic], volume: Volume, path: str | Path) -> Path:
    """Write a continuous map (uint8 or floating point, stored as float32) on the grid of the volume's own file.

    Parameters, returned path and errors are those of `write_mask`; on tilted slices values are interpolated linearly.
    """
    if values.dtype != np.uint8:
        if values.dtype.kind != "f":
            raise ParameterError("A map must be uint8 or floating point.", "Use write_mask for labels.")
        values = values.astype(np.float32)
    return _write(values, volume, Path(path), {}, labels=False)


def write_study(volume: Volume, path: str | Path) -> Path:
    """Write the values of a study as one image on the grid of its own files, of which nothing else is kept.

    Parameters, returned path and errors are those of `write_mask`; on tilted slices values are interpolated linearly.
    """
    return _write(volume.array, volume, Path(path), {}, labels=False)


def on_file_grid(array: npt.NDArray[np.generic], volume: Volume, *, labels: bool = True) -> npt.NDArray[np.generic]:
    """Bring a mask or map from a volume's canonical grid back onto the grid of its own file.

    Parameters
    ----------
    array
        (slices, rows, columns) on the canonical grid of `volume`.
    volume
        The volume.
    labels
        True for labels; False for values, which are interpolated where slices are tilted.

    Returns
    -------
    npt.NDArray[np.generic]
        (i, j, k) as in the file; for DICOM (columns, rows, slices), slices along the slice normal.
    """
    return to_native(restore_tilt(array, volume.native.shear_rows_per_slice, labels=labels), volume.native)


def _write(array: npt.NDArray[np.generic], volume: Volume, path: Path, names: dict[str, int], *, labels: bool) -> Path:
    suffix = next((known for known in _SUFFIXES if path.name.lower().endswith(known)), None)
    if suffix is None:
        raise ParameterError(
            f"'{path.name}' is not a format that masks are written in.", f"Use one of {', '.join(_SUFFIXES)}."
        )
    if array.shape != volume.shape:
        raise ParameterError(
            f"The mask has the shape {array.shape}, the volume {volume.shape}.",
            "Give a mask of this very volume.",
        )
    if suffix == ".mha" and volume.native.shear_rows_per_slice:
        raise GeometryError(
            "MetaImage cannot hold slices with a gantry tilt.", "Write the mask as .nrrd or .nii.gz instead."
        )
    native = on_file_grid(array, volume, labels=labels)
    try:
        with replacing(path) as temporary:
            if suffix in (".nii", ".nii.gz"):
                _write_nifti(native, volume.native, temporary, names)
            else:
                _write_itk(native, volume.native, temporary, names)
    except (OSError, RuntimeError) as error:
        raise OutputError(
            "The image could not be written.", "Check that its folder exists, may be written to and has space."
        ) from error
    return path


def _write_nifti(array: npt.NDArray[np.generic], grid: NativeGrid, path: Path, names: dict[str, int]) -> None:
    image = nibabel.Nifti1Image(array, grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, _SCANNER)
    # A qform cannot hold the shear of a gantry tilt.
    image.set_qform(None if grid.shear_rows_per_slice else grid.affine, 0 if grid.shear_rows_per_slice else _SCANNER)
    if names:
        image.header.extensions.append(
            nibabel.nifti1.Nifti1Extension("comment", json.dumps({"labels": names}).encode())
        )
    nibabel.save(image, path)


def _write_itk(array: npt.NDArray[np.generic], grid: NativeGrid, path: Path, names: dict[str, int]) -> None:
    import itk  # takes seconds, and NIfTI needs none of it

    lps = LPS_TO_RAS @ grid.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = itk.image_from_array(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing([float(value) for value in spacing])
    image.SetOrigin([float(value) for value in lps[:3, 3]])
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing)))
    if path.suffix == ".nrrd":
        extent = " ".join(f"0 {size - 1}" for size in array.shape)
        metadata = image.GetMetaDataDictionary()
        for number, (name, label) in enumerate(names.items()):
            for field, value in (
                ("ID", f"Segment_{label}"),
                ("Name", name),
                ("LabelValue", str(label)),
                ("Layer", "0"),
                ("Extent", extent),
            ):
                metadata[f"Segment{number}_{field}"] = value
    itk.imwrite(image, str(path), compression=True)
