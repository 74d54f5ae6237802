"""Results of enhanced multi-frame CT refer to the right frames of its instances."""

from __future__ import annotations

import io
import logging
import subprocess
import zipfile

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_maker import make_series
from multi_frame_maker import make_enhanced
from result_maker import CREATED, PEAK, classify, labels_of
from volume_maker import PATIENT_NAME, phantom

from covid_bert.errors import NotFoundError
from covid_bert.report.dicom import dicom_results, read_source, write_objects
from covid_bert.report.dicom.segmentation import lung_segmentation
from covid_bert.report.pdf import pdf_report
from covid_bert.volumes import read
from dicom_check import errors_of
from needed import require_program

ARRAY = phantom()
SHUFFLED = [int(index) for index in np.random.default_rng(2).permutation(12)]
FRAME_OF_SLICE = {index: place for place, index in enumerate(SHUFFLED, start=1)}


def _named(dataset) -> None:
    dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 144", "Люкceмбypг"


def labels_of_frames(file) -> np.ndarray:
    """The lungs of the frames in the order of the file, without the reader under test."""
    dataset = pydicom.dcmread(file)
    scaled = dataset.pixel_array.astype(float)
    intercepts = [
        float(groups.PixelValueTransformationSequence[0].RescaleIntercept)
        for groups in dataset.PerFrameFunctionalGroupsSequence
    ]
    return labels_of(scaled + np.reshape(intercepts, (-1, 1, 1)))


def referred(groups) -> tuple[str, int]:
    """Instance and frame that a frame of a Segmentation names as its source."""
    image = groups.DerivationImageSequence[0].SourceImageSequence[0]
    return image.ReferencedSOPInstanceUID, image.ReferencedFrameNumber


def reread(dataset) -> highdicom.seg.Segmentation:
    """An object as a reader gets it: through a file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, write_like_original=False)
    buffer.seek(0)
    return highdicom.seg.segread(buffer)


def check_frames(dataset, files) -> None:
    """Every voxel of the lungs lies in the frame that is named, and nothing else does."""
    segmentation = reread(dataset)
    truth = {}
    for file in files:
        for number, frame in enumerate(labels_of_frames(file), start=1):
            truth[pydicom.dcmread(file).SOPInstanceUID, number] = frame
    found = {key: np.zeros_like(frame) for key, frame in truth.items()}
    for frame, groups in zip(segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        label = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[referred(groups)][frame > 0] = label
    for key, frame in truth.items():
        np.testing.assert_array_equal(found[key], frame)


@pytest.fixture(scope="module")
def enhanced(tmp_path_factory):
    """A study in one file, its frames in disorder, and the objects of its result."""
    folder = tmp_path_factory.mktemp("enhanced")
    file = make_enhanced(folder / "ct" / "enhanced.dcm", ARRAY, order=SHUFFLED, edit=_named)
    volume = read(file)
    objects = dicom_results(read_source(volume), volume, classify(volume))
    return file, objects, write_objects(objects, folder / "results", "s1-small")


def test_all_kinds_are_valid_and_the_patients(enhanced) -> None:
    _, objects, files = enhanced
    assert list(objects) == ["lungs", "lesions", "measurements", "report", "picture"]
    for file in files:
        assert errors_of(file) == [], file.name
        assert str(pydicom.dcmread(file).PatientName) == "Люкceмбypг"


def test_every_voxel_lies_in_its_own_frame(enhanced) -> None:
    file, objects, _ = enhanced
    check_frames(objects["lungs"], [file])
    labels = reread(objects["lungs"]).get_pixels_by_source_frame(
        pydicom.dcmread(file).SOPInstanceUID,
        list(range(1, 13)),
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(labels, labels_of_frames(file))
    measures = objects["lungs"].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(each) for each in measures.PixelSpacing] == [0.7, 0.9]
    assert (float(measures.SliceThickness), float(measures.SpacingBetweenSlices)) == (2.5, 2.5)


def test_an_instance_is_named_once_where_it_is_named_as_a_whole(enhanced) -> None:
    file, objects, _ = enhanced
    uid = pydicom.dcmread(file).SOPInstanceUID
    lungs, report = objects["lungs"], objects["report"]
    for items in (
        lungs.SourceImageSequence,
        lungs.ReferencedSeriesSequence[0].ReferencedInstanceSequence,
        report.SourceInstanceSequence,
    ):
        assert [item.ReferencedSOPInstanceUID for item in items] == [uid]
        assert "ReferencedFrameNumber" not in items[0]
    evidence = objects["measurements"].CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = [item.ReferencedSOPInstanceUID for series in evidence for item in series.ReferencedSOPSequence]
    assert named.count(uid) == 1


def test_evidence_slices_are_frames(enhanced) -> None:
    _, objects, files = enhanced
    wanted = [FRAME_OF_SLICE[PEAK], FRAME_OF_SLICE[PEAK - 2]]
    report = highdicom.sr.srread(files[2])
    group = report.content.get_image_measurement_groups()[0]
    assert [image.referenced_frame_numbers for image in group.source_images] == [[number] for number in wanted]
    item = objects["picture"].SourceImageSequence[0]
    assert list(item.ReferencedFrameNumber) == wanted


def test_images_are_named_as_viewers_name_them(enhanced, tmp_path) -> None:
    file, _, _ = enhanced
    frames = read_source(read(file)).image_names()
    assert frames == {index: f"frame {number}" for index, number in FRAME_OF_SLICE.items()}
    # Numbered from the head, as most scanners do.
    make_series(tmp_path / "ct", ARRAY, edit=lambda dataset, index: setattr(dataset, "InstanceNumber", 12 - index))
    volume = read(tmp_path / "ct")
    names = read_source(volume).image_names()
    assert names == {index: str(12 - index) for index in range(12)}
    pdf = tmp_path / "report.pdf"
    pdf.write_bytes(pdf_report(volume, classify(volume), names))
    program = require_program("pdftotext", "poppler-utils")
    text = subprocess.run([program, "-layout", str(pdf), "-"], capture_output=True, text=True, check=True).stdout
    row = next(line.split() for line in text.splitlines() if line.split()[1:4] == [str(PEAK + 1), "of", "12"])
    assert row[4] == str(12 - PEAK)
    assert "Slices are counted from the foot" in text


def test_a_number_that_is_none_is_no_reason_to_refuse_an_image(tmp_path) -> None:
    file = make_enhanced(tmp_path / "ct.dcm", ARRAY, edit=lambda dataset: setattr(dataset, "InstanceNumber", 7777))
    file.write_bytes(file.read_bytes().replace(b"7777", b"a,b "))
    source = read_source(read(file))
    assert [plane.frame for plane in source.planes] == list(range(1, 13))
    assert "InstanceNumber" not in source.instances[0]


def test_a_study_in_several_files_names_the_frames_of_each(tmp_path) -> None:
    files = [
        make_enhanced(tmp_path / "ct" / "a.dcm", ARRAY, order=range(11, 6, -1)),
        make_enhanced(tmp_path / "ct" / "b.dcm", ARRAY, order=range(7)),
    ]
    volume = read(tmp_path / "ct")
    source = read_source(volume)
    dataset = lung_segmentation(source, volume, classify(volume).lungs, CREATED).dataset
    check_frames(dataset, files)
    assert len(source.instances) == len(dataset.SourceImageSequence) == 2
    assert errors_of(write_objects({"lungs": dataset}, tmp_path / "out", "")[0]) == []


def test_of_several_phases_the_one_that_was_chosen_is_named(tmp_path) -> None:
    def at_the_same_places(dataset) -> None:
        for index, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            frame.PlanePositionSequence[0].ImagePositionPatient[2] = -140 + 2.5 * (index % 12)

    both = np.concatenate([phantom(seed=9), ARRAY])
    file = make_enhanced(tmp_path / "ct.dcm", both, phases=[1] * 12 + [2] * 12, edit=at_the_same_places)
    volume = read(file, series="3/2")
    dataset = lung_segmentation(read_source(volume), volume, classify(volume).lungs, CREATED).dataset
    named = {referred(groups)[1] for groups in dataset.PerFrameFunctionalGroupsSequence}
    assert min(named) > 12
    assert list(dataset.SourceImageSequence[0].ReferencedFrameNumber) == list(range(13, 25))
    truth = labels_of_frames(file)
    for frame, groups in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        label = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        np.testing.assert_array_equal(frame > 0, truth[referred(groups)[1] - 1] == label)


def test_file_folder_and_zip_give_the_same_objects(tmp_path) -> None:
    file = make_enhanced(tmp_path / "ct" / "enhanced.dcm", ARRAY, order=SHUFFLED)
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        archive.write(file, file.name)
    made = []
    for path in (file, file.parent, tmp_path / "ct.zip"):
        volume = read(path)
        source = read_source(volume)
        assert str(source.patient.PatientName) == PATIENT_NAME
        made.append(lung_segmentation(source, volume, classify(volume).lungs, CREATED).dataset)
    assert len({dataset.SOPInstanceUID for dataset in made}) == 1
    assert made[0].PixelData == made[1].PixelData == made[2].PixelData


def test_no_log_names_the_instance(tmp_path, caplog) -> None:
    file = make_enhanced(tmp_path / "ct.dcm", ARRAY)
    caplog.set_level(logging.DEBUG)
    volume = read(file)
    lung_segmentation(read_source(volume), volume, classify(volume).lungs, CREATED)
    assert pydicom.dcmread(file).SOPInstanceUID not in caplog.text


def test_a_file_that_lost_frames_since_it_was_read_is_noticed(tmp_path) -> None:
    file = make_enhanced(tmp_path / "ct.dcm", ARRAY)
    volume = read(file)
    dataset = pydicom.dcmread(file)
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:5]
    dataset.save_as(file)
    with pytest.raises(NotFoundError, match="fewer frames"):
        read_source(volume)
