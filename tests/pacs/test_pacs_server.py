"""A live server on a real archive: real chest CT is listed, classified, labelled; the archive goes and comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import pydicom
import pytest
import requests
from archive_maker import PASSWORD, USER, USERS, make_chest, make_each_kind, push, series_of
from troubled_proxy import Proxy, running_proxy
from volume_maker import PATIENT_ID, PATIENT_NAME

from covid_bert.pacs.kept import IMAGES, identifier_of_series
from covid_bert.pacs.settings import PASSWORD_VARIABLE, USER_VARIABLE, kept_folder
from covid_bert.volumes import read, read_mask
from needed import REPOSITORY, require_module
from orthanc_server import Archive, running_orthanc

pytestmark = [pytest.mark.server, pytest.mark.slow]

NOBODY = "http://127.0.0.1:9"


@dataclass
class Served:
    url: str
    folder: Path
    log: Path
    home: Path
    proxy: Proxy
    orthanc: Archive
    real: list[Path]
    made: list[Path]

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(f"{self.url}/{path}", timeout=300, **options)

    def infer(self, model: str, files: list[Path], **params: Any) -> requests.Response:
        query = f"{self.url}/infer/{model}?image={identifier_of_series(series_of(files)[1])}&output=json"
        return requests.post(query, files={"params": (None, json.dumps(params))}, timeout=600)

    def listed(self) -> dict[str, Any]:
        return self.get("datastore/?output=all").json()

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Ask for the list until it is as it should be."""
        end = time.monotonic() + 180
        while not condition(self.listed()):
            assert time.monotonic() < end
            time.sleep(0.2)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.server.launch import running_server

    folder = tmp_path_factory.mktemp("served")
    real = _of_somebody(REPOSITORY / "sample-data" / "lung_dx_a0001", folder / "real")
    made = make_each_kind(folder / "made")
    chest = made.pop("chest")
    made.pop("unnamed")
    (folder / "orthanc").mkdir()
    with (
        running_orthanc(folder / "orthanc", AuthenticationEnabled=True, RegisteredUsers=USERS) as orthanc,
        running_proxy(orthanc) as proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        for files in (real, chest, *made.values()):
            push(orthanc, files)
        patch.setenv("COVID_BERT_HOME", str(folder / "home"))
        patch.setenv(USER_VARIABLE, USER)
        patch.setenv(PASSWORD_VARIABLE, PASSWORD)
        address, log = f"{proxy.address}/dicom-web/", folder / "server.log"
        studies = kept_folder(address)
        with running_server(address, log, options=["--pacs-refresh-seconds", "1"]) as url:
            yield Served(url, studies, log, folder / "home", proxy, orthanc, real, chest)


def _of_somebody(source: Path, folder: Path) -> list[Path]:
    """Copies of files with a patient's number, which the archive wants, and a name, which must not come out of it."""
    folder.mkdir()
    for file in source.glob("*.dcm"):
        dataset = pydicom.dcmread(file)
        dataset.PatientID, dataset.PatientName = PATIENT_ID, PATIENT_NAME
        dataset.save_as(folder / file.name)
    return sorted(folder.iterdir())


def _identifier(files: list[Path]) -> str:
    return identifier_of_series(series_of(files)[1])


def test_only_chest_cts_are_listed_and_no_name_of_anybody(served) -> None:
    served.until(lambda listed: len(listed["objects"]) == 2)
    listed = served.listed()
    assert set(listed["objects"]) == {_identifier(served.real), _identifier(served.made)}
    assert listed["archive"]["state"] == "ready"
    assert listed["archive"]["refused"]["another body part"] == 2
    assert served.get("readyz").json()["archive"]["state"] == "ready"
    assert "covid_bert_archive_ready 1.0" in served.get("metrics").text
    assert not list(served.folder.glob(f"*/{IMAGES}")), "nothing is fetched before it is needed"


def test_a_real_study_is_fetched_and_classified(served) -> None:
    reply = served.infer("covid_baseline", served.real, reply_image="none")
    assert reply.status_code == 200, reply.text
    result = reply.json()["result"]
    assert set(result["class_scores"]) == {"covid", "non-covid"}
    assert len(list((served.folder / _identifier(served.real) / IMAGES).iterdir())) == len(served.real)
    assert result["study"]["identifier"] == read(served.real[0].parent).identifier, "as from its files"


def test_labels_are_kept_for_a_study_of_the_archive(served, tmp_path: Path) -> None:
    identifier = _identifier(served.real)
    said = {"study_class": "normal", "certainty": "probable", "comment": ""}
    query = f"{served.url}/datastore/study-label?image={identifier}"
    assert requests.put(query, json=said, timeout=60).status_code == 200
    query = f"{served.url}/infer/lungs?image={identifier}"
    mask = tmp_path / "lungs.nii.gz"
    parameters = {"params": (None, '{"result_extension": ".nii.gz"}')}
    mask.write_bytes(requests.post(f"{query}&output=image", files=parameters, timeout=600).content)
    assert read_mask(mask, read(served.real[0].parent)).any()
    with mask.open("rb") as file:
        saved = requests.put(
            f"{served.url}/datastore/label?image={identifier}&tag=final", files={"label": file}, timeout=300
        )
    assert saved.status_code == 200, saved.text
    assert set(served.listed()["objects"][identifier]["labels"]) == {"study", "final"}
    next_one = requests.post(f"{served.url}/activelearning/first", json={}, timeout=60).json()
    assert next_one["id"] == _identifier(served.made)


def test_a_study_of_the_archive_is_downloaded_as_one_image(served, tmp_path: Path) -> None:
    path = tmp_path / "study.nii.gz"
    path.write_bytes(served.get(f"datastore/image?image={_identifier(served.real)}").content)
    assert nibabel.load(path).shape[2] == len(served.real)


def test_an_archive_that_is_away_is_a_clear_state(served) -> None:
    upstream, served.proxy.upstream = served.proxy.upstream, NOBODY
    served.until(lambda listed: listed["archive"]["state"] == "down")
    state = served.listed()["archive"]
    assert (state["code"], state["offered"]) == ("pacs-down", 2)
    assert state["hint"]
    assert state["list_age_seconds"] >= 0
    ready = served.get("readyz")
    assert (ready.status_code, ready.json()["archive"]["state"]) == (200, "down")
    assert served.infer("covid_baseline", served.real, reply_image="none").status_code == 200, "its images are here"
    refused = served.infer("covid_baseline", served.made)
    assert refused.status_code == 503
    assert refused.json()["detail"]["code"] == "pacs-down"
    served.proxy.upstream = upstream
    served.until(lambda listed: listed["archive"]["state"] == "ready")
    again = served.infer("covid_baseline", served.made)
    assert again.status_code == 422, "a phantom of some voxels is no chest: but it was fetched"


def test_a_new_study_is_listed_within_seconds(served, tmp_path: Path) -> None:
    files = make_chest(tmp_path / "new")
    push(served.orthanc, files)
    served.until(lambda listed: _identifier(files) in listed["objects"])


def test_nothing_secret_and_nobody_is_in_any_log_or_answer(served) -> None:
    texts = [served.log.read_text(), served.get("datastore/?output=all").text, served.get("info/").text]
    texts += [served.get("readyz").text, served.get("metrics").text]
    texts += [path.read_text(errors="replace") for path in (served.home / "audit").rglob("*") if path.is_file()]
    texts += [path.read_text() for path in (served.folder / ".pacs").glob("settings.json")]
    uids = [uid for files in (served.real, served.made) for uid in series_of(files)]
    for secret in (PASSWORD, "Basic ", PATIENT_ID, PATIENT_NAME, *uids):
        assert not [text for text in texts if secret in text], secret
    assert not [path for path in served.folder.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]


def test_a_killed_archive_is_noticed(served) -> None:
    served.orthanc.process.kill()
    served.until(lambda listed: listed["archive"]["state"] == "down")
