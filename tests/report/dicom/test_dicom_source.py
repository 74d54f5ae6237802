"""Sources as they come: missing attributes, other character sets, zips, and what is no DICOM study at all."""

from __future__ import annotations

import io
import logging
import shutil
import warnings
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_maker import UNCOMPRESSED, make_series, setting
from PIL import Image
from result_maker import CREATED, classify, make_study
from volume_maker import AFFINE, PATIENT_NAME, assert_clean, file_order, nifti, phantom

from covid_bert.errors import CovidBertError, GeometryError, InputError, MixedSeriesError, NotFoundError
from covid_bert.report.dicom import read_source
from covid_bert.report.dicom.document import encapsulated_pdf
from covid_bert.report.dicom.key_picture import key_picture
from covid_bert.report.dicom.segmentation import lung_segmentation
from covid_bert.report.dicom.structured_report import measurement_report
from covid_bert.volumes import read
from dicom_check import errors_of

NAMES = {
    "Latin": ("ISO_IR 100", "Müller^Jürgen"),
    "Cyrillic": ("ISO_IR 144", "Люкceмбypг"),
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "Korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "Chinese": ("GB18030", "Wang^XiaoDong=王^小东"),
    "Unicode": ("ISO_IR 192", "Ævar^Ñandú=山田"),
}


def written(volume, folder):
    """The objects that need no figures, written and read again."""
    source, classification = read_source(volume), classify(volume)
    made = lung_segmentation(source, volume, classification.lungs, CREATED)
    objects = [
        made.dataset,
        measurement_report(source, classification.result, made, None),
        encapsulated_pdf(source, classification.result, b"%PDF-1.4 odd"),
    ]
    files = []
    for number, dataset in enumerate(objects):
        files.append(folder / f"{number}.dcm")
        dataset.save_as(files[-1], write_like_original=False)
    return files


def refused(error_class, volume) -> CovidBertError:
    with pytest.raises(error_class) as caught:
        read_source(volume)
    assert_clean(caught.value)
    return caught.value


@pytest.mark.parametrize(("character_set", "name"), NAMES.values(), ids=NAMES)
def test_names_of_every_script_come_through(tmp_path, character_set, name) -> None:
    def edit(dataset, index) -> None:
        dataset.SpecificCharacterSet, dataset.PatientName = character_set, name

    volume = make_study(tmp_path / "study", edit=edit)
    for file in written(volume, tmp_path):
        dataset = pydicom.dcmread(file)
        assert str(dataset.PatientName) == name
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
        assert errors_of(file) == []


@pytest.mark.parametrize("syntax", UNCOMPRESSED.values(), ids=UNCOMPRESSED)
def test_sources_of_every_byte_order_and_form_give_the_same_kind_of_objects(tmp_path, syntax) -> None:
    for file in written(make_study(tmp_path / "study", syntax=syntax), tmp_path):
        dataset = pydicom.dcmread(file)
        assert str(dataset.PatientName) == PATIENT_NAME
        assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientName", ""),
        ("PatientID", ""),
        ("PatientSex", "X"),
        ("PatientBirthDate", "1970.01.01"),
        ("PatientAge", "about forty"),
        ("PatientWeight", None),
        ("StudyDate", "yesterday"),
        ("StudyTime", "noon"),
        ("StudyID", "a study id that is far too long"),
        ("PatientIdentityRemoved", "YES"),
        ("LossyImageCompression", "01"),
        ("SliceThickness", 0),
        ("SliceThickness", [2.5, 2.5]),
        ("StudyDate", ["20240317", "20240318"]),
        ("TimezoneOffsetFromUTC", "+9900"),
        ("FrameOfReferenceUID", ""),
        ("TimezoneOffsetFromUTC", "+0530"),
        ("ReferringPhysicianName", "A" * 100),
    ],
)
def test_odd_values_make_no_invalid_object(tmp_path, keyword, value) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = make_study(tmp_path / "study", edit=setting(keyword, value))
    for file in written(volume, tmp_path):
        assert errors_of(file) == []
        dataset = pydicom.dcmread(file)
        assert "PatientName" in dataset
        if keyword == "TimezoneOffsetFromUTC" and value == "+0530":
            assert (dataset.ContentDate, dataset.ContentTime) == ("20260304", "103607")
        assert dataset.get("TimezoneOffsetFromUTC") != "+9900"


def test_whatever_a_source_may_lack_makes_no_invalid_object(tmp_path) -> None:
    def edit(dataset, index) -> None:
        for keyword in (
            "PatientName",
            "PatientID",
            "SeriesNumber",
            "InstanceNumber",
            "ConvolutionKernel",
            "RescaleType",
        ):
            del dataset[keyword]

    for file in written(make_study(tmp_path / "study", edit=edit), tmp_path):
        assert errors_of(file) == []
        dataset = pydicom.dcmread(file)
        assert (str(dataset.PatientName), dataset.PatientID, dataset.StudyDate) == ("", "", "")


def test_places_with_too_many_digits_are_places(tmp_path) -> None:
    """Other programs write numbers of more than the 16 characters that DICOM allows."""

    def edit(dataset, index) -> None:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
            long = [f"{float(value) + 1e-13:.17f}" for value in dataset[keyword].value]
            setattr(dataset, keyword, long)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = make_study(tmp_path / "study", edit=edit)
    assert len(read_source(volume).planes) == 12
    for file in written(volume, tmp_path):
        assert errors_of(file) == []


def test_a_patient_is_never_lost_to_a_value_that_is_too_long(tmp_path) -> None:
    long = "ID-" + "7" * 90
    volume = make_study(tmp_path / "study", edit=setting("PatientID", long))
    for file in written(volume, tmp_path):
        assert pydicom.dcmread(file).PatientID == long


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"])
def test_uids_that_dicom_does_not_allow_are_still_the_names_of_things(tmp_path, keyword) -> None:
    """Scanners and anonymisers write components with a leading zero, and more than 64 characters."""

    def edit(dataset, index) -> None:
        setattr(dataset, keyword, f"1.2.840.007.{'4' * 60}.{index if keyword == 'SOPInstanceUID' else 1}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = make_study(tmp_path / "study", edit=edit)
        originals = [pydicom.dcmread(file) for file in sorted((tmp_path / "study").iterdir())]
        segmentation, report, document = (pydicom.dcmread(file) for file in written(volume, tmp_path))
    series = segmentation.ReferencedSeriesSequence[0]
    assert {each.StudyInstanceUID for each in (segmentation, report, document)} == {originals[0].StudyInstanceUID}
    assert series.SeriesInstanceUID == originals[0].SeriesInstanceUID
    named = {each.ReferencedSOPInstanceUID for each in series.ReferencedInstanceSequence}
    assert named == {each.SOPInstanceUID for each in originals}
    assert named == {each.ReferencedSOPInstanceUID for each in document.SourceInstanceSequence}
    if keyword == "FrameOfReferenceUID":
        assert segmentation.FrameOfReferenceUID == originals[0].FrameOfReferenceUID


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_several_uids_in_the_place_of_one_are_refused(tmp_path, keyword) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = make_study(
            tmp_path / "study",
            edit=lambda dataset, index: setattr(dataset, keyword, ["1.2.3", f"1.2.{index if 'SOP' in keyword else 4}"]),
        )
    refused((InputError, NotFoundError), volume)


def test_instances_of_two_patients_and_of_two_studies_are_refused(tmp_path) -> None:
    def two(keyword, values):
        return lambda dataset, index: setattr(dataset, keyword, values[index % 2])

    patients = make_study(tmp_path / "patients", edit=two("PatientID", ("A-1", "B-2")))
    assert "patients" in refused(InputError, patients).message
    with pytest.raises(MixedSeriesError):
        make_study(tmp_path / "studies", edit=two("StudyInstanceUID", ("1.2.3", "1.2.4")))


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SOPClassUID"])
def test_a_study_without_its_uid_is_refused_with_a_sentence(tmp_path, keyword) -> None:
    def edit(dataset, index) -> None:
        del dataset[keyword]

    volume = make_study(tmp_path / "study", edit=edit)
    assert keyword in refused(InputError, volume).message


def test_what_is_no_dicom_study_is_refused(tmp_path) -> None:
    volume = read(nifti(tmp_path / "chest.nii.gz", file_order(phantom()), AFFINE))
    error = refused(InputError, volume)
    assert "not DICOM" in error.message
    assert isinstance(nibabel.load(tmp_path / "chest.nii.gz"), nibabel.Nifti1Image)


def test_text_in_the_pixels_of_the_source_is_text_in_what_shows_them(tmp_path) -> None:
    def edit(dataset, index) -> None:
        dataset.BurnedInAnnotation = "YES" if index == 4 else "NO"

    volume = make_study(tmp_path / "study", edit=edit)
    source, classification = read_source(volume), classify(volume)
    shown = io.BytesIO()
    Image.new("RGB", (8, 8)).save(shown, "png")
    picture = key_picture(source, classification.result, shown.getvalue())
    document = encapsulated_pdf(source, classification.result, b"%PDF")
    assert (picture.BurnedInAnnotation, document.BurnedInAnnotation) == ("YES", "YES")


def test_files_that_went_or_moved_are_noticed(tmp_path) -> None:
    volume = make_study(tmp_path / "study")
    file = sorted((tmp_path / "study").iterdir())[3]
    dataset = pydicom.dcmread(file)
    dataset.ImagePositionPatient = [0, 0, 900]
    dataset.save_as(file)
    refused(GeometryError, volume)
    file.unlink()
    assert "1 of the 12" in refused(NotFoundError, volume).message
    shutil.rmtree(tmp_path / "study")
    refused(NotFoundError, volume)


def test_a_zip_is_a_source_like_its_folder(tmp_path) -> None:
    make_series(tmp_path / "study", phantom())
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for file in (tmp_path / "study").iterdir():
            archive.write(file, file.name)
    folder, packed = read(tmp_path / "study"), read(tmp_path / "study.zip")
    one, other = read_source(folder), read_source(packed)
    assert [each.SOPInstanceUID for each in one.instances] == [each.SOPInstanceUID for each in other.instances]
    made = [lung_segmentation(source, folder, classify(folder).lungs, CREATED).dataset for source in (one, other)]
    assert made[0].SOPInstanceUID == made[1].SOPInstanceUID


def test_no_log_and_no_warning_has_anything_of_the_patient(tmp_path, caplog) -> None:
    # A name that highdicom warns of, and an identifier that pydicom warns of.
    odd = "Doe Jane"

    def edit(dataset, index) -> None:
        dataset.PatientName, dataset.PatientID = odd, "SECRET " + "4" * 80

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = make_study(tmp_path / "study", edit=edit)
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        source, classification = read_source(volume), classify(volume)
        lung_segmentation(source, volume, classification.lungs, CREATED)
        measurement_report(source, classification.result, None, None)
        encapsulated_pdf(source, classification.result, b"%PDF")
    said = caplog.text + " ".join(str(each.message) for each in heard)
    assert "Doe" not in said
    assert "SECRET" not in said


def test_a_series_that_is_written_upside_down_keeps_its_instances_apart(tmp_path) -> None:
    """Slices with one number each, in a shuffled order of files: the instance of a slice is the one that holds it."""
    order = np.random.default_rng(0).permutation(12)
    files = make_series(tmp_path / "study", phantom(), names=[f"{place:03d}.dcm" for place in order])
    uids = [pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID for file in files]
    source = read_source(read(tmp_path / "study"))
    assert [source.plane_of(index).dataset.SOPInstanceUID for index in range(12)] == uids
