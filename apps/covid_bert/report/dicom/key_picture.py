"""The picture of a result as a secondary capture, for archives that show nothing else."""

from __future__ import annotations

import io

import numpy as np
from highdicom.sc import SCImage
from PIL import Image

from covid_bert import RESEARCH_USE_ONLY
from covid_bert.report.dicom.identity import device_uid, result_key, uid_of
from covid_bert.report.dicom.instance import equipment, finish, own_series
from covid_bert.report.dicom.source import DicomSource, references
from covid_bert.report.evidence import key_slices
from covid_bert.systems.result import StudyResult


def key_picture(source: DicomSource, result: StudyResult, png: bytes) -> SCImage:
    """Put the picture of a result into the patient's study.

    Parameters
    ----------
    source
        The series.
    result
        What the picture shows.
    png
        The picture, with its line on research use burned in and nothing of the patient.
    """
    device = device_uid(result)
    made = result.provenance
    model = f"covid-bert {made.system}-{made.configuration}"
    dataset = SCImage(
        pixel_array=np.asarray(Image.open(io.BytesIO(png)).convert("RGB")),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        study_instance_uid=source.instances[0].StudyInstanceUID,
        **own_series(
            "picture",
            uid_of("series", "picture", source.series_uid, device),
            uid_of("instance", "picture", source.series_uid, device, result_key(result)),
        ),
        **equipment(model, device),
    )
    # Several views with several directions: the picture as a whole has none.
    dataset.PatientOrientation = None
    dataset.BodyPartExamined = "CHEST"
    dataset.ConversionType = "WSD"
    dataset.BurnedInAnnotation = source.burned_in
    dataset.RecognizableVisualFeatures = "NO"
    dataset.ImageComments = RESEARCH_USE_ONLY
    shown = (source.plane_of(item.index) for item in key_slices(result))
    if items := references(plane for plane in shown if plane is not None):
        dataset.SourceImageSequence = items
    finish(dataset, source, f"Picture by {model}", made.created)
    return dataset
