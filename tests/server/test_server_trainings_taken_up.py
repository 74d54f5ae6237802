"""The command line on the folder of a run of the server: refused while the server goes on with it, else taken over."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from fake_training import (
    EPOCHS,
    HELD,
    asked,
    await_end,
    await_epoch,
    await_that,
    computed,
    fit,
    parameters,
    read,
    training,
)
from rich.console import Console

from covid_bert.commands.retrain import retrain
from covid_bert.errors import BusyError, ConflictError, ParameterError
from covid_bert.retraining.derived import retraining_folder
from covid_bert.retraining.run_folder import STATE_FILE, RunFolder, list_runs
from covid_bert.retraining.run_records import RunResult
from covid_bert.server.training.runs import Run
from covid_bert.server.training.shown import as_task
from covid_bert.tasks.training_run import Train


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    (tmp_path / "studies").mkdir()
    return tmp_path / "studies"


def take_up(studies: Path, folder: RunFolder, train: Train | None = None) -> RunResult:
    console = Console(quiet=True)
    train = train or functools.partial(fit, studies)
    return retrain("lungs", studies, folder.path, {}, console, read=read, fit=train)


def ended_by_a_full_disk(studies: Path) -> RunFolder:
    asked(studies, "full")
    with training(studies) as trainings:
        run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_end(run)
        await_that(lambda: "lungs 3" in computed(studies))
    asked(studies)
    assert run.folder.work.exists()
    return run.folder


def test_what_the_server_goes_on_with_is_refused_and_stays_as_it_was(studies: Path) -> None:
    asked(studies, "hold")
    with training(studies) as trainings:
        runs = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        waiting = trainings.submit("lungs", parameters(), "anna", enqueue=True)
        await_epoch(runs)
        for run in (runs, waiting):
            before = (run.folder.path / STATE_FILE).read_bytes()
            with pytest.raises(ConflictError, match="belongs to the server") as refused:
                take_up(studies, run.folder)
            assert "stop the training there" in refused.value.hint
            assert (run.folder.path / STATE_FILE).read_bytes() == before
    # The server has stopped, and goes on when it starts.
    with pytest.raises(ConflictError, match="belongs to the server"):
        take_up(studies, runs.folder)
    asked(studies)
    with training(studies) as trainings:
        again, then = trainings.runs()
        await_end(then)
        assert {again.standing.status, then.standing.status} == {"done"}
        with pytest.raises(ParameterError, match="has ended well"):
            take_up(studies, again.folder)


def test_what_a_full_disk_ended_goes_on_at_the_command_line_and_the_server_knows(studies: Path) -> None:
    folder = ended_by_a_full_disk(studies)
    with training(studies) as trainings:
        (run,) = trainings.runs()
        identifier = run.request.id
        assert as_task(run).status == "ERROR"

        def watched(*given: object) -> RunResult:
            shown = trainings.find(identifier)
            assert as_task(shown).status == "RUNNING"
            assert as_task(shown).error is None
            assert trainings.current() is None, "the server has nothing to do with it"
            with pytest.raises(ConflictError, match="taken up at the command line"):
                trainings.stop(identifier)
            return fit(studies, *given)

        result = take_up(studies, folder, watched)
        shown = trainings.find(identifier)
        assert as_task(shown).status == "DONE"
        assert shown.standing.result == result
    assert computed(studies) == [f"lungs {epoch}" for epoch in (*range(1, HELD + 1), *range(HELD, EPOCHS + 1))]
    with training(studies) as trainings:
        assert [run.standing.status for run in trainings.runs()] == ["done"], "also the next server"


def test_what_was_killed_at_the_command_line_is_not_the_servers(studies: Path) -> None:
    folder = ended_by_a_full_disk(studies)
    # As a kill in the middle leaves it.
    folder.write_state(folder.state().changed(status="running", taken_up=True, error=None))
    with training(studies) as trainings:
        (run,) = trainings.runs()
        assert as_task(run).status == "STOPPED"
        other = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_end(other)
        assert trainings.find(run.request.id).standing.status == "stopped"
        take_up(studies, folder)
        assert trainings.find(run.request.id).standing.status == "done"


def test_beside_another_training_nothing_changes(studies: Path) -> None:
    folder = ended_by_a_full_disk(studies)
    before = (folder.path / STATE_FILE).read_bytes()
    asked(studies, "hold")
    with training(studies) as trainings:
        other: Run = trainings.submit("lungs", parameters(), "anna", enqueue=False)
        await_epoch(other)
        with pytest.raises(BusyError, match="Another training on these studies runs"):
            take_up(studies, folder)
        assert (folder.path / STATE_FILE).read_bytes() == before
        with pytest.raises(BusyError):
            retrain("lungs", studies, None, {}, Console(quiet=True), read=read, fit=functools.partial(fit, studies))
        assert len(list_runs(retraining_folder(studies) / "runs")) == 2, "what has not begun leaves nothing"


def test_with_other_studies_it_is_refused(studies: Path, tmp_path: Path) -> None:
    folder = ended_by_a_full_disk(studies)
    (tmp_path / "others").mkdir()
    with pytest.raises(ParameterError, match="is of other studies"):
        take_up(tmp_path / "others", folder)
