"""The command line as a user types it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest
from command_line import run
from PIL import Image
from rich.console import Console

from covid_bert import DEMONSTRATION_MODEL, cli
from covid_bert.commands import demo as demo_module
from covid_bert.commands import segment as segment_module
from covid_bert.errors import ServerError
from covid_bert.systems import SYSTEMS
from needed import require_module

# What takes long to import; only the commands that need it may wait for it.
HEAVY = {
    *("torch", "torchvision", "monai", "monailabel", "itk", "pydicom", "nibabel", "numpy", "scipy", "skimage"),
    *("matplotlib", "PIL", "pandas", "sklearn", "fastapi", "starlette", "uvicorn", "requests", "pydantic"),
}


def test_help_answers_at_once_and_names_the_exit_codes() -> None:
    command = [str(Path(sys.executable).parent / "covid-bert"), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Exit codes" in shown
    assert "Research use only" in shown
    # That it waits for nothing large.
    source = Path(command[0]).read_text()
    code = (
        "import atexit, sys\n"
        f"sys.argv = {command!r}\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        f"exec({source!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Exit codes" in done.stdout
    assert HEAVY & set(done.stderr.split()) == set()


def test_help_of_serve_shows_what_holds_without_an_option() -> None:
    import typer

    from covid_bert.server.configuration import ServerConfiguration

    options = {option.name: option for option in typer.main.get_command(cli.app).commands["serve"].params}
    for name, field in ServerConfiguration.model_fields.items():
        if field.default not in (None, (), "") and not field.is_required():
            shown = options[name].help.rpartition("(")[2].rstrip(").")
            default = getattr(field.default, "value", field.default)
            assert shown == f"{default:g}" if isinstance(default, float) else shown == str(default), name


def test_a_file_that_may_not_be_used_is_a_sentence(tmp_path, monkeypatch, capsys) -> None:
    def refused() -> None:
        (tmp_path / "a folder named after a patient" / "tokens.json").read_text()

    monkeypatch.setattr(cli, "app", refused)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr().err
    assert ended.value.code == 11
    assert "tokens.json cannot be read or written: No such file" in shown
    assert "patient" not in shown


def test_choices_are_those_of_the_registry() -> None:
    assert {name.value for name in cli.SystemName} == set(SYSTEMS)
    known = {configuration for entry in SYSTEMS.values() for configuration in entry.configurations}
    assert {name.value for name in cli.ConfigurationName} == known
    assert {name.value for name in cli.Structure} == set(segment_module.STRUCTURES)


@pytest.mark.usefixtures("small_networks", "lesions_by_density")
def test_segment_lesions_writes_mask_numbers_and_the_word_of_demonstration(chest, tmp_path, phantom) -> None:
    out, name = tmp_path / "out", phantom.volume.identifier
    options = ("--structure", "lesions", "--lungs", "morphological", "--out", out, "--report", tmp_path / "run.json")
    code, shown = run("segment", chest, *options)
    assert code == 0
    assert shown.count(DEMONSTRATION_MODEL) == 1
    facts = json.loads((out / f"{name}.lesions.json").read_text())
    labels = np.asarray(nibabel.load(out / facts["mask_file_name"]).dataobj)
    assert facts["total_ml"] == pytest.approx(np.count_nonzero(labels) * phantom.volume.voxel_milliliters)
    assert facts["labels"] == {"ground-glass": 1, "consolidation": 2}
    assert facts["warnings"].count(DEMONSTRATION_MODEL) == 1
    assert facts["weights_state"] == "demonstration"
    assert f"lesions {facts['total_ml']:.0f} ml" in shown
    assert json.loads((tmp_path / "run.json").read_text())["studies"][0]["weights"][-1]["name"] == "default-lesions"
    code, shown = run("segment", chest, "--lungs", "morphological", "--out", out)
    assert code == 0
    assert DEMONSTRATION_MODEL not in shown, "no network took part"
    assert {path.name for path in out.iterdir()} == {
        "studies.json",
        *(f"{name}.{structure}.{end}" for structure in ("lungs", "lesions") for end in ("nii.gz", "json")),
    }


@pytest.mark.usefixtures("small_networks")
def test_segment_lesions_without_weights_is_a_sentence_before_anything_is_computed(
    chest, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(segment_module, "segment_lungs", None)
    code, shown = run("segment", chest, "--structure", "lesions", "--out", tmp_path / "out")
    assert code == 5
    assert "default-lesions" in shown


def test_demo_touches_nothing_but_its_results(tmp_path, monkeypatch) -> None:
    """An existing folder of studies in the output folder is left alone."""
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    precious = tmp_path / "studies" / "labels" / "final" / "corrected.nii.gz"
    precious.parent.mkdir(parents=True)
    precious.write_bytes(b"hours of work")

    @contextmanager
    def no_server(*_):
        raise ServerError("stopped here", "by the test")
        yield

    monkeypatch.setattr(demo_module, "running_server", no_server)
    with pytest.raises(ServerError):
        demo_module.demo(Path(__file__).parents[2] / "sample-data", tmp_path, Console())
    assert precious.read_bytes() == b"hours of work"


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_segment_writes_the_chosen_format(chest, tmp_path, phantom, suffix) -> None:
    code, _ = run("segment", chest, "--out", tmp_path / "out", "--suffix", suffix)
    assert code == 0
    facts = json.loads((tmp_path / "out" / f"{phantom.volume.identifier}.lungs.json").read_text())
    assert (tmp_path / "out" / facts["mask_file_name"]).exists()
    assert facts["right_ml"] > facts["left_ml"] > 500


def test_doctor_finds_damaged_weights(tmp_path, monkeypatch) -> None:
    code, shown = run("doctor")
    assert code == 0, shown
    assert "all systems have weights" in shown
    home = Path(os.environ["COVID_BERT_HOME"])
    (home / "weights" / "s1-clip-network" / "v001").mkdir(parents=True)
    (home / "weights" / "s1-clip-network" / "live").write_text("v001\n")
    code, shown = run("doctor")
    assert code == 1
    assert "fault" in shown


def test_weights_commands(tmp_path) -> None:
    code, shown = run("weights", "list")
    assert code == 0
    assert "s1-clip-network" in shown
    code, shown = run("weights", "fetch", "s1-clip-network")
    assert code == 5
    assert "weights import" in shown
    code, shown = run("weights", "import", tmp_path / "missing.pth")
    assert code == 4
    code, shown = run("weights", "verify")
    assert code == 0
    code, shown = run("weights", "publish", "s1-clip-network", "v001")
    assert code == 5


def test_every_command_that_a_hint_names_exists() -> None:
    package = Path(cli.__file__).parent
    named = set()
    for path in package.rglob("*.py"):
        named |= set(re.findall(r"covid-bert ((?:weights )?[a-z]+)", path.read_text()))
    words = {command for command in named if command.split()[0] in {"weights", *_commands()}}
    assert {"weights import", "weights list", "weights fetch", "weights publish", "weights verify"} <= words
    for command in words - {"weights"}:
        assert run(*command.split(), "--help")[0] == 0, command


def _commands() -> set[str]:
    return {command.callback.__name__ for command in cli.app.registered_commands}


@pytest.mark.slow
def test_interrupt_leaves_no_half_file_and_the_next_call_goes_on(tmp_path, sample_data) -> None:
    # The second takes long enough to be interrupted on any machine.
    studies = [sample_data / name for name in ("lung1_image.nrrd", "chest_cta.nii.gz", "lung_dx_a0001")]
    out = tmp_path / "out"
    command = [sys.executable, "-m", "covid_bert.cli", "segment", *map(str, studies), "--out", str(out)]
    # A shell's background jobs inherit that interrupts are ignored; a user's terminal does not do that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 120
    while not (out / "studies.json").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Finished studies are kept" in errors
    assert "Traceback" not in errors
    assert not [path for path in out.iterdir() if path.name.startswith(".")], "neither temporary files nor the lock"
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0
    assert "skipped" in done.stdout


@pytest.mark.slow
@pytest.mark.server
def test_demo_classifies_a_real_dicom_study_through_a_server(tmp_path, sample_data) -> None:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    manifest = json.loads((sample_data / "manifest.json").read_text())
    data = tmp_path / "data"
    data.mkdir()
    study = next(item for item in manifest["studies"] if item["format"] == "dicom")
    shutil.copytree(sample_data / study["path"], data / study["path"])
    (data / "manifest.json").write_text(json.dumps({"studies": [study]}))
    command = [sys.executable, "-m", "covid_bert.cli", "demo", "--data", str(data), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "out" / "results"
    for system in SYSTEMS:
        result = json.loads((results / f"{study['name']}.{system}.json").read_text())
        assert result["study"]["file_format"] == "dicom"
        assert Image.open(results / f"{study['name']}.{system}.png").size[0] > 1000
    assert nibabel.load(results / f"{study['name']}.lungs.nii.gz").shape == (512, 512, 64)
