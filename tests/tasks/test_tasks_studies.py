"""The app with many studies: which it offers, which comes next, and inference over several."""

from __future__ import annotations

import pytest

from covid_bert.datastore.store import StudyDatastore
from covid_bert.phantom import write, write_dicom
from covid_bert.volumes import read

pytestmark = pytest.mark.usefixtures("small_networks")


def test_nested_exports_are_offered_and_ambiguous_names_are_not(tmp_path, phantom) -> None:
    write_dicom(phantom, tmp_path / "patient" / "study" / "series")
    write(phantom, tmp_path / "twice.nii.gz")
    write(phantom, tmp_path / "twice.nrrd")
    write(phantom, tmp_path / "once.mha")
    (tmp_path / "empty").mkdir()
    datastore = StudyDatastore(str(tmp_path), auto_reload=False)
    assert set(datastore.list_images()) == {"patient", "once"}
    assert read(datastore.get_image_uri("patient")).shape == phantom.volume.shape


def test_strategies_hand_out_studies_even_twice_in_a_second(app) -> None:
    for strategy in ("first", "random"):
        chosen = {app._strategies[strategy]({"strategy": strategy}, app.datastore())["id"] for _ in range(3)}
        assert chosen <= set(app.datastore().list_images())


def test_batch_inference_goes_on_past_a_bad_study_and_keeps_labels(app, studies) -> None:
    request = {"model": "lungs", "images": ["broken", "chest2"], "device": "cpu"}
    replies = app.batch_infer(request)
    assert replies["broken"]["error"]["code"] == "unreadable-file"
    assert replies["chest2"]["params"]["lung_volume_ml"]["total"] > 1000
    assert app.datastore().get_label_by_image_id("chest2", "original") == "chest2"
    assert list((studies / "labels" / "original").glob("chest2*"))
