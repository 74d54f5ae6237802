"""A CT series with identity in every place where a file can have it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from dicom_maker import make_series, set_pixels
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from volume_maker import phantom

ARRAY = phantom()
NAME, WORD, NUMBER, BIRTH, DAY = "Quenzelmann^Ottilie", "Quenzel", "KX-4711-98", "19610704", "20240317"
# What must not be in the bytes of an export, in any mix of letters.
WORDS = (b"quenzel", b"ottilie", b"kx-4711", b"19610704", b"20240317", b"112233.4455", b"4711.98")
STUDY = "1.2.826.0.1.3680043.9.4711.98.1"
_TEXTS = {"LO", "SH", "PN", "LT", "ST", "UT", "UC", "UR", "AE", "CS", "OB", "UN", "DA", "DT", "TM", "AS", "UI"}
# Without these the file is no slice of a CT.
_NEEDED = {
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ImageType"),
    *("PhotometricInterpretation", "RescaleType", "SpecificCharacterSet", "PatientName", "PatientID"),
    *("PixelData", "BurnedInAnnotation", "ConversionType", "FrameOfReferenceUID", "LossyImageCompression"),
}


def value_for(vr):
    """A value of a kind that names the person."""
    return {
        **{
            "PN": NAME,
            "DA": BIRTH,
            "DT": f"{BIRTH}112233.4455",
            "TM": "112233.4455",
            "AS": "063Y",
            "AE": "QUENZELS_AE",
        },
        **{"CS": "QUENZELMANN", "UI": f"{STUDY}.7", "OB": NAME.encode() + b" ", "UN": NAME.encode() + b" "},
        **{"UR": "https://quenzelmann.example", "SH": "Quenzelmann"},
    }.get(vr, f"of {WORD}mann, Ottilie ({NUMBER})")


def everything(dataset):
    """Put a value into every attribute that DICOM knows and that can hold text, dates or bytes."""
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr in _TEXTS and tag >> 16 > 2 and keyword not in _NEEDED and Tag(tag).group & 0xFF00 != 0x7F00:
            dataset.add_new(tag, vr, value_for(vr))


def with_private(dataset):
    block = dataset.private_block(0x0029, f"{WORD} PRIVATE", create=True)
    block.add_new(0x01, "LO", NAME)
    inner = Dataset()
    inner.PatientName, inner.PatientComments = NAME, NUMBER
    block.add_new(0x02, "SQ", [inner])
    block.add_new(0x03, "UN", NAME.encode() * 2)
    dataset.add_new((0x0009, 0x1001), "LT", NAME)  # without its creator


def with_overlays(dataset):
    for group in (0x6000, 0x6012):
        dataset.add_new((group, 0x0010), "US", 4)
        dataset.add_new((group, 0x0011), "US", 64)
        dataset.add_new((group, 0x0022), "LO", NAME)
        dataset.add_new((group, 0x3000), "OW", NAME.encode().ljust(32))
        dataset.add_new((group, 0x4000), "LT", NUMBER)
    dataset.add_new((0x5000, 0x2500), "LO", NAME)
    dataset.add_new((0x5004, 0x3000), "OW", NAME.encode().ljust(32))


def with_nested(dataset):
    """Sequences that the profile removes, references that it keeps, and unknown attributes within them."""
    item = Dataset()
    everything(item)
    with_private(item)
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"{STUDY}.8"
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "121311", "DCM", f"Localizer of {NAME}"
    item.PurposeOfReferenceCodeSequence = [purpose]
    dataset.SourceImageSequence = [item]
    dataset.RequestAttributesSequence = [item]
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Chest"
    inner = Dataset()
    everything(inner)
    region.AnatomicRegionModifierSequence = [inner]
    dataset.AnatomicRegionSequence = [region]
    dataset.ReferencedPatientSequence = [item]


def edit(dataset, index):
    # The thousands of attributes of one slice stand for those of all.
    if index == 3:
        everything(dataset)
        with_nested(dataset)
    with_private(dataset)
    with_overlays(dataset)
    dataset.add_new((0x0011, 0x0008), "LO", NAME)
    dataset.PatientName, dataset.PatientID, dataset.IssuerOfPatientID = NAME, NUMBER, f"{WORD}mann clinic"
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = STUDY, f"{STUDY}.3"
    dataset.SeriesInstanceUID = f"{STUDY}.2"
    dataset.SOPInstanceUID = f"{STUDY}.4.{index}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.SourceApplicationEntityTitle = "QUENZELS_AE"
    dataset.file_meta.PrivateInformationCreatorUID = f"{STUDY}.9"
    dataset.file_meta.PrivateInformation = NAME.encode() + b" "
    dataset.preamble = NAME.encode().ljust(128, b"\0")
    # A bitmap in the unused bits of the pixels, as old overlays lie there.
    stored = (ARRAY[index].astype(int) + 1024).astype(np.uint16)
    stored |= (np.frombuffer(NAME.encode().ljust(stored.size)[: stored.size], np.uint8) & 0xF).reshape(
        stored.shape
    ).astype(np.uint16) << 12
    set_pixels(dataset, stored, 12)


def plant(folder: Path, **options) -> list[Path]:
    """Write the series under names that tell of the person, with bytes behind the pixel data."""
    files = make_series(
        folder / NAME, ARRAY, edit=edit, names=[f"{WORD}mann_{index}.dcm" for index in range(len(ARRAY))], **options
    )
    for file in files:
        padding = NAME.encode().ljust(20)
        with file.open("ab") as content:
            content.write(struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, len(padding)) + padding)
    return files


def found_in(folder: Path, words=WORDS) -> set[str]:
    """Files below a folder whose bytes or names hold anything of the person, and what."""
    found = set()
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for text in (content, content.replace(b"\0", b""), str(path.relative_to(folder)).encode()):
            lowered = text.lower()
            found |= {f"{path.name}: {word.decode()}" for word in words if word in lowered}
    return found
