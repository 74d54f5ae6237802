"""MONAI Label's own client from the next sample to the next version: strategies, masks, trainings, on a real server."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from covid_bert.datastore.opinions import open_split
from covid_bert.phantom import make, write
from covid_bert.retraining.cases import Part
from needed import REPOSITORY, require_module

pytestmark = [pytest.mark.server, pytest.mark.slow]
# Only a test that fails waits for so long.
SECONDS = 1800
PARTS = (Part.TRAINING, Part.TRAINING, Part.VALIDATION, Part.VALIDATION, Part.VALIDATION)
SHAPE, SPACING = (44, 72, 72), (6.0, 4.6, 4.6)
REAL = "lung1"
STRATEGIES = ["first", "random", "uncertainty", "diversity", "mixed"]
# As MONAI Label's module for 3D Slicer sends it after the right lung was removed and drawn again.
DRAWN_AGAIN = [{"name": "left lung", "idx": 1}, {"name": "right lung", "idx": 2}]


@dataclass(frozen=True)
class Site:
    url: str
    studies: Path
    made: Path
    token: str

    def client(self, folder: Path) -> Any:
        from monailabel.client import MONAILabelClient

        client = MONAILabelClient(self.url, tmpdir=str(folder), client_id="user-xyz")
        client.update_auth(client.auth_token("anna", self.token))
        return client

    def mask(self, study: str) -> Path:
        return self.made / f"{study}-mask.nii.gz"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.server.access import Role
    from covid_bert.server.launch import running_server
    from covid_bert.server.tokens import TokenFile

    for name in ("studies", "made", "results"):
        (tmp_path / name).mkdir()
    studies, tokens = tmp_path / "studies", TokenFile(tmp_path / "tokens.json")
    shutil.copy(REPOSITORY / "sample-data" / "lung1_image.nrrd", studies / f"{REAL}.nrrd")
    token = tokens.add("anna", Role.ADMIN)
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "home"))
    options = ["--tokens-file", str(tokens.path)]
    with running_server(studies, tmp_path / "server.log", timeout=SECONDS, options=options) as url:
        yield Site(url, studies, tmp_path / "made", token)


def patient_of(studies: Path, part: Part) -> str:
    """Make up patients until the frozen split draws one into a part."""
    split = open_split(studies)
    names = (f"{part.value}-{number}" for number in range(10_000))
    return next(name for name in names if split.assign([[split.key("patient", name)]])[0].part is part)


def add_phantoms(client: Any, site: Site) -> None:
    patients = {part: patient_of(site.studies, part) for part in set(PARTS)}
    for number, part in enumerate(PARTS):
        person, study = make(shape=SHAPE, spacing=SPACING, seed=number, lesions="none"), f"case-{number}"
        image = write(person, site.made / f"{study}.nii.gz")
        write(person, site.mask(study), "lungs")
        assert client.upload_image(str(image), study, {"patient": f"{patients[part]}"})["image"] == study


def label_all(client: Any, site: Site) -> set[str]:
    """Ask each strategy in turn, and correct what comes, until nothing is left."""
    done: list[str] = []
    while (sample := client.next_sample(STRATEGIES[len(done) % len(STRATEGIES)], {})).get("id"):
        study = sample["id"]
        assert study not in done
        assert sample["name"].startswith(study)
        if study == REAL:
            shutil.copy(client.infer("lungs", study, {"result_extension": ".nii.gz"})[0], site.mask(study))
        assert client.save_label(study, str(site.mask(study)), params={"label_info": []}) == {
            "image": study, "label": study,
        }  # fmt: skip
        done.append(study)
    return set(done)


def values(path: Path | str) -> np.ndarray:
    return np.asanyarray(nibabel.load(path).dataobj)


def wait(client: Any, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    end = time.monotonic() + SECONDS
    while not condition(status := client.train_status()):
        assert time.monotonic() < end, status
        time.sleep(0.2)
    return status


def test_from_the_next_sample_to_the_next_version(site: Site, tmp_path: Path) -> None:
    client = site.client(tmp_path / "results")
    assert client.auth_valid_token()
    add_phantoms(client, site)
    assert list(client.info()["strategies"]) == STRATEGIES
    studies = {REAL, *(f"case-{number}" for number in range(len(PARTS)))}
    assert label_all(client, site) == studies
    assert client.info()["datastore"]["completed"] == len(studies)

    # What the segments are called decides, not their order.
    right = values(site.mask("case-0"))
    swapped = tmp_path / "swapped.nii.gz"
    grid = nibabel.load(site.mask("case-0")).affine
    nibabel.save(nibabel.Nifti1Image(np.array([0, 2, 1], np.uint8)[right], grid), swapped)
    client.save_label("case-0", str(swapped), params={"label_info": DRAWN_AGAIN})
    assert np.array_equal(values(client.download_label("case-0", "final")), right)

    def version_used() -> str:
        (weights,) = client.infer("lungs", "case-0", {"lungs": "unet"})[1]["weights"]
        return str(weights["version"])

    before = version_used()
    assert client.info()["train_stats"]["lungs"]["version"] == before
    config = client.info()["trainers"]["lungs"]["config"]
    given = {name: value[0] if isinstance(value, list) else value for name, value in config.items()} | {"device": "cpu"}
    started = client.train_start("lungs", {**given, "epochs": 1000, "patience": 1000})
    assert client.train_status(check_if_running=True)
    running = wait(client, lambda status: status["curve"])
    assert (running["id"], running["status"]) == (started["id"], "RUNNING")
    stats = client.info()["train_stats"]["lungs"]
    assert 0 < stats["epoch"] <= stats["total_epochs"] == 1000
    assert 0 < stats["best_metric"] <= 1
    stopped = client.train_stop()
    assert stopped["details"], "MONAI Label's module for 3D Slicer shows the last line"
    assert wait(client, lambda status: status["status"] != "RUNNING")["status"] == "STOPPED"
    assert not client.train_status(check_if_running=True)
    assert version_used() == before

    started = client.train_start("lungs", {**given, "epochs": 1})
    ended = wait(client, lambda status: status["status"] not in {"SUBMITTED", "RUNNING"})
    assert (ended["id"], ended["status"]) == (started["id"], "DONE"), ended
    result = ended["result"]
    assert result["version"] != before
    assert version_used() == (result["version"] if result["published"] else before)
    assert result["version"] in ended["details"][-1]
