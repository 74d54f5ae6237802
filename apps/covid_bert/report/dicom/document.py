"""The PDF report as an encapsulated document in the patient's study."""

from __future__ import annotations

from highdicom import SOPClass
from highdicom.sr import CodedConcept
from pydicom.uid import EncapsulatedPDFStorage

from covid_bert.report.dicom import codes
from covid_bert.report.dicom.identity import device_uid, result_key, uid_of
from covid_bert.report.dicom.instance import equipment, finish, own_series
from covid_bert.report.dicom.source import DicomSource, Plane, references
from covid_bert.systems.result import StudyResult

TITLE = "Chest CT research report"


def encapsulated_pdf(source: DicomSource, result: StudyResult, pdf: bytes) -> SOPClass:
    """Put a PDF report into the patient's study.

    Parameters
    ----------
    source
        The series that the report is about.
    result
        The result that it shows.
    pdf
        The report; it names no patient.
    """
    device = device_uid(result)
    made = result.provenance
    model = f"covid-bert {made.system}-{made.configuration}"
    dataset = SOPClass(
        study_instance_uid=source.instances[0].StudyInstanceUID,
        sop_class_uid=EncapsulatedPDFStorage,
        modality="DOC",
        **own_series(
            "report",
            uid_of("series", "report", source.series_uid, device),
            uid_of("instance", "report", source.series_uid, device, result_key(result)),
        ),
        **equipment(model, device),
    )
    dataset.ConversionType = "WSD"
    dataset.AcquisitionDateTime = None
    # The report says which study it is of by a hash; who the patient is stands in the header alone.
    dataset.BurnedInAnnotation = source.burned_in
    dataset.RecognizableVisualFeatures = "NO"
    dataset.SourceInstanceSequence = references(Plane(instance) for instance in source.instances)
    dataset.DocumentTitle = f"{TITLE} (research use only)"
    dataset.ConceptNameCodeSequence = [CodedConcept.from_code(codes.IMAGING_MEASUREMENT_REPORT)]
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    finish(dataset, source, f"Report by {model}", made.created)
    return dataset
