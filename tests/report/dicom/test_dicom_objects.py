"""All objects of a result: valid, of the patient's study, with stable UIDs, with nobody's name in pixels."""

from __future__ import annotations

import io
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image
from result_maker import classify, later, make_study
from volume_maker import PATIENT_ID, PATIENT_NAME

from covid_bert import DEMONSTRATION_MODEL, RESEARCH_USE_ONLY
from covid_bert.report.dicom import dicom_results, folder_name, read_source, write_objects
from covid_bert.report.picture import picture_png
from dicom_check import errors_of
from needed import require_program

KINDS = ["lungs", "lesions", "measurements", "report", "picture"]


@pytest.fixture(scope="module")
def files(chest, tmp_path_factory):
    volume, _, _, objects = chest
    return write_objects(objects, tmp_path_factory.mktemp("objects") / folder_name(volume), "s1-small")


def test_all_kinds_are_written_and_dciodvfy_finds_no_error(chest, files) -> None:
    assert list(chest[3]) == KINDS
    names = ["lungs.dcm", "lesions.dcm", "s1-small.measurements.dcm", "s1-small.report.dcm", "s1-small.picture.dcm"]
    assert [file.name for file in files] == names
    assert sorted(file.name for file in files[0].parent.iterdir()) == sorted(names), "no leftovers"
    for file in files:
        assert errors_of(file) == [], file.name


def test_dciodvfy_would_find_an_error(files, tmp_path) -> None:
    dataset = pydicom.dcmread(files[2])
    del dataset.CompletionFlag
    dataset.save_as(tmp_path / "broken.dcm")
    assert errors_of(tmp_path / "broken.dcm")


def test_objects_belong_to_the_patients_study_and_to_series_of_their_own(chest, files) -> None:
    volume = chest[0]
    original = pydicom.dcmread(next(volume.source.path.glob("*.dcm")))
    read = [pydicom.dcmread(file) for file in files]
    for dataset in read:
        assert dataset.StudyInstanceUID == original.StudyInstanceUID
        assert (str(dataset.PatientName), dataset.PatientID) == (PATIENT_NAME, PATIENT_ID)
        assert "research use only" in dataset.SeriesDescription
        assert dataset.ContentQualification == "RESEARCH"
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert pydicom.uid.UID(dataset.SOPInstanceUID).is_valid
    series = [dataset.SeriesInstanceUID for dataset in read]
    assert len({*series, original.SeriesInstanceUID}) == 6
    assert [int(dataset.SeriesNumber) for dataset in read] == [9001, 9002, 9003, 9004, 9005]
    assert [dataset.Modality for dataset in read] == ["SEG", "SEG", "SR", "DOC", "OT"]


def test_the_same_result_gives_the_same_uids_whenever_it_is_computed(chest) -> None:
    volume, _, classification, objects = chest
    again = dicom_results(read_source(volume), volume, later(classification))
    for kind, dataset in objects.items():
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
            assert again[kind][keyword].value == dataset[keyword].value, kind
    # All UIDs inside are drawn from the content too: nothing but times differs.
    assert uids_in(again["lungs"]) == uids_in(objects["lungs"])
    assert uids_in(again["measurements"]) == uids_in(objects["measurements"])
    assert again["lungs"].PixelData == objects["lungs"].PixelData


def uids_in(dataset) -> list[str]:
    return [str(element.value) for element in dataset.iterall() if element.VR == "UI"]


def test_another_answer_is_another_object_in_the_same_series_and_other_weights_are_other_series(chest) -> None:
    volume, source, classification, objects = chest
    scores = {"covid": 0.7, "non-covid": 0.3}
    answer = replace(classification, result=classification.result.model_copy(update={"class_scores": scores}))
    changed = dicom_results(source, volume, answer)
    heavier = dicom_results(source, volume, classify(volume, version="v002"))
    for kind in KINDS[2:]:
        assert changed[kind].SOPInstanceUID != objects[kind].SOPInstanceUID
        assert changed[kind].SeriesInstanceUID == objects[kind].SeriesInstanceUID
        assert heavier[kind].SeriesInstanceUID != objects[kind].SeriesInstanceUID
    assert changed["lungs"].SOPInstanceUID == objects["lungs"].SOPInstanceUID, "the mask is the same"


def test_the_document_is_the_report_and_names_no_patient(files, tmp_path) -> None:
    dataset = pydicom.dcmread(files[3])
    assert dataset.SOPClassUID == pydicom.uid.EncapsulatedPDFStorage
    assert (dataset.MIMETypeOfEncapsulatedDocument, dataset.BurnedInAnnotation) == ("application/pdf", "NO")
    pdf = tmp_path / "report.pdf"
    pdf.write_bytes(dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength])
    program = require_program("pdftotext", "poppler-utils")
    text = subprocess.run([program, "-layout", str(pdf), "-"], capture_output=True, text=True, check=True).stdout
    assert text.count(RESEARCH_USE_ONLY) >= 2
    assert DEMONSTRATION_MODEL in text
    for word in (*PATIENT_NAME.split("^"), PATIENT_ID):
        assert word not in text


def test_the_key_picture_is_the_picture_with_its_words_burned_in_and_says_so(chest, files) -> None:
    volume, _, classification, _ = chest
    dataset = pydicom.dcmread(files[4])
    assert dataset.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
    drawn = np.asarray(Image.open(io.BytesIO(picture_png(volume, classification))).convert("RGB"))
    np.testing.assert_array_equal(dataset.pixel_array, drawn)
    # The attribute asks whether the patient can be known from the pixels, which hold a hash of the image alone.
    assert (dataset.BurnedInAnnotation, dataset.RecognizableVisualFeatures) == ("NO", "NO")
    assert dataset.ImageComments == RESEARCH_USE_ONLY
    foot = drawn[-40:]
    assert (foot < 100).any(), "the line on research use"


def test_an_interrupted_write_leaves_nothing(chest, tmp_path, monkeypatch) -> None:
    objects = chest[3]

    def broken(*_arguments, **_options) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(objects["lesions"], "save_as", broken)
    with pytest.raises(OSError, match="No space"):
        write_objects(objects, tmp_path / "out", "s1-small")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["lungs.dcm"]


def test_no_segmentation_of_an_earlier_result_stays(chest, tmp_path) -> None:
    objects = chest[3]
    write_objects(objects, tmp_path, "s1-small")
    healthy = {kind: dataset for kind, dataset in objects.items() if kind != "lesions"}
    written = write_objects(healthy, tmp_path, "s1-small")
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_folders_of_the_same_image_in_two_series_differ_and_name_nobody(tmp_path) -> None:
    first, second = (make_study(tmp_path / name) for name in ("one", "two"))
    assert first.identifier == second.identifier
    assert folder_name(first) != folder_name(second)
    assert first.source.series_instance_uid not in folder_name(first)
