"""`covid-bert doctor` on trainings."""

from __future__ import annotations

from pathlib import Path

from covid_bert.commands.doctor_check import NOTE, OK
from covid_bert.commands.doctor_training import trainings
from covid_bert.retraining.derived import label_cache, retraining_folder
from covid_bert.retraining.parameters import TrainingParameters
from covid_bert.retraining.run_folder import REQUEST_FILE, new_run
from covid_bert.server.configuration import load
from covid_bert.server.launch import only_server_of


def test_trainings(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    configuration = load({"studies": studies}, environment={})
    assert trainings(None).state == OK
    runs = retraining_folder(studies) / "runs"
    of_command = new_run(runs, "lungs", TrainingParameters(), origin="command")
    assert trainings(configuration).state == OK, "whoever gave the command takes it up again"
    of_server = new_run(runs, "lungs", TrainingParameters(), origin="server")
    found = trainings(configuration)
    assert (found.state, found.finding) == (NOTE, "a training was interrupted")
    assert "Start the server" in found.remedy
    with only_server_of(studies):
        assert trainings(configuration).state == OK
    of_server.write_state(of_server.state().changed(status="done"))
    assert trainings(configuration).finding.startswith("2, 0.0 GiB")
    # Also of studies that nobody has trained on, as an import of labels leaves it; a file with a hole takes no space.
    cached = label_cache(tmp_path / "others") / "consensus" / "mask.nii.gz"
    cached.parent.mkdir(parents=True)
    with cached.open("wb") as file:
        file.truncate(3 * 2**30 // 2)
    assert trainings(configuration).finding.startswith("2, 1.5 GiB")
    (of_command.path / REQUEST_FILE).write_text("{")
    assert trainings(configuration).finding == "a folder holds no training that can be read"
