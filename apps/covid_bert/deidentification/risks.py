"""What may still say who a person is although the attributes do not: text in the picture, and the face."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    SegmentationStorage,
    UID_dictionary,
)

from covid_bert.errors import InputError
from covid_bert.lungs import segment_lungs
from covid_bert.volumes import Volume
from covid_bert.volumes.dicom_headers import GREY, is_marked

IMAGES = frozenset({CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
# From the tips of the lungs to the chin it is a hand's breadth.
_CHIN_MM = 80.0
_HEAD_PARTS = ("HEAD", "NECK", "BRAIN", "SKULL", "FACE", "SINUS", "ORBIT", "JAW", "DENTAL", "WHOLEBODY", "WHOLE BODY")


def not_exported(dataset: Dataset) -> str:
    """Say why an object is never exported; empty where it may be.

    Pictures of screens, ultrasound, dose reports, structured reports and documents hold identity in pixels or in
    free text, where no rule for attributes finds it.
    """
    kind = str(dataset.get("SOPClassUID") or "")
    if kind == SegmentationStorage:
        return ""
    if kind not in IMAGES:
        return f"{UID(kind).name}: not a CT image" if kind in UID_dictionary else "of an unknown kind"
    if str(dataset.get("Modality") or "") != "CT":
        return "not of the modality CT"
    samples, photometric = dataset.get("SamplesPerPixel") or 1, dataset.get("PhotometricInterpretation") or GREY[1]
    if samples != 1 or photometric not in GREY:
        return "colour image, like a picture of a screen"
    return "values by a table (Modality LUT)" if "ModalityLUTSequence" in dataset else ""


def burned_in_risks(dataset: Dataset) -> tuple[str, ...]:
    """Say why text may be part of the pixels of an image; empty where nothing points to it.

    Parameters
    ----------
    dataset
        Header of an image that `not_exported` lets pass.
    """
    if str(dataset.get("SOPClassUID")) == SegmentationStorage:
        return ()
    image_type = [str(part).upper() for part in dataset.get("ImageType") or ()]
    found = {
        "marked as holding burned-in text": is_marked(dataset),
        "a derived image (ImageType)": image_type[:1] == ["DERIVED"],
        "a secondary image (ImageType)": image_type[1:2] == ["SECONDARY"],
        "a picture of a screen (ImageType)": any("SCREEN" in part or "CAPTURE" in part for part in image_type),
        "a secondary capture (ConversionType)": "ConversionType" in dataset,
        "without an ImageType": not image_type,
    }
    return tuple(reason for reason, holds in found.items() if holds)


def face_by_header(dataset: Dataset) -> str:
    """Say why an image may show the face, by its header; empty where nothing points to it."""
    if str(dataset.get("RecognizableVisualFeatures") or "").strip().upper() == "YES":
        return "It is marked as having recognisable features."
    part = str(dataset.get("BodyPartExamined") or "").upper()
    return "The body part is one with a face." if any(name in part for name in _HEAD_PARTS) else ""


def face_in_view(volume: Volume) -> str:
    """Say why a volume may show the face, by its lungs; empty where it ends below the chin.

    Parameters
    ----------
    volume
        Of a CT series.
    """
    try:
        lungs = segment_lungs(volume, "morphological")
    except InputError:
        return "No lungs were found, so nothing tells where the head is: look at the series."
    top = int(np.flatnonzero(lungs.array.any(axis=(1, 2)))[-1])
    above = (volume.shape[0] - 1 - top) * volume.spacing[0]
    if above < _CHIN_MM:
        return ""
    return f"It reaches {above:.0f} mm above the lungs: the face may be recognisable in it."
