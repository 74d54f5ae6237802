"""No value of identity is left, wherever it stood; pixels, masks and geometry are as they were."""

from __future__ import annotations

import json

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_maker import COMPRESSED, UNCOMPRESSED, compress, make_series
from multi_frame_maker import make_enhanced
from planted import ARRAY, NAME, NUMBER, STUDY, WORDS, everything, found_in, plant
from result_maker import classify
from volume_maker import phantom

from covid_bert.deidentification.cleaning import Cleaner
from covid_bert.deidentification.profile import Rule, rule_for
from covid_bert.deidentification.project import Project
from covid_bert.phantom import write_dicom
from covid_bert.report.dicom import dicom_results, read_source, write_objects
from covid_bert.volumes import read
from dicom_check import errors_of

PROJECT = Project("test", bytes(32))


def objects(target):
    return [pydicom.dcmread(path) for path in sorted(target.rglob("*.dcm"))]


@pytest.mark.parametrize(
    ("syntax", "options"), [(name, ("--keep-intervals",) if name == "implicit" else ()) for name in UNCOMPRESSED]
)
def test_nothing_of_the_person_is_in_the_bytes_of_an_export(tmp_path, exported, syntax, options):
    plant(tmp_path / "source", syntax=UNCOMPRESSED[syntax])
    assert len(found_in(tmp_path / "source")) > 12, "nothing was planted"
    code, shown, target = exported(*options)
    assert code == 0, shown
    # Times of the day stay where intervals do.
    words = [word for word in WORDS if not (options and b"." in word)]
    assert found_in(target, words) == set()
    assert "uenzel" not in shown
    written = objects(target)
    assert len(written) == 12
    assert {each.PatientIdentityRemoved for each in written} == {"YES"}
    assert {str(each.PatientName) for each in written} == {each.PatientID for each in written}
    assert not any(element.tag.is_private for each in written for element in each.iterall())
    np.testing.assert_array_equal(read(target).array, ARRAY)


@pytest.mark.parametrize("syntax", [*COMPRESSED, "JPEGLosslessProcess14"])
def test_comments_within_compressed_pixels_are_gone(tmp_path, exported, syntax):
    for file in make_series(tmp_path / "source", ARRAY):
        compress(file, syntax)
        content = file.read_bytes()
        # A comment right behind the start of a JPEG or JPEG 2000 image.
        at = content.rfind(b"\xff\xd8\xff") if syntax.startswith(("JPEGLossless", "JPEGLS")) else -1
        if at > 0:
            dataset = pydicom.dcmread(file)
            packed = next(pydicom.encaps.generate_pixel_data_frame(dataset.PixelData, 1))
            comment = b"\xff\xfe" + (len(NAME) + 2).to_bytes(2, "big") + NAME.encode()
            dataset.PixelData = pydicom.encaps.encapsulate([packed[:2] + comment + packed[2:]])
            dataset["PixelData"].is_undefined_length = True
            dataset.save_as(file)
            assert b"Quenzel" in file.read_bytes()
    code, shown, target = exported()
    assert code == 0, shown
    assert found_in(target) == set()
    np.testing.assert_array_equal(read(target).array, ARRAY)


def test_only_the_patients_own_words_are_searched_and_codes_stay():
    """A number like the patient's within a code or a position is none of theirs."""
    source = pydicom.Dataset()
    source.PatientID, source.PatientName = "1230", "Chest^Ada"
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "123037004", "SCT", "Anatomy"
    source.AnatomicRegionSequence = [code]
    source.PixelSpacing, source.BodyPartExamined, source.Manufacturer = ["0.1230", "0.1230"], "CHEST", "Ada Chest's"
    cleaned = Cleaner(PROJECT, "x").clean(source, dummies=False)
    assert cleaned.AnatomicRegionSequence[0].CodeValue == "123037004"
    assert list(cleaned.PixelSpacing) == [0.123, 0.123]
    assert "Manufacturer" not in cleaned
    assert "BodyPartExamined" not in cleaned, "the name of a person, too"


def test_what_was_compressed_with_losses_says_so_when_it_is_no_longer_compressed(tmp_path, exported):
    for file in make_series(tmp_path / "source", ARRAY):
        compress(file, "JPEG2000Lossless")
        dataset = pydicom.dcmread(file)
        dataset.pop("LossyImageCompression", None)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000
        dataset.save_as(file)
    before = read(tmp_path / "source").warnings
    assert any("losses" in warning for warning in before)
    code, shown, target = exported()
    assert code == 0, shown
    assert read(target).warnings == before


@pytest.mark.parametrize(
    ("keyword", "value", "text"),
    [
        ("PatientName", "Quenzel-Maurer^Ada", "seen by Maurer"),
        ("PatientName", "O'Quenzel^Ada", "quenzel"),
        ("PatientName", "Kim^Su", "tumour of Kim"),
        ("PatientName", "Müller^Ada", "Mu\u0308ller"),
        ("PatientID", "KX-4711-98", "lesion of kx-4711-98, left"),
        ("PatientID", "4711", "id_4711"),
        ("DeviceSerialNumber", "SN99887", "CT SN99887"),
        ("StudyInstanceUID", "1.2.840.113619.2.55.3.12345678", "of 1.2.840.113619.2.55.3.12345678"),
    ],
)
def test_kept_texts_are_searched_for_whatever_says_who_it_is(keyword, value, text):
    source = pydicom.Dataset()
    setattr(source, keyword, value)
    source.SegmentLabel, source.SoftwareVersions, source.Manufacturer = text, ["VB20A", text], "Maker"
    cleaned = Cleaner(PROJECT, "x").clean(source, dummies=False)
    assert "SegmentLabel" not in cleaned
    assert "SoftwareVersions" not in cleaned
    assert cleaned.Manufacturer == "Maker"


def test_short_words_and_versions_are_no_identity():
    source = pydicom.Dataset()
    source.PatientName, source.PatientID, source.Modality = "CT^Kim", "711", "CT"
    source.SegmentLabel, source.SoftwareVersions = "Kimura's sign", ["syngo 4.711", "10.2.14.3.7.255"]
    cleaned = Cleaner(PROJECT, "x").clean(source, dummies=False)
    assert cleaned.Modality == "CT"
    assert cleaned.SegmentLabel == "Kimura's sign"
    assert list(cleaned.SoftwareVersions) == ["syngo 4.711", "10.2.14.3.7.255"]


def test_texts_that_no_rule_names_are_gone_without_a_word_of_the_patient():
    source = pydicom.Dataset()
    everything(source)
    source.PatientName, source.PatientID = "", ""
    for element in source:
        if element.VR == "PN":
            element.value = ""
        elif element.VR in ("LO", "SH", "LT", "ST", "UT", "UC"):
            element.value = "kept by nobody"
    cleaned = Cleaner(PROJECT, "x").clean(source, dummies=False)
    kept = {element.keyword for element in cleaned if "kept" in str(element.value)}
    assert kept <= {
        *(
            "Manufacturer",
            "ManufacturerModelName",
            "SoftwareVersions",
            "ConvolutionKernel",
            "FilterType",
            "CodeMeaning",
        ),
        *("RescaleType", "StackID", "DimensionDescriptionLabel", "AlgorithmName", "AlgorithmVersion", "CodeValue"),
        *("CodingSchemeDesignator", "CodingSchemeVersion", "LongCodeValue", "SegmentLabel", "SegmentAlgorithmName"),
    }


@pytest.mark.parametrize(
    ("keyword", "vr", "rule"),
    [
        ("PatientName", "PN", Rule.EMPTY),
        ("PatientAddress", "LO", Rule.REMOVE),
        ("StudyDate", "DA", Rule.EMPTY),
        ("SeriesDescription", "LO", Rule.REMOVE),
        ("AccessionNumber", "SH", Rule.EMPTY),
        ("FrameOfReferenceUID", "UI", Rule.UID),
        ("InstitutionName", "LO", Rule.REMOVE),
        ("RequestAttributesSequence", "SQ", Rule.REMOVE),
        ("SourceImageSequence", "SQ", Rule.DESCEND),
        ("OverlayData", "OW", Rule.REMOVE),
        ("PatientBirthDate", "DA", Rule.EMPTY),
        ("Rows", "US", Rule.KEEP),
        ("ImagePositionPatient", "DS", Rule.KEEP),
        ("Rows", "LT", Rule.REMOVE),
    ],
)
def test_the_table_of_the_standard(keyword, vr, rule):
    tag = pydicom.tag.Tag(keyword) if keyword != "OverlayData" else pydicom.tag.Tag(0x6000, 0x3000)
    assert rule_for(tag, vr, dummies=False, keep_intervals=False) is rule
    if keyword == "StudyDate":
        assert rule_for(tag, vr, dummies=False, keep_intervals=True) is Rule.DATE
    if keyword == "PatientBirthDate":
        assert rule_for(tag, vr, dummies=False, keep_intervals=True) is rule


def test_masks_refer_to_the_exported_images_and_are_unchanged(tmp_path, exported):
    def named(dataset, index):
        dataset.StudyDate, dataset.FrameOfReferenceUID = "20240317", f"{STUDY}.3"

    make_series(tmp_path / "source" / "ct", ARRAY, edit=named)
    volume = read(tmp_path / "source" / "ct")
    made = dicom_results(read_source(volume), volume, classify(volume, calibrated=False))
    files = write_objects(made, tmp_path / "source" / "results", "s1-small")
    code, shown, target = exported()
    assert code == 0, shown
    images, masks = [], []
    for path in target.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        (masks if dataset.Modality == "SEG" else images).append(dataset)
        assert errors_of(path) == [] or dataset.Modality == "CT", errors_of(path)
    assert (len(images), len(masks)) == (12, 2)
    # Report, PDF and picture have text that no rule for attributes finds.
    assert "left out" in shown
    uids = {each.SOPInstanceUID for each in images}
    before = {pydicom.dcmread(file).SeriesDescription: pydicom.dcmread(file) for file in files}
    originals = [each for each in before.values() if each.Modality == "SEG"]
    for mask in masks:
        assert {
            each.ReferencedSOPInstanceUID for each in mask.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        } <= uids
        assert mask.ReferencedSeriesSequence[0].SeriesInstanceUID == images[0].SeriesInstanceUID
        assert mask.FrameOfReferenceUID == images[0].FrameOfReferenceUID
        assert {each.PatientID for each in (*images, mask)} == {mask.PatientID}
        assert mask.StudyInstanceUID == images[0].StudyInstanceUID
        (original,) = (
            each
            for each in originals
            if len(each.pixel_array) == len(mask.pixel_array) and np.array_equal(each.pixel_array, mask.pixel_array)
        )
        highdicom.seg.Segmentation.from_dataset(mask)
        assert mask.SegmentSequence[0].SegmentLabel == original.SegmentSequence[0].SegmentLabel


@pytest.mark.parametrize("options", [(), ("--keep-intervals",)])
def test_objects_are_valid_and_read_to_the_same_values_and_places(tmp_path, exported, options):
    array = phantom((9, 24, 30))
    make_series(tmp_path / "source" / "ct", array, edit=complete)
    make_enhanced(tmp_path / "source" / "enhanced" / "a.dcm", array)
    code, shown, target = exported(*options)
    assert code == 0, shown
    assert all(report["series"] for report in json.loads((target / "report-0001.json").read_text())["studies"])
    for path in target.rglob("*.dcm"):
        if pydicom.dcmread(path).SOPClassUID == pydicom.uid.CTImageStorage:
            assert errors_of(path) == []
    folders = {path.parent for path in target.rglob("*.dcm")}
    assert {read(folder).identifier for folder in folders} == {
        read(tmp_path / "source" / name).identifier for name in ("ct", "enhanced")
    }


def complete(dataset, index):
    """What a CT image must have beside what reading asks for."""
    dataset.PatientBirthDate, dataset.PatientSex, dataset.StudyDate, dataset.StudyTime = (
        "19610704",
        "F",
        "20240317",
        "101112",
    )
    dataset.AccessionNumber, dataset.StudyID, dataset.ReferringPhysicianName = NUMBER, "7", NAME
    dataset.BodyPartExamined = "CHEST"
    dataset.Manufacturer, dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = "Maker", f"{STUDY}.5", ""
    dataset.AcquisitionNumber, dataset.KVP, dataset.SliceThickness, dataset.PatientPosition = 1, "120", "2.5", "HFS"
    dataset.AcquisitionDate, dataset.ContentDate, dataset.SeriesDate = "20240317", "20240317", "20240317"
    dataset.AcquisitionTime, dataset.ContentTime, dataset.SeriesTime = "101112", "101112", "101112"


@pytest.mark.usefixtures("small_networks")
def test_a_study_classifies_alike_afterwards(tmp_path, exported, phantom):
    from command_line import run

    write_dicom(phantom, tmp_path / "source", patient_id=NAME)
    code, shown, target = exported("--accept-burned-in")
    assert code == 0, shown
    results = []
    for name, study in (("before", tmp_path / "source"), ("after", target)):
        code, shown = run("classify", study, "--system", "s1", "--lungs", "morphological", "--out", tmp_path / name)
        assert code == 0, shown
        (file,) = (tmp_path / name).glob("*.s1-*.json")
        results.append((file.name, json.loads(file.read_text())["class_scores"]))
    assert results[0] == results[1]
