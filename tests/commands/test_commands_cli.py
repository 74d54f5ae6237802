"""The command line as a user types it."""

from __future__ import annotations

import errno
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

import itk
import jsonschema
import nibabel
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from covid_bert import DEMONSTRATION_MODEL, cli
from covid_bert.commands import demo as demo_module
from covid_bert.commands import segment as segment_module
from covid_bert.errors import CovidBertError, ServerError
from covid_bert.lungs import segment_lungs
from covid_bert.phantom import write, write_dicom
from covid_bert.systems import SYSTEMS
from covid_bert.volumes import to_gray8
from lesion_networks import install_lesion_weights
from needed import require_module

SECRET = "DOE^JANE"


def run(*arguments: str | Path) -> tuple[int, str]:
    """Run in this process, so that small networks can stand in for the published ones."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    if isinstance(result.exception, CovidBertError):
        return result.exception.exit_code, f"{result.output}{result.exception.message} {result.exception.hint}"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def chest(tmp_path: Path, phantom) -> Path:
    return write(phantom, tmp_path / "chest.nii.gz")


def test_help_answers_at_once_and_names_the_exit_codes() -> None:
    command = [str(Path(sys.executable).parent / "covid-bert"), "--help"]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5
    assert "Exit codes" in shown
    assert "Research use only" in shown


def test_choices_are_those_of_the_registry() -> None:
    assert {name.value for name in cli.SystemName} == set(SYSTEMS)
    known = {configuration for entry in SYSTEMS.values() for configuration in entry.configurations}
    assert {name.value for name in cli.ConfigurationName} == known
    assert {name.value for name in cli.Structure} == set(segment_module.STRUCTURES)


@pytest.mark.usefixtures("small_networks")
def test_classify_writes_everything_and_skips_what_is_done(chest, tmp_path, phantom, repository) -> None:
    out, report = tmp_path / "out", tmp_path / "run.json"
    code, shown = run("classify", chest, "--system", "s1", "--system", "s2", "--out", out, "--report", report)
    assert code == 0
    assert "UNTRAINED" in shown
    name = phantom.volume.identifier
    assert {path.name for path in out.iterdir()} == {
        *("studies.json", f"{name}.lungs.nii.gz"),
        *(f"{name}.{system}-corrected.{end}" for system in ("s1", "s2") for end in ("json", "png", "location.nii.gz")),
    }
    result = json.loads((out / f"{name}.s1-corrected.json").read_text())
    jsonschema.validate(result, json.loads((repository / "docs" / "result.schema.json").read_text()))
    assert result["location_map"]["file_name"] == f"{name}.s1-corrected.location.nii.gz"
    location = nibabel.load(out / result["location_map"]["file_name"])
    np.testing.assert_allclose(location.affine, nibabel.load(chest).affine, atol=1e-4)
    assert Image.open(out / f"{name}.s1-corrected.png").size[0] > 1000
    manifest = json.loads(report.read_text())
    assert {"covid-bert", "torch", "python"} <= set(manifest["versions"])
    assert manifest["studies"][0]["seconds_by_system"]["s1"]["clips"] > 0
    before = (out / f"{name}.s1-corrected.json").stat().st_mtime_ns
    code, shown = run("classify", chest, "--system", "s1", "--system", "s2", "--out", out)
    assert code == 0
    assert "skipped" in shown
    assert (out / f"{name}.s1-corrected.json").stat().st_mtime_ns == before
    (out / f"{name}.s2-corrected.json").unlink()
    code, shown = run("classify", chest, "--system", "s1", "--system", "s2", "--out", out)
    assert "skipped" not in shown
    assert (out / f"{name}.s2-corrected.json").exists()


@pytest.mark.usefixtures("small_networks", "lesions_by_density")
def test_classify_writes_the_lesions_once_for_all_systems(chest, tmp_path, phantom) -> None:
    out, name = tmp_path / "out", phantom.volume.identifier
    options = ("--lungs", "morphological", "--system", "s2", "--system", "baseline", "--out", out)
    code, shown = run("classify", chest, *options)
    assert code == 0
    assert shown.count(DEMONSTRATION_MODEL) == 1
    labels = nibabel.load(out / f"{name}.lesions.nii.gz")
    np.testing.assert_allclose(labels.affine, nibabel.load(chest).affine, atol=1e-4)
    counts = np.bincount(np.asarray(labels.dataobj).ravel(), minlength=3) * phantom.volume.voxel_milliliters
    for system in ("s2", "baseline"):
        result = json.loads((out / f"{name}.{system}-corrected.json").read_text())
        lesions = result["lesions"]
        assert lesions["mask_file_name"] == f"{name}.lesions.nii.gz"
        assert result["lungs"]["mask_file_name"] == f"{name}.lungs.nii.gz"
        assert lesions["right_ground_glass_ml"] + lesions["left_ground_glass_ml"] == pytest.approx(counts[1])
        assert lesions["right_consolidation_ml"] + lesions["left_consolidation_ml"] == pytest.approx(counts[2])
        assert result["warnings"].count(DEMONSTRATION_MODEL) == 1
    assert "skipped" in run("classify", chest, *options)[1]
    install_lesion_weights(threshold=0.9)
    assert "skipped" not in run("classify", chest, *options)[1], "other lesion weights, other results"


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


def test_one_bad_study_does_not_stop_the_others(chest, tmp_path) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(chest.read_bytes()[:5000])
    code, shown = run("segment", bad, chest, tmp_path / "missing", "--out", tmp_path / "out")
    assert code == 10
    assert "unreadable-file" in shown
    assert "not-found" in shown
    assert len(list((tmp_path / "out").glob("*.lungs.nii.gz"))) == 1
    entries = json.loads((tmp_path / "out" / "studies.json").read_text())
    assert sum("error" in entry for entry in entries.values()) == 2


def _text_file(folder: Path) -> Path:
    path = folder / "notes.nii.gz"
    path.write_text("no image")
    return path


def _empty_folder(folder: Path) -> Path:
    path = folder / "empty"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make_input", "code"),
    [
        (lambda folder: folder / "missing.nii.gz", 4),
        (_text_file, 3),
        (_empty_folder, 4),
    ],
)
def test_exit_code_of_a_single_bad_study(tmp_path, make_input, code) -> None:
    got, shown = run("segment", make_input(tmp_path), "--out", tmp_path / "out")
    assert got == code
    assert shown.strip()


@pytest.mark.usefixtures("small_networks")
def test_no_patient_name_in_outputs_file_names_or_terminal(tmp_path, phantom) -> None:
    write_dicom(phantom, tmp_path / SECRET, patient_id=SECRET)
    out, report = tmp_path / "out", tmp_path / "run.json"
    code, shown = run("classify", tmp_path / SECRET, "--system", "baseline", "--out", out, "--report", report)
    assert code == 0
    assert SECRET not in shown
    for path in (report, *out.iterdir()):
        assert SECRET not in path.name
        # Only the index on this machine connects results with the names of the inputs.
        assert (SECRET.encode() in path.read_bytes()) is (path.name == "studies.json")


def test_published_configuration_of_a_system_without_one_is_a_sentence(chest, tmp_path) -> None:
    options = ("--system", "baseline", "--configuration", "published", "--out", tmp_path / "out")
    code, shown = run("classify", chest, *options)
    assert code == 2
    assert "corrected" in shown


@pytest.mark.usefixtures("small_networks")
def test_results_of_other_settings_are_not_taken_for_done(chest, tmp_path, phantom) -> None:
    out = tmp_path / "out"
    run("classify", chest, "--system", "baseline", "--out", out)
    written = out / f"{phantom.volume.identifier}.baseline-corrected.json"
    written.write_text("{}")
    code, shown = run("classify", chest, "--system", "baseline", "--out", out)
    assert code == 0
    assert "skipped" not in shown
    assert json.loads(written.read_text())["study"]


def test_each_input_gets_its_mask_on_its_own_grid_and_twins_are_done_once(chest, tmp_path, phantom) -> None:
    image = nibabel.load(chest)
    nibabel.save(image.as_reoriented(np.array([[2, 1], [0, -1], [1, 1]])), tmp_path / "turned.nii.gz")
    shutil.copy(chest, tmp_path / "twin.nii.gz")
    out = tmp_path / "out"
    inputs = [chest, tmp_path / "turned.nii.gz", tmp_path / "twin.nii.gz"]
    code, shown = run("segment", *inputs, "--out", out)
    assert code == 0
    assert "same image" in shown
    entries = {Path(entry["input"]).name: entry for entry in json.loads((out / "studies.json").read_text()).values()}
    for path in inputs:
        mask = nibabel.load(out / entries[path.name]["files"][0])
        assert mask.shape == nibabel.load(path).shape
        np.testing.assert_allclose(mask.affine, nibabel.load(path).affine, atol=1e-3)
    assert entries["twin.nii.gz"]["files"] == entries["chest.nii.gz"]["files"] != entries["turned.nii.gz"]["files"]
    code, shown = run("segment", *inputs, "--out", out)
    assert shown.count("skipped") == 3


def test_a_changed_voxel_file_behind_a_header_is_noticed(tmp_path, phantom) -> None:
    write(phantom, tmp_path / "chest.mha")
    itk.imwrite(itk.imread(str(tmp_path / "chest.mha")), str(tmp_path / "chest.mhd"))
    run("segment", tmp_path / "chest.mhd", "--out", tmp_path / "out")
    voxels = next(path for path in tmp_path.iterdir() if path.suffix in {".raw", ".zraw"})
    voxels.write_bytes(voxels.read_bytes())
    os.utime(voxels, ns=(1, 1))
    _, shown = run("segment", tmp_path / "chest.mhd", "--out", tmp_path / "out")
    assert "skipped" not in shown
    for expected in (False, True):
        _, shown = run("segment", tmp_path / "chest.mhd", "--out", tmp_path)
        assert ("skipped" in shown) is expected, "results beside the header are not taken for its voxels"


def test_results_are_not_written_into_a_study(tmp_path, phantom, monkeypatch) -> None:
    write_dicom(phantom, tmp_path / "series")
    monkeypatch.chdir(tmp_path / "series")
    code, shown = run("segment", ".", "--out", "results")
    assert code == 2
    assert "--out" in shown
    assert run("segment", ".", "--out", tmp_path / "out")[0] == 0


@pytest.mark.parametrize("content", ["[1]", '{"a": 1}', "{"])
def test_a_damaged_index_is_a_sentence(chest, tmp_path, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "studies.json").write_text(content)
    code, shown = run("segment", chest, "--out", tmp_path / "out")
    assert code == 2
    assert "damaged" in shown


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("configuration", ["published", "corrected"])
def test_folders_of_few_slice_images_are_classified(tmp_path, phantom, slices: int, configuration: str) -> None:
    """COV19-CT-DB has studies of a single slice."""
    folder = tmp_path / "images"
    folder.mkdir()
    middle = phantom.volume.shape[0] // 2
    gray = to_gray8(phantom.volume.array[middle : middle + slices])
    for number, plane in enumerate(gray):
        Image.fromarray(plane).resize((512, 512)).save(folder / f"{number}.png")
    out = tmp_path / "out"
    code, shown = run("classify", folder, "--system", "s2", "--configuration", configuration, "--out", out)
    assert code == 0, shown
    result = json.loads(next(out.glob("*.s2-*.json")).read_text())
    assert result["study"]["slices"] == slices
    assert result["lungs"]["total_ml"] is None
    assert all(len(window["slice_indices"]) == 32 for window in result["windows"])


def test_an_unexpected_fault_in_one_study_does_not_stop_the_others(chest, tmp_path, monkeypatch) -> None:
    other = shutil.copy(chest, tmp_path / "other[1].nii.gz")
    calls = []

    def sometimes(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise RuntimeError("something odd")
        return segment_lungs(*arguments, **options)

    monkeypatch.setattr(segment_module, "segment_lungs", sometimes)
    code, shown = run("segment", other, chest, "--out", tmp_path / "out")
    assert code == 10
    assert "internal" in shown
    assert "other[1].nii.gz" in shown
    assert len(calls) == 2


def test_a_full_disk_is_a_sentence(chest, tmp_path, monkeypatch) -> None:
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(segment_module, "write_atomically", full)
    code, shown = run("segment", chest, "--out", tmp_path / "out")
    assert code == 11
    assert "No space left" in shown


def test_two_runs_do_not_share_an_output_folder_and_leftovers_are_cleared(chest, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    leftover = out / f".{'a' * 32}.nii.gz"
    leftover.write_bytes(b"half")
    with FileLock(out / ".studies.lock"):
        code, shown = run("segment", chest, "--out", out)
    assert code == 6
    assert "--out" in shown
    assert leftover.exists()
    assert run("segment", chest, "--out", out)[0] == 0
    assert not leftover.exists()


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
