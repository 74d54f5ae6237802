"""Masks as DICOM Segmentations: every voxel in its own instance and place, right is right, whatever the grid."""

from __future__ import annotations

import io
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_maker import make_series
from result_maker import CREATED, classify, labels_of_file, lesions_in
from volume_maker import phantom

from covid_bert.report.dicom import read_source
from covid_bert.report.dicom.segmentation import lesion_segmentation, lung_segmentation
from covid_bert.volumes import read
from covid_bert.volumes.geometry import set_upright
from covid_bert.volumes.orientation import to_canonical

OBLIQUE = (0.96, 0.2, -0.1945, -0.14, 0.95, 0.279)


def _unit(values):
    """Two directions of a plane, made perpendicular and of length 1."""
    along, down = np.array(values[:3], float), np.array(values[3:], float)
    along /= np.linalg.norm(along)
    down -= (down @ along) * along
    return (*along, *(down / np.linalg.norm(down)))


NORMAL = np.cross(*np.split(np.array(_unit(OBLIQUE)), 2))
GRIDS = {
    "axial": {},
    "head first": {"step": (0.0, 0.0, -2.5)},
    "prone": {"orientation": (-1, 0, 0, 0, -1, 0)},
    "mirrored": {"orientation": (-1, 0, 0, 0, 1, 0)},
    "oblique": {"orientation": _unit(OBLIQUE)},
    "oblique, descending": {
        "orientation": _unit(OBLIQUE),
        "step": -2.5 * np.cross(*np.split(np.array(_unit(OBLIQUE)), 2)),
    },
    "coronal": {"orientation": (1, 0, 0, 0, 0, -1)},
    "sagittal": {"orientation": (0, 1, 0, 0, 0, -1)},
}


def reread(dataset):
    """An object as a reader gets it: through a file, by highdicom's own reader."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, write_like_original=False)
    buffer.seek(0)
    return highdicom.seg.segread(buffer)


def planes_of(segmentation, files):
    """Labels for each file, found by its SOPInstanceUID."""
    uids = [pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID for file in files]
    options = {"combine_segments": True, "relabel": False, "assert_missing_frames_are_empty": True}
    return segmentation.get_pixels_by_source_instance(uids, ignore_spatial_locations=False, **options)


def centre(segmentation, number):
    """Mean LPS position of a segment, from what the object itself says of its frames."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    along, down = np.split(np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float), 2)
    row_mm, column_mm = (float(each) for each in shared.PixelMeasuresSequence[0].PixelSpacing)
    sums, voxels = np.zeros(3), 0
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    for frame, groups in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
            continue
        rows, columns = np.nonzero(frame)
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        sums += (origin + np.outer(columns * column_mm, along) + np.outer(rows * row_mm, down)).sum(0)
        voxels += len(rows)
    return sums / voxels


def side_of(segmentation, number):
    kind = segmentation.get_segment_description(number).SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("39607008", "SCT")
    return kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_every_voxel_comes_back_in_its_own_instance_and_right_stays_right(tmp_path, grid) -> None:
    files = make_series(tmp_path / "study", phantom(), **grid)
    volume = read(tmp_path / "study")
    made = lung_segmentation(read_source(volume), volume, classify(volume).lungs, CREATED)
    segmentation = reread(made.dataset)
    truth = np.stack([labels_of_file(file) for file in files])
    np.testing.assert_array_equal(planes_of(segmentation, files), truth)
    # SNOMED's right lung is the first label, "left" the second one: of the mask, whose sides are the patient's.
    assert [side_of(segmentation, number) for number in (1, 2)] == ["24028007", "7771000"]
    assert [segmentation.get_segment_description(number).segment_label for number in (1, 2)] == [
        "Right lung",
        "Left lung",
    ]


@pytest.mark.parametrize("name", ["axial", "head first", "oblique", "oblique, descending"])
def test_the_right_lung_lies_on_the_patients_right(tmp_path, name) -> None:
    make_series(tmp_path / "study", phantom(), **GRIDS[name])
    volume = read(tmp_path / "study")
    segmentation = reread(lung_segmentation(read_source(volume), volume, classify(volume).lungs, CREATED).dataset)
    right, left = centre(segmentation, 1), centre(segmentation, 2)
    assert right[0] < left[0] - 5, "LPS: the first coordinate grows to the left"
    # And it is where the volume's own geometry says.
    for number, found in ((1, right), (2, left)):
        slices, rows, columns = (axis.mean() for axis in np.nonzero(classify(volume).lungs.array == number))
        expected = volume.affine @ [columns, rows, slices, 1]
        np.testing.assert_allclose(found, expected[:3] * [-1, -1, 1], atol=1e-3)


def test_tilted_slices_get_the_mask_on_the_tilted_slices(tmp_path) -> None:
    files = make_series(tmp_path / "study", phantom(), step=(0.0, 0.9, 2.5))
    volume = read(tmp_path / "study")
    assert volume.native.shear_rows_per_slice
    truth = np.stack([labels_of_file(file) for file in files])
    canonical, _ = to_canonical(truth.transpose(2, 1, 0), volume.native.affine)
    upright = set_upright(canonical, volume.native.shear_rows_per_slice, outside=0, labels=True)
    lungs = replace(classify(volume).lungs, array=np.ascontiguousarray(upright))
    segmentation = reread(lung_segmentation(read_source(volume), volume, lungs, CREATED).dataset)
    np.testing.assert_array_equal(planes_of(segmentation, files), truth)


def test_lesions_are_named_by_kind_and_a_missing_kind_makes_no_segment(tmp_path) -> None:
    files = make_series(tmp_path / "study", phantom())
    volume = read(tmp_path / "study")
    source, classification = read_source(volume), classify(volume)
    both = reread(lesion_segmentation(source, volume, classification.lesions, CREATED).dataset)
    codes = [both.get_segment_description(number).segmented_property_type.value for number in (1, 2)]
    assert codes == ["1217294009", "95436008"]
    truth = np.stack([labels_of_file(file) for file in files])
    np.testing.assert_array_equal(planes_of(both, files), lesions_in(truth))
    dense = np.where(classification.lesions.array == 2, classification.lesions.array, np.uint8(0))
    made = lesion_segmentation(source, volume, replace(classification.lesions, array=dense), CREATED)
    alone = reread(made.dataset)
    assert dict(made.numbers) == {2: 1}
    assert alone.number_of_segments == 1
    assert alone.get_segment_description(1).segmented_property_type.value == "95436008"
    np.testing.assert_array_equal(planes_of(alone, files) > 0, lesions_in(truth) == 2)
    nothing = replace(classification.lesions, array=np.zeros_like(dense))
    assert lesion_segmentation(source, volume, nothing, CREATED) is None


def test_the_algorithm_is_named_with_its_weights_and_other_weights_make_another_object(chest) -> None:
    volume, source, classification, _ = chest
    first = lung_segmentation(source, volume, classification.lungs, CREATED).dataset
    other = lung_segmentation(source, volume, classify(volume, version="v002").lungs, CREATED).dataset
    description = first.SegmentSequence[0]
    algorithm = description.SegmentationAlgorithmIdentificationSequence[0]
    assert description.SegmentAlgorithmType == "AUTOMATIC"
    assert "lungs v001" in algorithm.AlgorithmVersion
    assert classification.lungs.weights.sha256 in algorithm.AlgorithmParameters
    assert "state=demonstration" in algorithm.AlgorithmParameters
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "DeviceSerialNumber"):
        assert first[keyword].value != other[keyword].value
    corrected = replace(classification.lungs, method="given", weights=None)
    by_hand = lung_segmentation(source, volume, corrected, CREATED).dataset
    assert by_hand.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert by_hand.SOPInstanceUID != first.SOPInstanceUID
