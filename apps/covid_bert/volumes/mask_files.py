"""Reading masks and maps that belong to a volume: written by `volumes.writing`, or corrected elsewhere."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError

from covid_bert.errors import GeometryError, InvalidValuesError, NotFoundError, UnreadableFileError
from covid_bert.volumes.geometry import LPS_TO_RAS, set_upright
from covid_bert.volumes.itk_headers import check_data, read_fields
from covid_bert.volumes.orientation import to_canonical
from covid_bert.volumes.volume import Volume

# A voxel of the mask may lie this share of a voxel away from that of the volume: headers round.
_TOLERATED_SHIFT_VOXELS = 0.1
_DAMAGE = (OSError, EOFError, RuntimeError, ValueError, KeyError, zlib.error, ImageFileError)


def read_mask(path: str | Path, volume: Volume) -> npt.NDArray[np.uint8]:
    """Read a label mask onto the canonical grid of its volume.

    Parameters
    ----------
    path
        .nii, .nii.gz, .nrrd or .mha, on the grid of the volume's own file; its axes may be stored in another order.
    volume
        The volume that the mask belongs to.

    Returns
    -------
    npt.NDArray[np.uint8]
        (slices, rows, columns).

    Raises
    ------
    NotFoundError
        If there is no such file.
    UnreadableFileError
        If it is damaged.
    GeometryError
        If it lies on another grid.
    InvalidValuesError
        If its values are not whole numbers from 0 to 255.
    """
    array = _read(Path(path), volume)
    labels = np.rint(array).astype(np.uint8) if array.dtype.kind == "f" else array.astype(np.uint8)
    if not np.array_equal(labels, array):
        raise InvalidValuesError(
            f"'{Path(path).name}' holds other values than the whole numbers 0 to 255.", "Export it as a label map."
        )
    return set_upright(labels, volume.native.shear_rows_per_slice, outside=0, labels=True).astype(np.uint8, copy=False)


def read_map(path: str | Path, volume: Volume) -> npt.NDArray[np.generic]:
    """Read a continuous map onto the canonical grid of its volume. See `read_mask` for parameters and errors."""
    array = _read(Path(path), volume)
    return set_upright(array, volume.native.shear_rows_per_slice, outside=0.0, labels=False)


def _read(path: Path, volume: Volume) -> npt.NDArray[np.generic]:
    if not path.exists():
        raise NotFoundError(f"'{path.name}' does not exist.", "Check the path of the mask.")
    reader = _read_nifti if path.name.endswith((".nii", ".nii.gz")) else _read_itk
    expected, expected_affine = to_canonical(np.broadcast_to(np.uint8(0), volume.native.shape), volume.native.affine)
    try:
        array, affine = reader(path, volume.native.shape)
    except _DAMAGE as error:
        raise UnreadableFileError(
            f"'{path.name}' is damaged or not a mask that is read here.", "Export it as .nii.gz, .nrrd or .mha."
        ) from error
    canonical, canonical_affine = to_canonical(array, affine)
    if canonical.shape != expected.shape:
        raise _other_size(path, canonical.shape, expected.shape)
    if _largest_shift(canonical_affine, expected_affine, expected.shape) > _TOLERATED_SHIFT_VOXELS:
        differing = _differences(canonical_affine, expected_affine, expected.shape)
        raise GeometryError(
            f"'{path.name}' lies elsewhere than the study: {differing} differs.",
            "Export the mask on the grid of the study.",
        )
    return np.ascontiguousarray(canonical)


def _check_size(path: Path, shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    """Refuse another size before any voxel is read: a header may claim more than fits into memory."""
    if sorted(shape) != sorted(expected):
        raise _other_size(path, shape, expected)


def _other_size(path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> GeometryError:
    return GeometryError(
        f"'{path.name}' has another size than the study: {shape}, not {expected} voxels.",
        "Export the mask on the grid of the study.",
    )


def _largest_shift(
    affine: npt.NDArray[np.float64], reference: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> float:
    """Largest distance between the corners of two grids, in voxels of the reference."""
    slices, rows, columns = (size - 1 for size in shape)
    corners = np.array([[i, j, k, 1] for i in (0, columns) for j in (0, rows) for k in (0, slices)], float).T
    return float(np.abs((np.linalg.inv(reference) @ affine @ corners - corners)[:3]).max())


def _differences(affine: npt.NDArray[np.float64], reference: npt.NDArray[np.float64], shape: tuple[int, ...]) -> str:
    """Name what differs: each part alone is put into the reference and would shift it."""
    norms, expected_norms = (np.linalg.norm(matrix[:3, :3], axis=0) for matrix in (affine, reference))
    spacing, direction, origin = reference.copy(), reference.copy(), reference.copy()
    spacing[:3, :3] = reference[:3, :3] / expected_norms * norms
    direction[:3, :3] = affine[:3, :3] / norms * expected_norms
    origin[:3, 3] = affine[:3, 3]
    parts = {"the spacing": spacing, "the direction": direction, "the origin": origin}
    found = [name for name, part in parts.items() if _largest_shift(part, reference, shape) > _TOLERATED_SHIFT_VOXELS]
    return " and ".join(found) or "the sum of spacing, direction and origin"


def _read_nifti(path: Path, expected: tuple[int, int, int]) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float64]]:
    image = nibabel.load(path)
    _check_size(path, image.shape, expected)
    return np.asanyarray(image.dataobj), image.affine


def _read_itk(path: Path, expected: tuple[int, int, int]) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float64]]:
    import itk

    fields = read_fields(path)
    _check_size(path, tuple(int(size) for size in fields.get("dimsize", fields.get("sizes", "")).split()), expected)
    check_data(path, fields)
    image = itk.imread(str(path))
    lps = np.eye(4)
    lps[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return itk.array_from_image(image).transpose(2, 1, 0), LPS_TO_RAS @ lps
