"""``/activelearning/`` and ``/scoring/`` on a real port: strategies by scores, reservations between readers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import requests
import uvicorn
from served import in_thread

from covid_bert.active_learning.scores import StudyScores, signature, weights_digest
from needed import require_module

require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
ENTROPIES = {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.8}


class FakeScoring:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def start(self, method: str) -> Any:
        from covid_bert.server.scoring import ScoringTask

        self.started.append(method)
        return ScoringTask(id="1", request={"method": method}, start_ts="now")

    def tasks(self) -> list[Any]:
        return []

    def running(self) -> None:
        return None

    def stop(self) -> None:
        return None


@dataclass
class Served:
    url: str
    app: Any
    scoring: FakeScoring
    soon: list[bool]

    def ask(self, reader: str, strategy: str = "uncertainty", *, alone: bool = False, **body: Any) -> dict[str, Any]:
        headers = {"x-test-reader": reader, "x-test-alone": "1" if alone else ""}
        return requests.post(f"{self.url}/activelearning/{strategy}", json=body, headers=headers, timeout=60).json()


@contextmanager
def serving(studies: Path) -> Iterator[Served]:
    from fastapi import Depends, FastAPI
    from starlette.datastructures import Headers

    from covid_bert.main import CovidBertApp
    from covid_bert.server import failures, scoring_routes, stock
    from covid_bert.server.access import Role
    from covid_bert.server.authentication import Caller
    from covid_bert.server.reservations import Reservations
    from covid_bert.server.strict import refuse_unknown

    opened = CovidBertApp(app_dir=str(studies), studies=str(studies), conf={})
    reservations = Reservations(studies.parent / "kept", hours=12)
    scoring, soon = FakeScoring(), []
    app = FastAPI(dependencies=[Depends(refuse_unknown)])
    failures.install(app)
    stock.install(app, opened, reservations, lambda: soon.append(True))
    scoring_routes.install(app, scoring)

    async def with_caller(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            caller = Caller(headers.get("x-test-reader", "anna"), Role.ANNOTATOR, bool(headers.get("x-test-alone")))
            scope.setdefault("state", {})["caller"] = caller
        await app(scope, receive, send)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        with in_thread(uvicorn.Config(with_caller, port=port, log_level="warning")):
            yield Served(f"http://127.0.0.1:{port}", opened, scoring, soon)
    finally:
        reservations.close()
        opened.datastore().close()


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ENTROPIES:
        array = generator.integers(-1000, 0, (8, 8, 8)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def served(studies: Path) -> Iterator[Served]:
    with serving(studies) as found:
        yield found


def score(served: Served, *names: str) -> None:
    store, weights = served.app.scores.store, weights_digest()
    for name in names:
        place = Path(served.app.datastore().get_image_uri(name))
        store.knows(name, signature(place), f"content of {name}", weights)
        store.keep(f"content of {name}", weights, StudyScores(ENTROPIES[name], None, None, np.ones(3, np.float32)))


def test_two_readers_get_the_two_most_uncertain_studies(served: Served) -> None:
    score(served, *ENTROPIES)
    first, second = served.ask("anna"), served.ask("bert")
    assert (first["id"], second["id"]) == ("b", "d")
    assert "strategy_note" not in first
    assert served.soon == [True, True]
    assert "path" not in first
    assert first["strategy"]["uncertainty"]["client_id"] == "anna"
    assert [served.ask("anna")["id"], served.ask("bert")["id"]] == ["c", "b"], "both have skipped"


def test_all_in_hands_is_an_empty_answer_and_a_label_ends_it(served: Served, studies: Path) -> None:
    readers = ["anna", "bert", "carl", "dora"]
    assert {served.ask(reader, "first")["id"] for reader in readers} == set(ENTROPIES)
    assert served.ask("emil", "first") == {}
    mask = nibabel.load(studies / "a.nii.gz")
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[:4], labels[4:] = 1, 2
    nibabel.save(nibabel.Nifti1Image(labels, mask.affine), studies.parent / "mask.nii.gz")
    served.app.datastore().save_label("a", str(studies.parent / "mask.nii.gz"), "final", {})
    assert served.ask("anna", "first") == {}, "hers is labelled, the others are in other hands"
    # For another kind of label all are free.
    assert served.ask("emil", "first", label_tag="study")["id"] == "a"


def test_without_scores_a_random_study_comes_and_says_so(served: Served) -> None:
    found = served.ask("anna")
    assert found["id"] in ENTROPIES
    assert "drawn at random" in found["strategy_note"]
    assert served.soon


def test_with_some_scores_the_choice_is_among_those_and_says_so(served: Served) -> None:
    score(served, "a", "c")
    found = served.ask("anna")
    assert found["id"] == "c"
    assert found["strategy_note"].startswith("2 of 4 studies")


def test_strategies_without_scores_ask_for_none(served: Served) -> None:
    served.ask("anna", "first")
    served.ask("anna", "random")
    assert served.soon == []


def test_reservations_outlive_the_server(studies: Path) -> None:
    with serving(studies) as before:
        assert before.ask("anna", "first")["id"] == "a"
    with serving(studies) as after:
        assert after.ask("bert", "first")["id"] == "b"


def test_without_tokens_clients_are_told_apart_by_what_they_call_themselves(served: Served) -> None:
    found = [served.ask("local", "first", alone=True, client_id=name)["id"] for name in ("one", "two")]
    assert found == ["a", "b"]
    # With tokens, a name that a client gives itself is no way around a reservation.
    assert served.ask("anna", "first", client_id="one")["id"] == "c"


def test_an_unknown_strategy_is_not_found(served: Served) -> None:
    assert served.ask("anna", "oracle")["detail"]["code"] == "not-found"
    info = requests.get(f"{served.url}/info/", timeout=60).json()
    assert set(info["strategies"]) == {"first", "random", "uncertainty", "diversity", "mixed"}
    assert set(info["scoring"]) == {"study_scores"}


def test_scoring_has_the_routes_of_monailabel(served: Served) -> None:
    url = f"{served.url}/scoring/"
    assert requests.get(url, timeout=60).status_code == 404
    assert requests.post(f"{url}study_scores", json={}, timeout=60).json()["status"] == "SUBMITTED"
    assert requests.post(url, timeout=60).json()["study_scores"]["result"]["request"] == {"method": "study_scores"}
    assert served.scoring.started == ["study_scores"] * 2
    assert requests.post(f"{url}epistemic", timeout=60).status_code == 404
    assert requests.post(f"{url}study_scores?run_sync=true", timeout=60).status_code == 422
    assert requests.post(f"{url}study_scores", json={"max_samples": 1}, timeout=60).status_code == 422
    assert requests.delete(url, timeout=60).json() is None
    assert served.scoring.started == ["study_scores"] * 2


def test_stock_server_runs_the_strategies_and_the_scoring(served: Served, monkeypatch) -> None:
    from covid_bert.tasks import scoring as tasks_scoring

    scored: list[str] = []

    def score_into(_store, identifier: str, _image, _progress, *, device: str) -> bool:
        scored.append(identifier)
        score(served, identifier)
        return True

    monkeypatch.setattr(tasks_scoring, "score_into", score_into)
    # It would ask the server of a port that is not ours.
    monkeypatch.setattr(served.app, "_auto_update_scoring", False)
    summary = served.app.scoring({"method": "study_scores"})
    assert scored == ["a", "b", "c", "d"]
    assert (summary["total"], summary["skipped"], summary["executed"], summary["failed"]) == (4, 0, 4, 0)
    assert served.app.scoring({"method": "study_scores"})["skipped"] == 4
    assert served.app.next_sample({"strategy": "uncertainty"})["id"] == "b"
