"""All DICOM objects of one result."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from covid_bert.files import replacing
from covid_bert.report.dicom.document import encapsulated_pdf
from covid_bert.report.dicom.identity import digest_of
from covid_bert.report.dicom.key_picture import key_picture
from covid_bert.report.dicom.segmentation import lesion_segmentation, lung_segmentation
from covid_bert.report.dicom.source import DicomSource
from covid_bert.report.dicom.structured_report import measurement_report
from covid_bert.report.pdf import pdf_report
from covid_bert.report.picture import picture_png
from covid_bert.systems import Classification
from covid_bert.volumes.volume import Volume

# What does not depend on the system: all systems of a run have the same masks.
_SEGMENTATIONS = ("lungs", "lesions")


def dicom_results(source: DicomSource, volume: Volume, classification: Classification) -> dict[str, Dataset]:
    """Write a result as DICOM objects of the patient's study, each in a series of its own.

    The same result gives objects with the same UIDs; other weights, another system or another answer give others.

    Parameters
    ----------
    source
        The series, of `read_source`.
    volume
        The volume that was read from it.
    classification
        Its result, with masks on the volume's grid.

    Returns
    -------
    dict of str to Dataset
        By kind, in the order in which an archive should get them, since later ones refer to earlier ones: ``lungs``
        and ``lesions`` (Segmentations; left out where they would be empty), ``measurements`` (Structured Report),
        ``report`` (PDF) and ``picture`` (secondary capture).
    """
    result = classification.result
    created = result.provenance.created
    lungs = lung_segmentation(source, volume, classification.lungs, created)
    mask = classification.lesions
    lesions = None if mask is None else lesion_segmentation(source, volume, mask, created)
    objects: dict[str, Dataset] = {}
    for kind, made in (("lungs", lungs), ("lesions", lesions)):
        if made is not None:
            objects[kind] = made.dataset
    objects["measurements"] = measurement_report(source, result, lungs, lesions)
    objects["report"] = encapsulated_pdf(source, result, pdf_report(volume, classification, source.image_names()))
    objects["picture"] = key_picture(source, result, picture_png(volume, classification))
    return objects


def folder_name(volume: Volume) -> str:
    """Return the name of the folder for a series' objects: pseudonymous, and another one for each series."""
    return f"{volume.identifier}-{digest_of(volume.source.series_instance_uid).hex()[:8]}"


def write_objects(objects: dict[str, Dataset], folder: Path, stem: str) -> list[Path]:
    """Write objects as DICOM files, each whole or not at all.

    The Segmentation of an earlier mask is removed where the mask is empty now.

    Parameters
    ----------
    objects
        Of `dicom_results`.
    folder
        Where to; it is made.
    stem
        Of the system, like ``s1-small``: Segmentations do not depend on it, and their files have no stem.

    Returns
    -------
    list of Path
        The files, in the order of `objects`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, dataset in objects.items():
        path = folder / (f"{kind}.dcm" if kind in _SEGMENTATIONS else f"{stem}.{kind}.dcm")
        with replacing(path) as temporary:
            dataset.save_as(temporary, write_like_original=False)
        paths.append(path)
    for kind in _SEGMENTATIONS:
        if kind not in objects:
            (folder / f"{kind}.dcm").unlink(missing_ok=True)
    return paths
