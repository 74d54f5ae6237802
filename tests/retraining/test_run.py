"""Runs from labels to a version: what is written, what goes live, and what a killed run leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from covid_bert.errors import CancelledError, NotFoundError, OutputError
from covid_bert.lungs import unet
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.retraining import lungs
from covid_bert.retraining import run as runs
from covid_bert.retraining.cases import LabelledStudy, LabelSet, LeftOut, Part
from covid_bert.retraining.gate import Judgement
from covid_bert.retraining.measuring import (
    HELD_OUT,
    REFERENCE,
    VALIDATION,
    compare_dice,
    measure_agreement,
    measure_dice,
)
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.progress import RunProgress, RunState
from covid_bert.retraining.records import CURVE_FILE, CURVE_PICTURE, RECORD_FILE, CurvePoint, TrainingRecord
from covid_bert.retraining.trained import Trained, TrainedWeights
from covid_bert.weights import installing, pointer
from covid_bert.weights.history import history
from covid_bert.weights.location import weights_root
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import Calibration, InputContract, Role
from covid_bert.weights.store import list_versions, live, publish, standing

NAME = unet.WEIGHTS_NAME
CURVE = (
    CurvePoint(epoch=1, loss=1.0, learning_rate=1e-3, seconds=2.0, validation={"dice": 0.9}),
    CurvePoint(epoch=2, loss=0.5, learning_rate=1e-4, seconds=2.0, validation={}),
)


def study(number: int, part: Part) -> LabelledStudy:
    return LabelledStudy(
        f"study-{number}", f"person-{number}", part, None, f"{number:064d}", None, f"{number + 100:064d}", "covid"
    )


LABELS = LabelSet(
    (study(1, Part.TRAINING), study(2, Part.VALIDATION)),
    (LeftOut("study-9", "It is damaged."),),
    "5" * 64,
    "newest",
    ("A value stands for nobody.",),
)


def trained(better: float = 0.0, *, seed: int = 1) -> Trained:
    torch.manual_seed(seed)
    state = ARCHITECTURES[unet.ARCHITECTURE]().state_dict()
    provenance = Provenance(
        architecture=unet.ARCHITECTURE, role=Role.LUNGS, input=InputContract(window_hu=(-1024.0, 400.0))
    )
    before = live(NAME)
    values, patients = [0.9, 0.91, 0.93], ["a", "b", "c"]
    after = [value + better for value in values]
    return Trained(
        weights=(TrainedWeights(NAME, state, provenance),),
        head=NAME,
        judgement=Judgement(
            opponents=(before.version,),
            counts=(3,),
            comparisons=tuple(
                compare_dice(values, after, patients, data, against=before.version) for data in (HELD_OUT, REFERENCE)
            ),
            metrics=(measure_dice(after, patients, VALIDATION),),
            agreement=measure_agreement([0.98] * 3, patients),
            standing=standing(NAME),
        ),
        curve=CURVE,
        seconds=4.0,
        started_from={"name": NAME, "version": before.version, "sha256": before.sha256},
        configuration={"batch": 8},
        used=LABELS.studies,
    )


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch):
    """Puts what a trainer hands over in place of training."""

    def put(result: Trained) -> None:
        monkeypatch.setattr(lungs, "train_lungs", lambda *_: result)

    return put


def run(
    folder, parameters: TrainingParameters | None = None, progress: RunProgress | None = None, identity: str = "run-1"
):
    chosen = parameters or TrainingParameters()
    return runs.run("lungs", LABELS, chosen, folder, progress or RunProgress(), identity=identity, by="tester")


def run_ended_at(owner, name: str, folder, monkeypatch, *, error=None, first=lambda *_, **__: None) -> BaseException:
    """Run until a function is called: it does what is to be done `first`, then the run is killed, or meets an error."""

    def ending(*arguments, **keywords) -> None:
        first(*arguments, **keywords)
        raise error or KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, ending)
        with pytest.raises((KeyboardInterrupt, OutputError)) as caught:
            run(folder)
    return caught.value


def test_a_better_version_goes_live_with_all_that_is_known_of_it(trainer, tmp_path) -> None:
    trainer(trained(0.01))
    states: list[RunState] = []
    outcome = run(tmp_path, progress=RunProgress(states.append))
    assert outcome.published
    weights = live(NAME)
    assert (weights.version, weights.version) == (outcome.version, outcome.versions[NAME])
    record = TrainingRecord.model_validate_json(weights.read_file(RECORD_FILE))
    assert record.gate.passed
    assert record.data_sha256 == LABELS.digest
    assert {entry.part for entry in record.data} == {"training", "validation"}
    assert record.left_out == 1
    assert record.configuration["seed"] == 0
    text = weights.read_file(RECORD_FILE).decode()
    assert "study-" not in text
    assert "person-" not in text
    table = weights.read_file(CURVE_FILE).decode().splitlines()
    assert table[0] == "epoch,loss,learning_rate,seconds,dice"
    assert table[2].endswith(",")
    assert weights.read_file(CURVE_PICTURE).startswith(b"\x89PNG")
    assert states[-1].to_json()["left_out"] == [{"identifier": "study-9", "reason": "It is damaged."}]
    assert states[-1].fraction == 1.0


def test_a_worse_version_stays_a_candidate_with_the_reason(trainer, tmp_path) -> None:
    before = live(NAME)
    trainer(trained(-0.05))
    outcome = run(tmp_path)
    assert not outcome.published
    assert live(NAME) == before
    assert "0.05" in outcome.gate.reason
    assert outcome.version in list_versions(NAME)


def test_a_better_version_stays_a_candidate_if_that_was_asked_for(trainer, tmp_path) -> None:
    before = live(NAME)
    trainer(trained(0.01))
    outcome = run(tmp_path, TrainingParameters(publish=False))
    assert outcome.gate.passed
    assert not outcome.published
    assert "as was asked for" in outcome.notes[-1]
    assert live(NAME) == before


def test_a_run_that_is_taken_up_after_its_version_was_made_makes_no_second_one(trainer, tmp_path, monkeypatch) -> None:
    trainer(trained(0.01))
    run_ended_at(runs, "publish", tmp_path, monkeypatch)
    made = list_versions(NAME)
    outcome = run(tmp_path)
    assert list_versions(NAME) == made
    assert outcome.published
    assert live(NAME).version == made[-1]
    # And once more, after all was done.
    assert run(tmp_path).published
    assert list_versions(NAME) == made
    # Another run makes its own.
    assert run(tmp_path / "other", identity="run-2").version not in made


def test_a_run_that_is_taken_up_between_pointer_and_history_is_live_and_recorded(
    trainer, tmp_path, monkeypatch
) -> None:
    trainer(trained(0.01))
    run_ended_at(pointer, "write_atomically", tmp_path, monkeypatch, first=pointer.write_atomically)
    outcome = run(tmp_path)
    assert outcome.published
    assert live(NAME).version == outcome.version
    assert history(NAME)[-1].version == outcome.version


def test_what_was_judged_when_the_version_was_made_decides_also_after_a_kill(trainer, tmp_path) -> None:
    before = live(NAME)
    trainer(trained(-0.2))
    first = run(tmp_path)
    trainer(trained(0.01))
    again = run(tmp_path)
    assert (again.version, again.published, again.gate) == (first.version, False, first.gate)
    assert live(NAME) == before


def test_who_has_gone_back_is_not_overruled_by_a_run_that_is_taken_up(trainer, tmp_path) -> None:
    before = live(NAME)
    trainer(trained(0.01))
    assert run(tmp_path).published
    publish(NAME, before.version)
    assert not run(tmp_path).published
    assert live(NAME) == before


def test_a_stop_after_the_first_version_comes_too_late(trainer, tmp_path) -> None:
    count = len(list_versions(NAME))
    trainer(trained(0.01))
    outcome = run(tmp_path, progress=RunProgress(stop=lambda: len(list_versions(NAME)) > count))
    assert outcome.published
    assert live(NAME).version == outcome.version


def test_what_concerns_many_labels_is_told(trainer, tmp_path) -> None:
    trainer(trained(0.01))
    progress = RunProgress()
    assert run(tmp_path, progress=progress).notes == LABELS.notes == progress.state.notes


def test_what_was_compared_with_one_version_replaces_no_other(trainer, tmp_path) -> None:
    result = trained(0.01)
    trainer(trained(0.02, seed=2))
    between = run(tmp_path, identity="run-1").version
    trainer(result)
    outcome = run(tmp_path, identity="run-2")
    assert not outcome.published
    assert live(NAME).version == between
    assert "went live" in outcome.notes[-1]
    # A person may still decide.
    publish(NAME, outcome.version)


def test_networks_that_are_read_are_named_with_what_they_became(trainer, tmp_path) -> None:
    result = trained(0.01)
    reader = replace(
        result.weights[0],
        name="site-reader",
        reads=(NAME,),
        provenance=result.weights[0].provenance.model_copy(
            update={"calibration": Calibration(temperature=1.0, fitted_on="a test", fitted_with={"other": "0" * 64})}
        ),
    )
    trainer(replace(result, weights=(result.weights[0], reader)))
    outcome = run(tmp_path)
    manifest = runs.installed("site-reader", outcome.versions["site-reader"]).manifest
    assert manifest.fitted_with == {NAME: live(NAME).sha256}
    assert manifest.calibration.fitted_with == {"other": "0" * 64, NAME: live(NAME).sha256}


def test_a_stop_before_the_versions_are_written_leaves_none(trainer, tmp_path) -> None:
    before = list_versions(NAME)
    trainer(trained(0.01))
    with pytest.raises(CancelledError):
        run(tmp_path, progress=RunProgress(stop=lambda: True))
    assert list_versions(NAME) == before


def test_unknown_trainers_are_not_found(tmp_path) -> None:
    with pytest.raises(NotFoundError):
        runs.run("livers", LABELS, TrainingParameters(), tmp_path, RunProgress(), identity="run-1")


def test_a_run_whose_version_was_judged_before_a_kill_replaces_only_what_it_was_judged_against(
    trainer, tmp_path, monkeypatch
) -> None:
    trainer(trained(0.01))
    run_ended_at(runs, "publish", tmp_path, monkeypatch)
    trainer(trained(0.02, seed=2))
    between = run(tmp_path, identity="run-2").version
    assert live(NAME).version == between
    # Taken up, it is judged again with what is live now; its version was not.
    trainer(trained(0.01))
    outcome = run(tmp_path)
    assert outcome.gate.passed
    assert not outcome.published
    assert live(NAME).version == between


def test_a_full_disk_is_called_that_and_the_version_goes_live_once_there_is_room(
    trainer, tmp_path, monkeypatch
) -> None:
    before = live(NAME)
    trainer(trained(0.01))
    full = OSError(28, "No space left on device")
    for owner in (installing, pointer):
        # By the code a server knows that it can go on from its checkpoint.
        assert run_ended_at(owner, "write_atomically", tmp_path, monkeypatch, error=full).code == "cannot-write"
        assert live(NAME) == before
    (made,) = set(list_versions(NAME)) - {before.version}
    assert run(tmp_path).version == live(NAME).version == made


def test_a_run_whose_version_is_live_under_a_pointer_that_was_damaged_since_ends(trainer, tmp_path) -> None:
    trainer(trained(0.01))
    first = run(tmp_path)
    (weights_root() / NAME / "live").write_text("nonsense")
    again = run(tmp_path)
    assert (again.version, again.published) == (first.version, False)
