"""A real archive: results are stored in Orthanc by STOW, beside their study, and come back equal."""

from __future__ import annotations

import io
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_maker import make_series
from dicomweb_client.api import DICOMwebClient
from result_maker import classify
from volume_maker import phantom

from covid_bert.report.dicom import dicom_results, read_source
from covid_bert.volumes import read
from orthanc_server import running_orthanc

pytestmark = pytest.mark.server


def _edit(dataset, index) -> None:
    dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 100", "Müller^Jürgen"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory):
    """Objects, and a client of the archive that has them and their study."""
    folder = tmp_path_factory.mktemp("archive")
    files = make_series(folder / "study", phantom(), edit=_edit)
    volume = read(folder / "study")
    objects = dicom_results(read_source(volume), volume, classify(volume))
    (folder / "orthanc").mkdir()
    with running_orthanc(folder / "orthanc") as address:
        client = DICOMwebClient(f"{address}/dicom-web")
        client.store_instances([pydicom.dcmread(file) for file in files])
        client.store_instances(list(objects.values()))
        # A second time, as after a lost answer.
        client.store_instances(list(objects.values()))
        yield volume, objects, client


def _instance(client: DICOMwebClient, dataset: pydicom.Dataset) -> pydicom.Dataset:
    return client.retrieve_instance(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)


def _as_read(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """An object as it is read from a file: of pydicom's own classes, as what comes from the archive."""
    file = io.BytesIO()
    dataset.save_as(file, write_like_original=False)
    file.seek(0)
    return pydicom.dcmread(file)


def test_the_study_has_its_results_once_each_in_series_of_their_own(stored) -> None:
    volume, objects, client = stored
    study = volume.source.study_instance_uid
    assert len(client.search_for_studies()) == 1, "one patient, one study: the name did not change on its way"
    found = [pydicom.Dataset.from_json(each) for each in client.search_for_series(study)]
    assert sorted(each.Modality for each in found) == ["CT", "DOC", "OT", "SEG", "SEG", "SR"]
    assert {each.SeriesInstanceUID for each in found} >= {each.SeriesInstanceUID for each in objects.values()}
    assert len(client.search_for_instances(study)) == volume.shape[0] + len(objects)


def test_every_object_comes_back_equal(stored) -> None:
    _, objects, client = stored
    for kind, dataset in objects.items():
        back = _instance(client, dataset)
        assert str(back.PatientName) == "Müller^Jürgen"
        for element in _as_read(dataset):
            assert back[element.tag].value == element.value, f"{kind}: {element.keyword}"


def test_the_mask_in_the_archive_is_the_mask(stored) -> None:
    volume, objects, client = stored
    segmentation = highdicom.seg.Segmentation.from_dataset(_instance(client, objects["lungs"]))
    labels = segmentation.get_pixels_by_source_instance(
        list(volume.source.sop_instance_uids), combine_segments=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(labels, classify(volume).lungs.array)


def test_the_archive_renders_picture_and_document(stored, tmp_path: Path) -> None:
    _, objects, client = stored
    picture = _instance(client, objects["picture"])
    np.testing.assert_array_equal(picture.pixel_array, objects["picture"].pixel_array)
    document = _instance(client, objects["report"])
    assert document.EncapsulatedDocument[:5] == b"%PDF-"
