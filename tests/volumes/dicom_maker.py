"""Writes proper CT Image Storage series, straight, oblique, tilted or broken."""

from __future__ import annotations

from pathlib import Path

import gdcm
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)
from volume_maker import PATIENT_ID, PATIENT_NAME

INTERCEPT = -1024


def make_series(
    folder: Path,
    array,
    *,
    spacing=(2.5, 0.7, 0.9),
    orientation=(1, 0, 0, 0, 1, 0),
    origin=(-30.0, -12.0, -140.0),
    step=None,
    names=None,
    edit=None,
    slopes=None,
    syntax=ExplicitVRLittleEndian,
    number=2,
    skip=(),
):
    """Write HU (slices, rows, columns), slice z at ``origin + z * step`` (LPS), and return the files in that order.

    `edit` is called with each data set and its index before it is written; `slopes` holds a rescale slope for each
    slice; `names` the file names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    step = np.asarray(normal * spacing[0] if step is None else step, dtype=float)
    study, series = generate_uid(), generate_uid()
    files = []
    for index, slice_ in enumerate(array):
        if index in skip:
            continue
        file = folder / (names[index] if names else f"IM{index:04d}.dcm")
        slope = slopes[index] if slopes else 1
        dataset = _slice(file, slice_, slope, syntax)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.SeriesNumber, dataset.InstanceNumber = number, index + 1
        dataset.ImagePositionPatient = [round(float(value), 6) for value in np.asarray(origin) + index * step]
        dataset.ImageOrientationPatient = [round(float(value), 9) for value in orientation]
        dataset.PixelSpacing = [spacing[1], spacing[2]]
        if edit is not None:
            edit(dataset, index)
        dataset.save_as(file, write_like_original=False)
        files.append(file)
    return files


def _slice(file: Path, hounsfield, slope, syntax):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.is_little_endian = syntax != ExplicitVRBigEndian
    dataset.is_implicit_VR = syntax == ImplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID = PATIENT_NAME, PATIENT_ID
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ConvolutionKernel = "B60f"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = hounsfield.shape
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = slope, INTERCEPT, "HU"
    set_pixels(dataset, np.rint((hounsfield.astype(float) - INTERCEPT) / slope).astype(np.uint16), 16)
    return dataset


def set_pixels(dataset, stored, bits):
    """Put stored values (any 16-bit type) into a data set."""
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<" if dataset.is_little_endian else ">")).tobytes()
    dataset["PixelData"].VR = "OW"


def setting(keyword, value):
    """Return an edit that gives every slice one value."""

    def edit(dataset, index):
        setattr(dataset, keyword, value)

    return edit


def compress(file: Path, syntax: str):
    """Rewrite a file in a compressed transfer syntax of GDCM's naming."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(file))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(file))
    assert writer.Write()


UNCOMPRESSED = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
COMPRESSED = ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]
