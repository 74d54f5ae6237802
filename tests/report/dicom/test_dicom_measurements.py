"""The measurement report: what it says, in which codes, of which images, and what it must not say."""

from __future__ import annotations

import io
from dataclasses import replace

import highdicom
import numpy as np
import pytest
from highdicom.sr import MeasurementsAndQualitativeEvaluations, VolumetricROIMeasurementsAndQualitativeEvaluations
from result_maker import CALIBRATED, PEAK, classify, weights

from covid_bert import DEMONSTRATION_MODEL, RESEARCH_USE_ONLY
from covid_bert.report.dicom.structured_report import measurement_report


def reread(dataset):
    buffer = io.BytesIO()
    dataset.save_as(buffer, write_like_original=False)
    buffer.seek(0)
    return highdicom.sr.srread(buffer)


def items(dataset):
    """Every content item, whatever its depth."""
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from items(item)


def named(dataset, meaning):
    return [item for item in items(dataset) if item.ConceptNameCodeSequence[0].CodeMeaning == meaning]


def numbers(dataset, meaning):
    return [float(item.MeasuredValueSequence[0].NumericValue) for item in named(dataset, meaning)]


def words(dataset, meaning):
    return [item.TextValue for item in named(dataset, meaning)]


@pytest.fixture(scope="module")
def report(chest):
    return reread(chest[3]["measurements"])


def test_research_use_and_the_state_of_the_weights_are_said(report) -> None:
    assert RESEARCH_USE_ONLY in words(report, "Comment")
    at_the_top = [item for item in report.ContentSequence if item.ValueType == "TEXT"]
    assert RESEARCH_USE_ONLY in [item.TextValue for item in at_the_top]
    assert words(report, "State of the weights") == ["demonstration"]
    assert DEMONSTRATION_MODEL in words(report, "Warning")
    assert "The lungs are small." in words(report, "Warning")
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert report.ContentQualification == "RESEARCH"
    used = " ".join(words(report, "Weights"))
    assert "clips v001, SHA-256 " + weights("clips").sha256 in used


def test_probability_comes_with_what_it_was_calibrated_on_and_its_operating_point(report) -> None:
    assert numbers(report, "Calibrated probability of COVID-19") == [CALIBRATED.probability]
    assert numbers(report, "Operating point: positive from this probability on") == [CALIBRATED.threshold]
    assert words(report, "Probability was calibrated on") == [f"covid: {CALIBRATED.calibrated_on}"]
    assert words(report, "Operating point was chosen on") == [CALIBRATED.threshold_chosen_on]
    assert numbers(report, "Score, not calibrated: COVID-19") == [0.75]
    assert numbers(report, "Score, not calibrated: not COVID-19") == [0.25]
    predicted = named(report, "Predicted class")[0].ConceptCodeSequence[0]
    assert (predicted.CodeValue, predicted.CodingSchemeDesignator) == ("840539006", "SCT")


def test_without_calibration_nothing_is_called_a_probability(chest) -> None:
    volume, source, _, _ = chest
    report = reread(measurement_report(source, classify(volume, calibrated=False).result, None, None))
    for item in items(report):
        meaning = item.ConceptNameCodeSequence[0].CodeMeaning.lower()
        assert "probability" not in meaning.replace("not a probability", "")
    assert words(report, "Scores are not probabilities")
    assert not numbers(report, "Operating point: positive from this probability on")


def test_volumes_are_in_milliliters_by_side_and_refer_to_their_segments(chest, report) -> None:
    _, source, classification, objects = chest
    result = classification.result
    content = report.content
    groups = content.get_volumetric_roi_measurement_groups()
    assert all(isinstance(group, VolumetricROIMeasurementsAndQualitativeEvaluations) for group in groups)
    assert len(groups) == 4
    lungs, lesions = objects["lungs"].SOPInstanceUID, objects["lesions"].SOPInstanceUID
    expected = [
        ("right lung", lungs, 1, "24028007", [result.lungs.right_ml]),
        ("left lung", lungs, 2, "7771000", [result.lungs.left_ml]),
        ("ground-glass", lesions, 1, "51440002", [result.lesions.right_ground_glass_ml, 0.0]),
        ("consolidation", lesions, 2, "51440002", [0.0, result.lesions.left_consolidation_ml]),
    ]
    for group, (name, uid, number, side, volumes) in zip(groups, expected, strict=True):
        assert name in group.tracking_identifier
        assert group.finding_sites[0].laterality.value == side
        found = group.get_measurements(name=highdicom.sr.CodedConcept("118565006", "SCT", "Volume"))
        assert [each.value for each in found] == pytest.approx(volumes, abs=0.006)
        assert {each.unit.value for each in found} == {"mL"}
        segment = group.referenced_segment
        reference = segment[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == uid
        assert reference.ReferencedSegmentNumber == number
    sided = [each.finding_sites[0].laterality.value for each in groups[2].get_measurements()]
    assert sided == ["24028007", "7771000"]
    assert source.series_uid in {item.UID for item in named(report, "Source Series for Segmentation")}


def test_evidence_names_the_instances_of_its_slices(chest, report) -> None:
    volume, _, _, _ = chest
    classification_group = report.content.get_image_measurement_groups()[0]
    assert isinstance(classification_group, MeasurementsAndQualitativeEvaluations)
    uids = volume.source.sop_instance_uids  # foot to head, as this series was written
    wanted = [uids[PEAK], uids[PEAK - 2]]
    assert [image.referenced_sop_instance_uid for image in classification_group.source_images] == wanted
    shares = named(report, "Share of the location map that lies in the slice")
    assert [float(item.MeasuredValueSequence[0].NumericValue) for item in shares] == [50.0, 25.0]
    pointed = [item.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in shares]
    assert pointed == wanted
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    referenced = {item.ReferencedSOPInstanceUID for series in evidence for item in series.ReferencedSOPSequence}
    assert set(wanted) <= referenced


def test_evidence_of_a_series_from_head_to_foot_is_not_turned_over(tmp_path) -> None:
    from result_maker import make_study

    from covid_bert.report.dicom import read_source

    volume = make_study(tmp_path / "study", orientation=(-1, 0, 0, 0, 1, 0))
    source = read_source(volume)
    assert source.runs_to_head is False
    assert float(source.plane_of(0).dataset.ImagePositionPatient[2]) < float(
        source.plane_of(5).dataset.ImagePositionPatient[2]
    )
    heights = [float(source.plane_of(index).dataset.ImagePositionPatient[2]) for index in range(volume.shape[0])]
    expected = volume.affine[2, 3] + volume.affine[2, 2] * np.arange(volume.shape[0])
    assert heights == sorted(heights)
    assert heights == pytest.approx(list(expected), abs=1e-3)


def test_a_series_that_is_not_axial_names_no_evidence_slices(tmp_path) -> None:
    from result_maker import make_study

    from covid_bert.report.dicom import read_source

    volume = make_study(tmp_path / "study", orientation=(1, 0, 0, 0, 0, -1))
    source = read_source(volume)
    report = reread(measurement_report(source, classify(volume).result, None, None))
    assert source.plane_of(0) is None
    assert not named(report, "Share of the location map that lies in the slice")
    assert numbers(report, "Calibrated probability of COVID-19")


def test_no_lesion_network_is_not_no_lesions(chest) -> None:
    volume, source, _, _ = chest
    without = reread(measurement_report(source, classify(volume, lesions=None).result, None, None))
    assert not named(without, "Lesions, share of the lung's volume")
    healthy = classify(volume, lesions=classify(volume).lungs.array * 0)
    none_found = reread(measurement_report(source, healthy.result, None, None))
    assert numbers(none_found, "Lesions, share of the lung's volume") == [0.0, 0.0, 0.0]


def test_the_device_changes_with_the_weights(chest, report) -> None:
    volume, source, classification, _ = chest
    other = reread(measurement_report(source, classify(volume, version="v002").result, None, None))
    made = classification.result.provenance.model_copy(update={"configuration": "published"})
    configured = replace(classification, result=classification.result.model_copy(update={"provenance": made}))
    third = reread(measurement_report(source, configured.result, None, None))
    devices = [named(each, "Device Observer UID")[0].UID for each in (report, other, third)]
    assert len(set(devices)) == 3
    assert report.DeviceSerialNumber == devices[0]


def test_every_group_names_its_algorithm_and_codes_are_short_enough_for_every_reader(chest, report) -> None:
    algorithms = words(report, "Algorithm Name")
    assert algorithms == ["covid-bert s1-small", *["covid-bert unet"] * 6]
    assert chest[2].lungs.weights.sha256 in " ".join(words(report, "Algorithm Parameters"))
    for item in items(report):
        assert len(item.ConceptNameCodeSequence[0].CodeValue) <= 16
