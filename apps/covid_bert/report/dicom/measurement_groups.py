"""The groups of a measurement report (TID 1500): what is said of the study, the lungs and the lesions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForMeasurement,
    SourceImageForMeasurementGroup,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.coding import Code

from covid_bert.lesions.mask import CONSOLIDATION, GROUND_GLASS
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG
from covid_bert.report.dicom import codes
from covid_bert.report.dicom.identity import DECIMALS, uid_of, weights_key
from covid_bert.report.dicom.segmentation import MadeSegmentation
from covid_bert.report.dicom.source import DicomSource, Plane
from covid_bert.report.evidence import key_slices
from covid_bert.systems.result import StudyResult

# Of a volume in mL, and of a share in percent.
_VOLUME_DECIMALS, _SHARE_DECIMALS = 2, 2

# Of either kind of group; highdicom's classes have no common name.
Group: TypeAlias = Any


def classification_group(result: StudyResult, source: DicomSource) -> Group:
    """Return classes, scores, probability with what it rests on, warnings, and the evidence slices.

    A probability is written only where there is one; scores are never called so.

    Parameters
    ----------
    result
        The result.
    source
        The series; its instances are referred to where slices are axial.
    """
    evidence = [(item, plane) for item in key_slices(result) if (plane := source.plane_of(item.index)) is not None]
    measurements = [_number(codes.score_code(name), score) for name, score in result.class_scores.items()]
    calibrated = result.calibrated_probability
    if calibrated is not None:
        measurements += [
            _number(codes.probability_code(calibrated.class_name), calibrated.probability),
            _number(codes.OPERATING_POINT, calibrated.threshold),
        ]
    if result.out_of_distribution_score is not None:
        measurements.append(_number(codes.UNLIKENESS, result.out_of_distribution_score))
    for item, plane in evidence:
        images = [SourceImageForMeasurement(*_image(plane))]
        measurements.append(
            _measured(codes.SLICE_LOCATION_SHARE, item.location_share * 100, codes.PERCENT, images=images)
        )
        if item.score is not None:
            measurements.append(_number(codes.SLICE_SCORE, item.score, images=images))
    made = result.provenance
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=uid_of("tracking", source.series_uid, made.system, made.configuration),
            identifier=f"classification by {made.system}, {made.configuration}",
        ),
        algorithm_id=AlgorithmIdentification(
            name=f"covid-bert {made.system}-{made.configuration}",
            version=f"covid-bert {made.software_version}",
            parameters=[f"weights={weights_key([item])}" for item in made.weights],
        ),
        finding_sites=[FindingSite(codes.LUNG, laterality=codes.BOTH_SIDES)],
        measurements=measurements,
        qualitative_evaluations=[
            QualitativeEvaluation(codes.PREDICTED_CLASS, codes.class_code(result.predicted_class))
        ],
        source_images=[SourceImageForMeasurementGroup(*_image(plane)) for _, plane in evidence] or None,
    )
    _say(group, _sentences(result))
    return group


def lung_groups(result: StudyResult, source: DicomSource, made: MadeSegmentation | None) -> list[Group]:
    """Return the volume of each lung, with its segment, and of both.

    Parameters
    ----------
    result, source
        The result and the series.
    made
        The Segmentation of the lungs; None where there is none.
    """
    lungs = result.lungs
    algorithm = _algorithm(lungs.method, result, made)
    groups = []
    for label, volume, shares in (
        (RIGHT_LUNG, lungs.right_ml, lungs.right_share_by_hu_class),
        (LEFT_LUNG, lungs.left_ml, lungs.left_share_by_hu_class),
    ):
        if volume is None:
            continue
        measurements = [_milliliters(volume)]
        measurements += [
            _measured(codes.aeration_code(name), share * 100, codes.PERCENT) for name, share in (shares or {}).items()
        ]
        groups.append(_region(f"{_NAMES[label]} lung", codes.LUNG, label, measurements, algorithm, source, made, label))
    if lungs.total_ml is not None:
        groups.append(_region("both lungs", codes.LUNG, None, [_milliliters(lungs.total_ml)], algorithm, source))
    return groups


def lesion_groups(result: StudyResult, source: DicomSource, made: MadeSegmentation | None) -> list[Group]:
    """Return the volume of each kind of lesion by side, with its segment, and what holds for all lesions.

    See `lung_groups` for the parameters. Empty where no lesion network took part: that is not "no lesions".
    """
    lesions = result.lesions
    if lesions is None:
        return []
    algorithm = _algorithm(lesions.method, result, made)
    groups = []
    for label, kind, right, left in (
        (GROUND_GLASS, "ground-glass", lesions.right_ground_glass_ml, lesions.left_ground_glass_ml),
        (CONSOLIDATION, "consolidation", lesions.right_consolidation_ml, lesions.left_consolidation_ml),
    ):
        if right is not None and left is not None:
            measurements = [_milliliters(right, RIGHT_LUNG), _milliliters(left, LEFT_LUNG)]
            groups.append(_region(kind, codes.LESIONS[label], None, measurements, algorithm, source, made, label))
    overall = [] if lesions.total_ml is None else [_milliliters(lesions.total_ml)]
    for share, side in ((lesions.right_share, RIGHT_LUNG), (lesions.left_share, LEFT_LUNG), (lesions.share, None)):
        if share is not None:
            overall.append(_measured(codes.LESION_SHARE, share * 100, codes.PERCENT, side))
    if lesions.count is not None:
        overall.append(_measured(codes.LESION_COUNT, lesions.count, codes.NO_UNITS))
    for name, share in ((codes.LOWER_SHARE, lesions.lower_share), (codes.PERIPHERAL_SHARE, lesions.peripheral_share)):
        if share is not None:
            overall.append(_measured(name, share * 100, codes.PERCENT))
    if overall:
        groups.append(_region("all lesions", codes.LUNG_LESION, None, overall, algorithm, source))
    return groups


_NAMES = {RIGHT_LUNG: "right", LEFT_LUNG: "left"}


def _region(
    name: str,
    finding: Code,
    side: int | None,
    measurements: list[Measurement],
    algorithm: AlgorithmIdentification,
    source: DicomSource,
    made: MadeSegmentation | None = None,
    label: int | None = None,
) -> Group:
    """Return a group that refers to its segment, or a plain one where there are no voxels to refer to."""
    tracking = TrackingIdentifier(uid=uid_of("tracking", source.series_uid, name), identifier=f"{name} of the series")
    sites = [FindingSite(codes.LUNG, laterality=codes.SIDES[side] if side is not None else codes.BOTH_SIDES)]
    if made is None or label is None or label not in made.numbers:
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking,
            finding_type=finding,
            algorithm_id=algorithm,
            finding_sites=sites,
            measurements=measurements,
        )
    segment = ReferencedSegment(
        sop_class_uid=made.dataset.SOPClassUID,
        sop_instance_uid=made.dataset.SOPInstanceUID,
        segment_number=made.numbers[label],
        source_series=SourceSeriesForSegmentation(source.series_uid),
    )
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        referenced_segment=segment,
        finding_type=finding,
        algorithm_id=algorithm,
        finding_sites=sites,
        measurements=measurements,
    )


def _algorithm(method: str, result: StudyResult, made: MadeSegmentation | None) -> AlgorithmIdentification:
    """Return which algorithm drew what is measured: in the words of the Segmentation, where there is one."""
    if made is None:
        version = f"covid-bert {result.provenance.software_version}"
        return AlgorithmIdentification(name=f"covid-bert {method}", version=version)
    named = made.dataset.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    return AlgorithmIdentification(named.AlgorithmName, named.AlgorithmVersion, [named.AlgorithmParameters])


def _sentences(result: StudyResult) -> Iterable[tuple[Code, str]]:
    yield codes.COMMENT, result.research_use_only
    yield codes.WEIGHTS_STATE, result.weights_state.value
    calibrated = result.calibrated_probability
    if calibrated is None:
        yield codes.NOT_CALIBRATED, "The scores are outputs of a network, not probabilities."
    else:
        yield codes.CALIBRATED_ON, f"{calibrated.class_name}: {calibrated.calibrated_on}"
        yield codes.THRESHOLD_CHOSEN_ON, calibrated.threshold_chosen_on
    for stage in result.stages:
        scores = ", ".join(f"{name} {score:.{DECIMALS}f}" for name, score in stage.scores.items())
        yield codes.STAGE, f"{stage.description}: {scores} ({stage.weights_state.value} weights)"
    for warning in result.warnings:
        yield codes.WARNING, warning
    for item in result.provenance.weights:
        yield codes.WEIGHTS, f"{item.name} {item.version}, SHA-256 {item.sha256}, trained on: {item.trained_on}"


def _say(group: Group, sentences: Iterable[tuple[Code, str]]) -> None:
    """Add texts to a group: TID 1501 allows evaluations in words, which highdicom has no parameter for."""
    for name, text in sentences:
        item = TextContentItem(name=name, value=text, relationship_type=RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(item)


def _image(plane: Plane) -> tuple[str, str, list[int] | None]:
    """Return what highdicom's references to an image are made of."""
    return plane.dataset.SOPClassUID, plane.dataset.SOPInstanceUID, plane.frame_numbers


def _milliliters(volume: float, side: int | None = None) -> Measurement:
    return _measured(codes.VOLUME, round(volume, _VOLUME_DECIMALS), codes.MILLILITER, side)


def _number(name: Code, value: float, images: list[SourceImageForMeasurement] | None = None) -> Measurement:
    return Measurement(name=name, value=round(float(value), DECIMALS), unit=codes.NO_UNITS, referenced_images=images)


def _measured(
    name: Code,
    value: float,
    unit: Code,
    side: int | None = None,
    images: list[SourceImageForMeasurement] | None = None,
) -> Measurement:
    sites = None if side is None else [FindingSite(codes.LUNG, laterality=codes.SIDES[side])]
    return Measurement(
        name=name, value=round(float(value), _SHARE_DECIMALS), unit=unit, finding_sites=sites, referenced_images=images
    )
