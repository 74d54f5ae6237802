"""Jobs of the real app: the server's side in this process, the worker with the real networks in its own."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import pytest
from fake_jobs import ANNA, wait_for

from covid_bert.errors import NotFoundError, ParameterError
from covid_bert.phantom import Phantom, make, write
from covid_bert.volumes import read, read_mask
from needed import require_module


@pytest.fixture(scope="module")
def small() -> Phantom:
    return make(shape=(40, 64, 64), spacing=(8.0, 5.4, 5.4), lesions="covid-like", seed=3)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, small: Phantom) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    write(small, folder / "chest.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"not a study")
    return folder


@pytest.fixture(scope="module")
def app(studies: Path):
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.main import CovidBertApp

    return CovidBertApp(app_dir=str(Path(__file__).parent), studies=str(studies), conf={})


@pytest.fixture
def requests(app):
    from covid_bert.server.jobs.submission import AppRequests

    return AppRequests(app)


def prepare(requests, **options):
    return requests.prepare("lungs", {"lungs": "morphological"}, **{"image": "chest", **options})


@pytest.mark.slow
def test_a_real_inference_reports_is_cancelled_and_gives_its_mask(tmp_path, requests, studies, small) -> None:
    from covid_bert.server.jobs.inference import open_app
    from covid_bert.server.jobs.runner import JobRunner

    runner = JobRunner(tmp_path / "jobs", requests, functools.partial(open_app, str(studies), 10**7))
    runner.start()
    try:
        job = runner.submit(prepare(requests), ANNA)
        stages = []
        while (now := runner.job(job.id, ANNA)).state in {"queued", "running"}:
            stages.append(now.stage)
            time.sleep(0.01)
        assert now.state == "done", now.error
        assert {"reading", "lungs"} & set(stages)
        result = runner.result(job.id, ANNA)
        mask = read_mask(result.file, read(studies / "chest.nii.gz"))
        truth = small.lungs.array
        assert 2 * ((mask > 0) & (truth > 0)).sum() / ((mask > 0).sum() + (truth > 0).sum()) > 0.8
        assert result.params["lung_volume_ml"]["total"] > 500
        assert result.file.is_relative_to(tmp_path / "jobs")
        broken = runner.submit(prepare(requests, image="broken"), ANNA)
        assert wait_for(runner, broken.id, "failed").error.code == "unreadable-file"
        assert runner.submit(prepare(requests), ANNA).state == "done"
    finally:
        runner.close()
    assert not list(studies.glob("*.json.lock"))


def test_the_task_reports_heeds_a_cancel_and_writes_where_it_is_told(app, tmp_path: Path) -> None:
    from fastapi import HTTPException

    from covid_bert.progress import Progress
    from covid_bert.tasks.infer import observed

    seen = []
    request = {"model": "lungs", "image": "chest", "lungs": "morphological"}
    with observed(Progress(lambda stage, fraction: seen.append((stage, fraction))), tmp_path):
        reply = app.infer(request)
    assert Path(reply["file"]).parent == tmp_path
    assert {"reading", "lungs"} <= {stage for stage, _ in seen}
    assert any(0 < fraction < 1 for _, fraction in seen)
    progress = Progress(lambda stage, _: progress.cancel() if stage == "lungs" else None)
    with observed(progress, tmp_path), pytest.raises(HTTPException) as caught:
        app.infer(request)
    assert caught.value.detail["code"] == "cancelled"
    after = Path(app.infer(request)["file"])
    assert after.parent != tmp_path, "outside the block nothing is observed"
    after.unlink()


def test_a_study_that_is_a_symbolic_link_is_read_where_the_list_is_older_than_it(app, studies, small, tmp_path) -> None:
    from fastapi import HTTPException

    elsewhere = write(small, tmp_path / "elsewhere.nii.gz")
    # As the worker knows nothing of studies that came after its start.
    link = studies / ".linked.nii.gz"
    link.symlink_to(elsewhere)
    try:
        reply = app.infer({"model": "lungs", "image": str(link), "lungs": "morphological"})
        assert reply["params"]["lung_volume_ml"]["total"] > 500
        Path(reply["file"]).unlink()
        for other in (elsewhere, studies / ".." / elsewhere.parent.name / elsewhere.name, studies / ".."):
            with pytest.raises(HTTPException):
                app.infer({"model": "lungs", "image": str(other), "lungs": "morphological"})
    finally:
        link.unlink()


def test_a_study_with_too_many_voxels_is_not_computed(studies, small, tmp_path, monkeypatch) -> None:
    from fastapi import HTTPException

    from covid_bert.progress import Progress
    from covid_bert.server.jobs import inference

    # What the worker's process is told must not stay in this one.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    voxels = small.volume.array.size
    request = {"model": "lungs", "image": str(studies / "chest.nii.gz"), "lungs": "morphological"}
    with pytest.raises(HTTPException) as caught:
        inference.open_app(str(studies), voxels - 1)(request, Progress(), tmp_path)
    assert (caught.value.status_code, caught.value.detail["code"]) == (413, "too-large")
    assert inference.open_app(str(studies), voxels)(request, Progress(), tmp_path)[0]


def test_equal_requests_have_one_key_and_any_change_another(requests, studies: Path, monkeypatch) -> None:
    from lesion_networks import install_lesion_weights

    key = prepare(requests).key
    assert requests.prepare("lungs", {"lungs": "morphological", "device": "auto"}, image="chest").key == key
    assert requests.prepare("lungs", {}, image="chest").key != key
    assert prepare(requests, image="broken").key != key
    install_lesion_weights()
    other_weights = prepare(requests).key
    assert other_weights != key
    stat = (studies / "chest.nii.gz").stat()
    content = (studies / "chest.nii.gz").read_bytes()
    (studies / "chest.nii.gz").write_bytes(content)
    os.utime(studies / "chest.nii.gz", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert prepare(requests).key != other_weights, "written again, though size and time of change are the same"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"model": "nothing", "image": "chest"}, NotFoundError),
        ({"image": "nobody"}, NotFoundError),
        ({"image": "/etc/hosts"}, NotFoundError),
        ({"image": "../studies/chest"}, NotFoundError),
        ({"session_id": "../../etc"}, NotFoundError),
        ({"session_id": "0" * 32}, NotFoundError),
        ({}, ParameterError),
        ({"image": "chest", "session_id": "0" * 32}, ParameterError),
        ({"image": "chest", "params": {"image": "/etc/hosts"}}, ParameterError),
        ({"image": "chest", "params": {"no_such": 1}}, ParameterError),
        ({"image": "chest", "params": {"lungs": "magic"}}, ParameterError),
        ({"image": "chest", "params": {"device": "../../etc"}}, ParameterError),
    ],
)
def test_only_known_studies_models_and_parameters(requests, arguments, error) -> None:
    with pytest.raises(error):
        requests.prepare(**{"model": "lungs", "params": {}, **arguments})


def test_results_of_sessions_and_uploads_are_borrowed(app, requests, studies: Path, tmp_path: Path) -> None:
    upload = tmp_path / "upload.nii.gz"
    upload.write_bytes((studies / "chest.nii.gz").read_bytes())
    assert requests.prepare("covid_s1", {"reply_image": "location"}, upload=upload).borrowed
    session, _ = app.sessions().add_session(str(upload))
    made = requests.prepare("covid_s1", {"reply_image": "location"}, session_id=session)
    assert made.borrowed
    app.sessions().remove_session(session)
    assert not prepare(requests).borrowed
