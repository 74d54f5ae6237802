"""Real corrections and a real training on a real server: the next version is there, and inferences name it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from folder_site import PARTS, READERS, patients, write_case

from covid_bert.client import Client
from covid_bert.client.errors import NotAllowedError
from covid_bert.lungs import unet
from needed import require_module

pytestmark = [pytest.mark.server, pytest.mark.slow]
# Only a test that fails waits for so long.
SECONDS = 1800


@dataclass(frozen=True)
class Site:
    url: str
    studies: Path
    secrets: dict[str, str]

    def client(self, name: str) -> Client:
        return Client(self.url, self.secrets[name])

    def version_used(self, study: str) -> str:
        """The version of the lung network that the next inference says it was made by."""
        client = self.client("chief")
        job = client.wait(client.submit("lungs", image=study, params={"lungs": "unet"}), poll_seconds=0.2)
        (weights,) = client.result(job).params["weights"]
        assert weights["name"] == unet.WEIGHTS_NAME
        return str(weights["version"])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.server.access import Role
    from covid_bert.server.launch import running_server
    from covid_bert.server.tokens import TokenFile

    studies = tmp_path / "studies"
    studies.mkdir()
    tokens = TokenFile(tmp_path / "tokens.json")
    secrets = {reader: tokens.add(reader, Role.ANNOTATOR) for reader in READERS}
    secrets["chief"] = tokens.add("chief", Role.ADMIN)
    monkeypatch.setenv("COVID_BERT_HOME", str(tmp_path / "home"))
    options = ["--tokens-file", str(tokens.path)]
    with running_server(studies, tmp_path / "server.log", timeout=SECONDS, options=options) as url:
        yield Site(url, studies, secrets)


def correct(site: Site, made: Path) -> list[str]:
    """Let two readers in turn bring the studies and correct them; return their ids."""
    names = []
    for part, count in PARTS.items():
        for _, patient in zip(range(count), patients(site.studies, part), strict=False):
            number = len(names)
            reader = READERS[number % len(READERS)]
            image, mask = write_case(made, number)
            client = site.client(reader)
            names.append(client.add_study(image, f"case-{number}"))
            headers = {"Authorization": f"Bearer {site.secrets[reader]}"}
            info = {"info": f'{{"patient": "{patient}"}}'}
            route = f"{site.url}/datastore/image/info?image={names[-1]}"
            assert requests.put(route, data=info, headers=headers, timeout=SECONDS).status_code == 200
            client.save_label(names[-1], mask)
    return names


def follow(client: Client) -> list[dict[str, Any]]:
    """All states of the training that were seen, the last one its end."""
    seen: list[dict[str, Any]] = []
    end = time.monotonic() + SECONDS
    while not seen or seen[-1]["status"] in {"SUBMITTED", "RUNNING"}:
        assert time.monotonic() < end, seen[-1]
        time.sleep(0.5)
        state = client.training()
        assert state is not None
        seen.append(state)
    return seen


def test_corrected_trained_published_and_taken_back(site: Site, tmp_path: Path) -> None:
    names = correct(site, tmp_path / "made")
    chief = site.client("chief")
    (before,) = (item for item in chief.weights() if item["model"] == "lungs")
    assert site.version_used(names[0]) == before["live"]
    with pytest.raises(NotAllowedError):
        site.client("anna").start_training("lungs")

    started = chief.start_training("lungs", {"epochs": 1, "seed": 4, "device": "cpu"})
    states = follow(chief)
    assert {state["id"] for state in states} == {started["id"]}
    done = states[-1]
    assert done["status"] == "DONE", done["error"]
    assert done["left_out"] == []
    assert [point["epoch"] for point in done["curve"]] == [1]
    fractions = [state["fraction"] for state in states]
    assert fractions == sorted(fractions)
    assert {"training", "judging"} <= {state["stage"] for state in states}

    made = done["result"]["version"]
    (after,) = (item for item in chief.weights() if item["model"] == "lungs")
    (new,) = (
        item for item in after["versions"] if item["version"] not in {old["version"] for old in before["versions"]}
    )
    assert new["version"] == made
    record = chief.weights_version("lungs", made)["record"]
    assert (record["run"], record["started_from"]["version"]) == (started["id"], before["live"])
    assert len(record["data"]) == sum(PARTS.values())
    assert record["gate"]["against"] == before["live"]

    # The gate may have said either; a person has the last word.
    assert after["live"] == (made if done["result"]["published"] else before["live"])
    assert site.version_used(names[0]) == after["live"]
    if not done["result"]["published"]:
        assert done["result"]["gate"]["reason"]
        chief.publish_weights("lungs", made, despite_gate=True)
    assert site.version_used(names[0]) == made
    assert chief.roll_back_weights("lungs")["live"] == before["live"]
    assert site.version_used(names[0]) == before["live"]
