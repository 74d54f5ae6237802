"""Reading NIfTI-1 and NIfTI-2 files (.nii, .nii.gz)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError, ImageDataError
from nibabel.wrapstruct import WrapStructError

from covid_bert.errors import DimensionError, GeometryError, UnreadableFileError
from covid_bert.volumes.assembly import assemble, check_shape
from covid_bert.volumes.geometry import LPS_TO_RAS
from covid_bert.volumes.volume import Source, Volume

# What the low three bits of xyzt_units mean, in mm; 0 is "unknown", which every program takes for mm.
_UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_TRAILING_BYTES = 16 * 2**20
_DAMAGE = (OSError, EOFError, zlib.error, ValueError, HeaderDataError, ImageDataError, WrapStructError)


def read_nifti(path: Path) -> Volume:
    """Read one NIfTI file in Hounsfield units.

    The sform is used where its code is set, else the qform. Without either code the axes are taken as (left,
    posterior, superior), as ITK and 3D Slicer do, and a warning says so.

    Raises
    ------
    UnreadableFileError
        If the file is truncated, damaged (a wrong gzip checksum too) or not NIfTI.
    InputError
        If its shape, geometry or values are not those of a chest CT.
    """
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as stream:
            image = _open_image(cast(BinaryIO, stream), path.name)
            shape = check_shape(image.shape, path.name)
            affine, warnings = _affine(image.header, path.name)
            array = _values(image, path.name).reshape(shape)
            _finish(cast(BinaryIO, stream))
    except _DAMAGE as error:
        raise UnreadableFileError(
            f"'{path.name}' is truncated, damaged or not a NIfTI file.",
            "Copy or export the file again; compressed files must end in .nii.gz, others in .nii.",
        ) from error
    return assemble(array, affine, Source(path, "nifti"), warnings)


def _open_image(stream: BinaryIO, name: str) -> nibabel.Nifti1Image:
    size = stream.read(4)
    stream.seek(0)
    is_nifti2 = 540 in (int.from_bytes(size, "little"), int.from_bytes(size, "big"))
    image_class = nibabel.Nifti2Image if is_nifti2 else nibabel.Nifti1Image
    # Unchecked first: nibabel mends negative spacings silently.
    raw = image_class.header_class(stream.read(image_class.header_class.sizeof_hdr), check=False)
    if bytes(raw["magic"].tobytes())[:3] not in (b"n+1", b"n+2"):
        raise ValueError("the header is not that of one NIfTI file")
    spacing = np.asarray(raw["pixdim"][1:4], dtype=np.float64)
    if not np.all((spacing > 0) & np.isfinite(spacing)):
        raise GeometryError(
            f"The voxel spacing of '{name}' is impossible: {' x '.join(f'{value:g}' for value in spacing)} mm.",
            "Export the study again from the original DICOM files.",
        )
    stream.seek(0)
    return image_class.from_file_map({"image": FileHolder(fileobj=stream)}, mmap=False)


def _affine(header: nibabel.Nifti1Header, name: str) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """Return the index-to-RAS affine in mm, and warnings about it."""
    warnings: tuple[str, ...] = ()
    try:
        sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    except (HeaderDataError, ValueError) as error:
        raise GeometryError(
            f"The direction stored in '{name}' is not a rotation.",
            "Export the study again from the DICOM files.",
        ) from error
    if sform is not None:
        affine = sform
        if qform is not None and np.all(np.isfinite(sform)) and _axis_codes(sform) != _axis_codes(qform):
            warnings = (
                f"The two directions stored in the file (sform {_axis_codes(sform)}, qform {_axis_codes(qform)}) "
                "disagree; the sform was used. Check left and right.",
            )
    elif qform is not None:
        affine = qform
    else:
        affine = LPS_TO_RAS @ np.diag([*header.get_zooms()[:3], 1.0])
        warnings = (
            "The file does not say how the patient lies; left and right are assumed from the order of the stored "
            "axes. Check left and right.",
        )
    scale = _UNITS_MM.get(int(header["xyzt_units"]) & 7, 1.0)
    return np.diag([scale, scale, scale, 1.0]) @ affine.astype(np.float64), warnings


def _axis_codes(affine: npt.NDArray[np.float64]) -> str:
    return "".join(code or "?" for code in nibabel.aff2axcodes(affine))


def _values(image: nibabel.Nifti1Image, name: str) -> npt.NDArray[np.generic]:
    stored = image.get_data_dtype()
    if stored.fields is not None or stored.kind == "c":
        raise DimensionError(
            f"'{name}' holds colours or complex numbers.",
            "Give the CT in Hounsfield units, one value for each voxel.",
        )
    # nibabel moves both from the header to the data when it loads a file.
    if image.dataobj.slope == 1.0 and image.dataobj.inter == 0.0:
        return np.asanyarray(image.dataobj.get_unscaled())
    return np.asanyarray(image.dataobj, dtype=np.float32)


def _finish(stream: BinaryIO) -> None:
    """Read to the end of the file, where gzip's checksum is compared."""
    remaining = _TRAILING_BYTES
    while block := stream.read(2**20):
        remaining -= len(block)
        if remaining < 0:
            raise ValueError("the file goes on long after the image")
