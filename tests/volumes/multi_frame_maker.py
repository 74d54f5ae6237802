"""Writes Enhanced CT Image Storage: many slices in one file, described by functional groups."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)
from volume_maker import PATIENT_ID, PATIENT_NAME

INTERCEPT = -1024
STUDY, SERIES = generate_uid(), generate_uid()


def one(**values) -> list[Dataset]:
    """A sequence of one item."""
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return [item]


def make_enhanced(
    file: Path,
    array,
    *,
    spacing=(2.5, 0.7, 0.9),
    orientation=(1, 0, 0, 0, 1, 0),
    origin=(-30.0, -12.0, -140.0),
    order=None,
    scales=None,
    stacks=None,
    phases=None,
    shared=("orientation", "spacing"),
    syntax=ExplicitVRLittleEndian,
    edit=None,
):
    """Write HU (slices, rows, columns), slice z at ``origin + z * normal * spacing[0]``, as frames in any `order`.

    `scales` holds slope and intercept of each slice; `stacks` and `phases` its StackID and TemporalPositionIndex;
    `shared` names what stands once for all frames. `edit` is called with the data set before it is written.
    """
    order = range(len(array)) if order is None else order
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = EnhancedCTImageStorage, generate_uid()
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.is_little_endian = syntax != ExplicitVRBigEndian
    dataset.is_implicit_VR = syntax == ImplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SeriesNumber = STUDY, SERIES, 3
    dataset.PatientName, dataset.PatientID = PATIENT_NAME, PATIENT_ID
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.NumberOfFrames = len(order)
    _, dataset.Rows, dataset.Columns = array.shape
    groups = {
        "orientation": {"PlaneOrientationSequence": one(ImageOrientationPatient=list(orientation))},
        "spacing": {"PixelMeasuresSequence": one(PixelSpacing=[spacing[1], spacing[2]], SliceThickness=spacing[0])},
    }
    everywhere = Dataset()
    for name in shared:
        everywhere.update(one(**groups[name])[0])
    dataset.SharedFunctionalGroupsSequence = [everywhere]
    normal = np.cross(orientation[:3], orientation[3:])
    frames, stored = [], []
    for place, index in enumerate(order):
        slope, intercept = scales[index] if scales else (1, INTERCEPT)
        position = np.asarray(origin) + index * normal * spacing[0]
        content = one(
            StackID=str(stacks[index]) if stacks else "1",
            InStackPositionNumber=place + 1,
            TemporalPositionIndex=phases[index] if phases else 1,
        )
        frame = one(
            FrameContentSequence=content,
            PlanePositionSequence=one(ImagePositionPatient=[round(float(value), 6) for value in position]),
            PixelValueTransformationSequence=one(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU"),
            CTReconstructionSequence=one(ConvolutionKernel="B60f"),
            CTImageFrameTypeSequence=one(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]),
        )[0]
        for name in groups.keys() - set(shared):
            frame.update(one(**groups[name])[0])
        frames.append(frame)
        stored.append(np.rint((array[index].astype(float) - intercept) / slope).astype(np.uint16))
    dataset.PerFrameFunctionalGroupsSequence = frames
    pixels = np.stack(stored)
    dataset.PixelData = pixels.astype("<u2" if dataset.is_little_endian else ">u2").tobytes()
    dataset["PixelData"].VR = "OW"
    if edit is not None:
        edit(dataset)
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, write_like_original=False)
    return file


def pack(file: Path, codestreams, syntax):
    """Replace the frames of a file by compressed ones."""
    import pydicom

    dataset = pydicom.dcmread(file)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.PixelData = encapsulate(codestreams)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(file, write_like_original=False)


def make_cine(file: Path, slice_, count: int, step=0.5):
    """Write one slice `count` times, `step` mm apart: `make_enhanced` needs minutes for thousands of frames."""
    make_enhanced(file, slice_[None], origin=(-30.0, -12.0, 1000.5), edit=lambda dataset: dataset.pop("PixelData"))
    import pydicom

    dataset = pydicom.dcmread(file)
    dataset.NumberOfFrames = count
    dataset.save_as(file)
    content = file.read_bytes()
    # The functional groups of the one frame are the last element: tag, VR, two empty bytes, length, items.
    at = content.rindex(b"\x00\x52\x30\x92SQ\0\0") + 12
    frame = content[at:]
    items = b"".join(frame.replace(b"1000.5", f"{1000.5 + index * step:.1f}".encode()) for index in range(count))
    assert len(items) == count * len(frame)
    pixels = np.rint(slice_.astype(float) - INTERCEPT).astype("<u2").tobytes() * count
    element = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<L", len(pixels))
    file.write_bytes(content[: at - 4] + struct.pack("<L", len(items)) + items + element + pixels)
    return file
