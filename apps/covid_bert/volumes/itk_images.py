"""Reading NRRD (.nrrd, .nhdr) and MetaImage (.mha, .mhd) files through ITK."""

from __future__ import annotations

from pathlib import Path

import itk
import numpy as np

from covid_bert.errors import DimensionError, GeometryError
from covid_bert.volumes.assembly import assemble, check_shape
from covid_bert.volumes.geometry import LPS_TO_RAS
from covid_bert.volumes.itk_headers import check_data, damaged, read_fields
from covid_bert.volumes.volume import Source, Volume

_ANATOMICAL_SPACES = {
    "ras", "las", "lps", "right-anterior-superior", "left-anterior-superior", "left-posterior-superior"
}  # fmt: skip


def read_itk(path: Path) -> Volume:
    """Read one NRRD or MetaImage file in Hounsfield units.

    The data file that a detached header names must lie beside or below the header.

    Raises
    ------
    UnreadableFileError
        If a file is truncated, damaged, missing or not of its format.
    InputError
        If its shape, geometry or values are not those of a chest CT.
    """
    itk.Object.SetGlobalWarningDisplay(False)
    fields = read_fields(path)
    check_data(path, fields)
    is_nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    image = _read_image(path)
    lps = np.eye(4)
    lps[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    warnings: tuple[str, ...] = ()
    if is_nrrd and fields.get("space", "").lower() not in _ANATOMICAL_SPACES:
        warnings = (
            "The file does not say how the patient lies; left and right are assumed from the order of the stored "
            "axes. Check left and right.",
        )
    # ITK's buffer belongs to `image`; the copy outlives it and may be changed.
    array = itk.array_from_image(image).transpose(2, 1, 0)
    return assemble(array, LPS_TO_RAS @ lps, Source(path, "nrrd" if is_nrrd else "metaimage"), warnings)


def _read_image(path: Path) -> itk.Image:
    image_io = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
    if image_io is None:
        raise damaged(path.name)
    try:
        image_io.SetFileName(str(path))
        image_io.ReadImageInformation()
        if image_io.GetNumberOfComponents() != 1:
            raise DimensionError(
                f"'{path.name}' holds colours or vectors.",
                "Give the CT in Hounsfield units, one value for each voxel.",
            )
        check_shape(tuple(image_io.GetDimensions(axis) for axis in range(image_io.GetNumberOfDimensions())), path.name)
        component = image_io.GetComponentTypeAsString(image_io.GetComponentType())
        pixel = itk.SS if component in ("char", "signed_char", "unsigned_char", "short") else itk.F
        reader = itk.ImageFileReader[itk.Image[pixel, 3]].New(FileName=str(path), ImageIO=image_io)
        reader.Update()
    except RuntimeError as error:
        reason = str(error).lower()
        if any(word in reason for word in ("spacing", "determinant", "space vector", "direction")):
            raise GeometryError(
                f"The voxel spacing or direction stored in '{path.name}' is impossible.",
                "Export the study again from the original DICOM files.",
            ) from error
        raise damaged(path.name) from error
    return reader.GetOutput()
