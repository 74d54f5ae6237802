"""Writing phantoms as NIfTI, NRRD or MetaImage files and as DICOM series, on the grid that they were made for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from covid_bert.errors import ParameterError
from covid_bert.phantom.phantom import Phantom
from covid_bert.volumes.geometry import LPS_TO_RAS
from covid_bert.volumes.orientation import NativeGrid, to_native

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".nrrd", ".mha")
PARTS = ("volume", "lungs", "lesions", "airways", "vessels")
RESCALE_INTERCEPT = -1024


def write(phantom: Phantom, path: str | Path, part: str = "volume") -> Path:
    """Write the image or one of the masks of a phantom.

    Parameters
    ----------
    phantom
        What to write.
    path
        File to write: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``.
    part
        ``volume``, ``lungs``, ``lesions``, ``airways`` or ``vessels``.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ParameterError
        If the suffix or the part is unknown.
    """
    path = Path(path)
    if part not in PARTS:
        raise ParameterError(f"A phantom has no part '{part}'.", f"Use one of: {', '.join(PARTS)}.")
    grid = phantom.volume.native
    array = to_native(_part(phantom, part), grid)
    if path.name.endswith(NIFTI_SUFFIXES):
        image = nibabel.Nifti1Image(array, grid.affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, path)
    elif path.suffix in ITK_SUFFIXES:
        itk.imwrite(_itk_image(array, grid), str(path), compression=True)
    else:
        raise ParameterError(
            f"'{path.name}' has no known suffix.", f"Use one of: {', '.join(NIFTI_SUFFIXES + ITK_SUFFIXES)}."
        )
    return path


def write_dicom(
    phantom: Phantom,
    folder: str | Path,
    *,
    patient_id: str = "PHANTOM",
    series_description: str = "Synthetic chest",
) -> list[Path]:
    """Write the image of a phantom as one DICOM series, CT Image Storage, one file for each slice.

    The file's column and row index become the columns and rows of the images. All identifiers follow from the
    image, so the same phantom gives the same files.

    Parameters
    ----------
    phantom
        What to write.
    folder
        Folder for the files; made if there is none.
    patient_id
        Patient ID and name.
    series_description
        Shown in lists of series.

    Returns
    -------
    list of pathlib.Path
        The files in the order of the file's slice index.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    grid = phantom.volume.native
    array = to_native(phantom.volume.array, grid)
    lps = LPS_TO_RAS @ grid.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    entropy = [phantom.volume.identifier, patient_id, series_description, repr(np.round(lps, 4).tolist())]
    common = _series_attributes(patient_id, series_description, entropy)
    common["PixelSpacing"] = [_decimal(spacing[1]), _decimal(spacing[0])]
    common["SliceThickness"] = common["SpacingBetweenSlices"] = _decimal(spacing[2])
    common["ImageOrientationPatient"] = [_decimal(value) for value in direction[:, :2].T.ravel()]
    paths = []
    for index in range(array.shape[2]):
        path = folder / f"slice-{index + 1:04d}.dcm"
        position = lps[:3, 3] + index * lps[:3, 2]
        dataset = _slice_dataset(path, array[:, :, index].T, generate_uid(entropy_srcs=[*entropy, str(index)]))
        for keyword, value in common.items():
            setattr(dataset, keyword, value)
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = [_decimal(value) for value in position]
        dataset.save_as(path, write_like_original=False)
        paths.append(path)
    return paths


def _part(phantom: Phantom, part: str) -> npt.NDArray[np.generic]:
    array = phantom.volume.array if part == "volume" else getattr(phantom, part)
    array = getattr(array, "array", array)
    return array.astype(np.uint8) if array.dtype == np.bool_ else array


def _itk_image(array: npt.NDArray[np.generic], grid: NativeGrid) -> Any:
    lps = LPS_TO_RAS @ grid.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = itk.image_from_array(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection(itk.matrix_from_array(lps[:3, :3] / spacing))
    return image


def _series_attributes(patient_id: str, series_description: str, entropy: list[str]) -> dict[str, Any]:
    return {
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
        "SOPClassUID": CTImageStorage,
        "Modality": "CT",
        "Manufacturer": "covid-bert phantom",
        "PatientName": patient_id,
        "PatientID": patient_id,
        "PatientBirthDate": "",
        "PatientSex": "",
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "Synthetic image of no person",
        "StudyInstanceUID": generate_uid(entropy_srcs=[*entropy, "study"]),
        "SeriesInstanceUID": generate_uid(entropy_srcs=[*entropy, "series"]),
        "FrameOfReferenceUID": generate_uid(entropy_srcs=[*entropy, "frame"]),
        "PositionReferenceIndicator": "",
        "StudyID": "1",
        "StudyDate": "20000101",
        "StudyTime": "120000",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "StudyDescription": "Synthetic chest CT",
        "SeriesDescription": series_description,
        "SeriesNumber": 1,
        "AcquisitionNumber": 1,
        "BodyPartExamined": "CHEST",
        "PatientPosition": "HFS",
        "KVP": "120",
        "RescaleIntercept": str(RESCALE_INTERCEPT),
        "RescaleSlope": "1",
        "RescaleType": "HU",
        "WindowCenter": ["-600", "40"],
        "WindowWidth": ["1600", "400"],
    }


def _slice_dataset(path: Path, pixels: npt.NDArray[np.generic], sop_instance_uid: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = sop_instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    stored = pixels.astype(np.int32) - RESCALE_INTERCEPT
    dataset.PixelData = np.ascontiguousarray(stored, dtype="<u2").tobytes()
    return dataset


def _decimal(value: float) -> str:
    """Return a DICOM decimal string (at most 16 characters)."""
    return f"{value:.10g}"
