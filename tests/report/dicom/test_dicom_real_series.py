"""A real series of a scanner: its objects are valid, and its mask is read back voxel for voxel."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
import pytest
from result_maker import classify

from covid_bert.lungs import segment_lungs
from covid_bert.report.dicom import dicom_results, folder_name, read_source, write_objects
from covid_bert.volumes import read
from dicom_check import errors_of


@pytest.fixture(scope="module")
def written(sample_data, tmp_path_factory):
    volume = read(sample_data / "lung_dx_a0001")
    lungs = segment_lungs(volume, "morphological").array
    lesions = np.zeros_like(lungs)
    lesions[30:33][volume.array[30:33] > -300] = 2
    lesions[lungs == 0] = 0
    classification = classify(volume, np.array(lungs), lesions=lesions)
    objects = dicom_results(read_source(volume), volume, classification)
    return volume, classification, write_objects(objects, tmp_path_factory.mktemp("real") / folder_name(volume), "s1")


def test_dciodvfy_finds_no_error(written) -> None:
    for file in written[2]:
        assert errors_of(file) == [], file.name


def test_the_mask_is_read_back_by_position_voxel_for_voxel(written, sample_data) -> None:
    _, classification, files = written
    segmentation = highdicom.seg.segread(files[0])
    by_position = {}
    for file in (sample_data / "lung_dx_a0001").glob("*.dcm"):
        header = pydicom.dcmread(file, stop_before_pixels=True)
        by_position[float(header.ImagePositionPatient[2])] = header.SOPInstanceUID
    uids = [by_position[height] for height in sorted(by_position)]
    labels = segmentation.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    # This series has rows to the back and columns to the left, as the canonical grid: only the order is to be known.
    np.testing.assert_array_equal(labels, classification.lungs.array)
    np.testing.assert_allclose(
        segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing, 0.841796875
    )


def test_times_and_patient_are_those_of_the_study(written, sample_data) -> None:
    original = pydicom.dcmread(next((sample_data / "lung_dx_a0001").glob("*.dcm")), stop_before_pixels=True)
    for file in written[2]:
        dataset = pydicom.dcmread(file)
        for keyword in ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyDescription", "PatientID", "PatientSex"):
            assert dataset[keyword].value == original[keyword].value
        assert dataset.PatientIdentityRemoved == "YES"
        assert len(dataset.DeidentificationMethodCodeSequence) == 8
        assert dataset.ContentDate != dataset.StudyDate
