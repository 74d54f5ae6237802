"""A result as a DICOM Structured Report: TID 1500, Imaging Measurement Report."""

from __future__ import annotations

from highdicom.sr import (
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.sr.codedict import codes as dicom_codes

from covid_bert.report.dicom import codes
from covid_bert.report.dicom.identity import device_uid, result_key, uid_of
from covid_bert.report.dicom.instance import MANUFACTURER, equipment, finish, own_series
from covid_bert.report.dicom.measurement_groups import classification_group, lesion_groups, lung_groups
from covid_bert.report.dicom.segmentation import MadeSegmentation
from covid_bert.report.dicom.source import DicomSource
from covid_bert.systems.result import StudyResult


def measurement_report(
    source: DicomSource,
    result: StudyResult,
    lungs: MadeSegmentation | None,
    lesions: MadeSegmentation | None,
) -> ComprehensiveSR:
    """Write classes, scores, volumes and evidence as a measurement report.

    Parameters
    ----------
    source
        The series.
    result
        What is said of it.
    lungs, lesions
        Their Segmentations, which the volumes refer to; None where there is none.

    Returns
    -------
    ComprehensiveSR
        Complete, preliminary and not verified: nobody has read it.
    """
    made = result.provenance
    device = device_uid(result)
    model = f"covid-bert {made.system}-{made.configuration}"
    observer = ObserverContext(
        observer_type=dicom_codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device,
            name="covid-bert",
            manufacturer_name=MANUFACTURER,
            model_name=f"{made.system}-{made.configuration} {made.software_version}",
        ),
    )
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=codes.CHEST_CT,
        imaging_measurements=[
            classification_group(result, source),
            *lung_groups(result, source, lungs),
            *lesion_groups(result, source, lesions),
        ],
        title=codes.IMAGING_MEASUREMENT_REPORT,
    )
    # At the top as well, where a reader of the whole document begins.
    content[0].ContentSequence.append(
        TextContentItem(
            name=codes.COMMENT, value=result.research_use_only, relationship_type=RelationshipTypeValues.CONTAINS
        )
    )
    segmentations = [each.dataset for each in (lungs, lesions) if each is not None]
    dataset = ComprehensiveSR(
        evidence=[*source.instances, *segmentations],
        content=content[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=codes.coding_schemes(),
        **own_series(
            "measurements",
            uid_of("series", "measurements", source.series_uid, device),
            uid_of(
                "instance",
                "measurements",
                source.series_uid,
                device,
                result_key(result),
                *(each.SOPInstanceUID for each in segmentations),
            ),
        ),
        **equipment(model, device),
    )
    finish(dataset, source, f"Measurements by {model}", made.created)
    return dataset
