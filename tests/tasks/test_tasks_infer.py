"""The app and its tasks in this process, called as MONAI Label's server calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import jsonschema
import nibabel
import numpy as np
import pytest
import torch
from fastapi import HTTPException
from PIL import Image

from covid_bert import DEMONSTRATION_MODEL
from covid_bert.errors import ParameterError
from covid_bert.lungs import METHOD_CHOICES, segment_lungs
from covid_bert.lungs.mask import LungMask
from covid_bert.phantom import write
from covid_bert.progress import Progress
from covid_bert.systems import SYSTEMS
from covid_bert.systems.memory import CARD_TOO_SMALL
from covid_bert.tasks.parameters import InferParameters
from covid_bert.volumes import read, read_mask, to_gray8
from lesion_networks import install_lesion_weights

pytestmark = pytest.mark.usefixtures("small_networks")


def infer(app, model: str, image: str, **parameters):
    return app.infer({"model": model, "image": image, "client_id": "somebody", **parameters})


def test_app_offers_the_tasks_and_says_research_use_only(app) -> None:
    info = app.info()
    assert set(info["models"]) == {"lungs", "lesions", "lungs_and_covid", "covid_s1", "covid_s2", "covid_baseline"}
    assert info["models"]["lesions"]["labels"] == {"ground-glass": 1, "consolidation": 2}
    assert info["models"]["lungs_and_covid"]["labels"] == {"right lung": 1, "left lung": 2}
    assert info["labels"] == {"right lung": 1, "left lung": 2}
    assert "Research use only" in info["description"]
    assert all("Research use only" in model["description"] for model in info["models"].values())
    json.dumps(info)


def test_files_folders_and_zips_are_studies(app) -> None:
    assert set(app.datastore().list_images()) == {"chest", "chest2", "series.1.2.3", "zipped", "broken"}


@pytest.mark.parametrize("image", ["chest", "chest2", "series.1.2.3", "zipped"])
def test_lungs_reply_with_a_mask_on_the_studys_own_grid(app, studies, phantom, image: str) -> None:
    reply = infer(app, "lungs", image)
    path = Path(reply["file"])
    mask = nibabel.load(path)
    source = read(app.datastore().get_image_uri(image))
    assert mask.shape == source.native.shape
    np.testing.assert_allclose(mask.affine, source.native.affine, atol=1e-3)
    canonical = read_mask(path, source)
    truth = phantom.lungs.array
    for side in (1, 2):
        ours, exact = canonical == side, truth == side
        overlap = 2 * (ours & exact).sum() / (ours.sum() + exact.sum())
        assert overlap > 0.93
    assert reply["params"]["label_names"] == {"right lung": 1, "left lung": 2}
    assert reply["params"]["lung_volume_ml"]["right"] > 500
    path.unlink()


@pytest.mark.parametrize("image", ["chest", "chest2", "series.1.2.3", "zipped"])
def test_lesions_reply_with_a_mask_on_the_studys_own_grid(app, image: str, lesions_by_density) -> None:
    reply = infer(app, "lesions", image, lungs="morphological")
    path, parameters = Path(reply["file"]), reply["params"]
    source = read(app.datastore().get_image_uri(image))
    mask = nibabel.load(path)
    assert mask.shape == source.native.shape
    np.testing.assert_allclose(mask.affine, source.native.affine, atol=1e-3)
    labels = read_mask(path, source)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert parameters["label_names"] == {"ground-glass": 1, "consolidation": 2}
    assert parameters["lesions"]["total_ml"] == pytest.approx(np.count_nonzero(labels) * source.voxel_milliliters)
    assert parameters["warnings"].count(DEMONSTRATION_MODEL) == 1
    assert parameters["weights"][-1]["name"] == "default-lesions"
    assert "Research use only" in parameters["research_use_only"]
    json.dumps(parameters)
    path.unlink()


def test_lesions_without_weights_or_with_an_unfit_study_are_typed_errors(app, studies, phantom) -> None:
    with pytest.raises(HTTPException) as caught:
        infer(app, "lesions", "chest")
    assert caught.value.status_code == 503
    assert "default-lesions" in caught.value.detail["hint"]
    with pytest.raises(HTTPException) as caught:
        infer(app, "covid_s1", "chest", reply_image="lesions")
    assert caught.value.detail["code"] == "bad-weights"
    folder = studies / "gray"
    folder.mkdir()
    middle = phantom.volume.shape[0] // 2
    for number, plane in enumerate(to_gray8(phantom.volume.array[middle : middle + 3])):
        Image.fromarray(plane).save(folder / f"{number}.png")
    with pytest.raises(HTTPException) as caught:
        infer(app, "lesions", str(folder))
    assert caught.value.status_code == 422
    assert "Hounsfield" in caught.value.detail["message"]


def test_a_classification_can_come_with_the_lesions(app, lesions_by_density) -> None:
    reply = infer(app, "covid_baseline", "chest", reply_image="lesions", lungs="morphological")
    source = read(app.datastore().get_image_uri("chest"))
    labels, found = read_mask(Path(reply["file"]), source), reply["params"]["result"]["lesions"]
    assert reply["params"]["label_names"] == {"ground-glass": 1, "consolidation": 2}
    assert found["total_ml"] == pytest.approx(np.count_nonzero(labels) * source.voxel_milliliters)
    assert reply["params"]["result"]["warnings"].count(DEMONSTRATION_MODEL) == 1
    Path(reply["file"]).unlink()


def test_all_images_are_written_beside_each_other_in_a_job_alone(app, lesions_by_density, tmp_path: Path) -> None:
    from covid_bert.tasks.infer import observed

    with observed(Progress(), tmp_path):
        reply = infer(app, "covid_baseline", "chest", reply_image="all", lungs="morphological")
    assert Path(reply["file"]) == tmp_path / "lungs.nii.gz"
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.nii.gz" for name in ("lungs", "lesions", "location")}
    source = read(app.datastore().get_image_uri("chest"))
    assert read_mask(tmp_path / "lungs.nii.gz", source).max() == 2
    total = reply["params"]["result"]["lesions"]["total_ml"]
    found = np.count_nonzero(read_mask(tmp_path / "lesions.nii.gz", source)) * source.voxel_milliliters
    assert total == pytest.approx(found)
    with pytest.raises(HTTPException, match="job"):
        infer(app, "covid_baseline", "chest", reply_image="all")


def test_where_a_card_is_too_small_the_reply_says_so(app, monkeypatch) -> None:
    def on_processor_only(*arguments, device: str, **options):
        if device != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return segment_lungs(*arguments, device=device, **options)

    monkeypatch.setattr("covid_bert.tasks.infer.segment_lungs", on_processor_only)
    params = infer(app, "lungs", "chest", lungs="morphological")["params"]
    assert params["warnings"].count(CARD_TOO_SMALL) == 1


def test_demonstration_lungs_say_so(app, phantom, monkeypatch) -> None:
    weights = install_lesion_weights().identity
    made = LungMask(phantom.lungs.array, "unet", weights=weights)
    monkeypatch.setattr("covid_bert.tasks.infer.segment_lungs", lambda *_, **__: made)
    parameters = infer(app, "lungs", "chest")["params"]
    assert parameters["warnings"].count(DEMONSTRATION_MODEL) == 1
    assert parameters["weights"] == [weights.model_dump(mode="json")]


@pytest.mark.parametrize("model", ["covid_s1", "covid_s2", "covid_baseline"])
def test_classification_replies_with_prediction_and_result(app, repository, model: str) -> None:
    reply = infer(app, model, "chest", reply_image="none")
    assert reply["file"] is None
    prediction = reply["params"]["prediction"]
    assert {item["label"] for item in prediction} == {"covid", "non-covid"}
    assert prediction[0]["label"] == reply["params"]["result"]["predicted_class"]
    assert {item["idx"] for item in prediction if item["label"] == "covid"} == {0}
    schema = json.loads((repository / "docs" / "result.schema.json").read_text())
    jsonschema.validate(reply["params"]["result"], schema)
    json.dumps(reply["params"])


def test_the_predicted_class_comes_first_whatever_the_scores(app, monkeypatch) -> None:
    monkeypatch.setattr("covid_bert.systems.base.predict", lambda scores, _: min(scores, key=scores.get))
    reply = infer(app, "covid_s2", "chest", reply_image="none")
    first, second = reply["params"]["prediction"]
    assert first["label"] == reply["params"]["result"]["predicted_class"]
    assert first["score"] < second["score"]


def test_combined_task_replies_with_both(app) -> None:
    reply = infer(app, "lungs_and_covid", "chest", system="s2", result_extension=".nrrd")
    assert reply["file"].endswith(".nrrd")
    assert read_mask(Path(reply["file"]), read(app.datastore().get_image_uri("chest"))).max() == 2
    assert reply["params"]["result"]["provenance"]["system"] == "s2"
    Path(reply["file"]).unlink()


def test_location_map_comes_on_request(app) -> None:
    reply = infer(app, "covid_s1", "chest", reply_image="location")
    image = nibabel.load(reply["file"])
    assert image.shape == read(app.datastore().get_image_uri("chest")).native.shape
    assert np.asarray(image.dataobj).max() == 255
    Path(reply["file"]).unlink()


@pytest.mark.parametrize(
    ("image", "parameters", "status", "code"),
    [
        ("nobody", {}, 404, "not-found"),
        ("broken", {}, 415, "unreadable-file"),
        ("chest", {"configuration": "best"}, 422, "bad-parameter"),
        ("chest", {"device": "cuda:77"}, 422, "bad-parameter"),
        ("chest", {"device": "../../etc"}, 422, "bad-parameter"),
        ("chest", {"lungs": "r231"}, 503, None),
    ],
)
def test_errors_carry_status_code_message_and_hint(app, image, parameters, status, code) -> None:
    with pytest.raises(HTTPException) as caught:
        infer(app, "covid_s1", image, **parameters)
    assert caught.value.status_code == status
    detail = caught.value.detail
    assert code in (None, detail["code"])
    assert detail["message"]
    assert detail["hint"]
    assert "--" not in detail["hint"], "who calls the server has no command line"


def test_unknown_parameters_and_the_system_of_another_model_are_refused(app) -> None:
    for model, parameters in (("covid_s1", {"system": "s2"}), ("covid_s1", {"configuraton": "published"})):
        with pytest.raises(HTTPException) as caught:
            infer(app, model, "chest", **parameters)
        assert caught.value.status_code == 422
        assert "configuration" in caught.value.detail["hint"]


def test_paths_outside_the_studies_are_not_read(app, phantom, tmp_path) -> None:
    elsewhere = write(phantom, tmp_path / "elsewhere.nii.gz")
    with pytest.raises(HTTPException) as caught:
        infer(app, "lungs", str(elsewhere))
    assert caught.value.detail["code"] == "not-found"


def test_an_id_that_is_also_a_file_in_the_servers_folder_is_the_study(app, tmp_path, monkeypatch) -> None:
    (tmp_path / "chest").write_text("not the study")
    monkeypatch.chdir(tmp_path)
    reply = infer(app, "lungs", "chest", save_label=True, label_tag="original")
    assert reply["params"]["lung_volume_ml"]["total"] > 1000
    assert reply["label"] == "chest"
    assert app.datastore().get_label_by_image_id("chest", "original") == "chest"


@pytest.mark.parametrize("tag", ["../../evil", "/tmp/evil", ".hidden", "", None, 5, "a" * 100])
def test_labels_stay_in_their_folder(app, studies, tmp_path, tag) -> None:
    before = sorted(studies.parent.rglob("*"))
    with pytest.raises(ParameterError):
        app.datastore().save_label("chest", str(studies / "chest.nii.gz"), tag, {})
    assert sorted(studies.parent.rglob("*")) == before


def test_an_id_that_no_path_can_be_is_unknown(app) -> None:
    for image in ("x" * 3000, "a\0b"):
        with pytest.raises(HTTPException) as caught:
            infer(app, "lungs", image)
        assert caught.value.status_code == 404


def test_cuda_by_habit_is_whatever_there_is(app) -> None:
    reply = infer(app, "covid_baseline", "chest", device="cuda", reply_image="none")
    assert reply["params"]["result"]["provenance"]["device"] in {"cpu", "cuda:0"}


def test_replies_lie_where_only_this_user_may_look(app) -> None:
    path = Path(infer(app, "lungs", "chest")["file"])
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.unlink()


def test_choices_that_clients_see_are_those_that_are_accepted() -> None:
    fields = InferParameters.model_fields
    assert set(get_args(fields["system"].annotation)) == set(SYSTEMS)
    assert get_args(fields["lungs"].annotation) == METHOD_CHOICES
    known = {configuration for entry in SYSTEMS.values() for configuration in entry.configurations}
    assert set(get_args(fields["configuration"].annotation)) == {"auto", *known}


def test_a_study_without_lungs_is_refused(app, studies) -> None:
    rng = np.random.default_rng(0)
    head = rng.normal(40, 10, (64, 64, 40)).astype(np.int16)
    head[:8] = -1000
    nibabel.save(nibabel.Nifti1Image(head, np.diag([4.0, 4.0, 5.0, 1.0])), studies / "head.nii.gz")
    with pytest.raises(HTTPException) as caught:
        infer(app, "lungs", str(studies / "head.nii.gz"))
    assert caught.value.status_code == 422
    assert caught.value.detail["code"] == "no-lungs"
