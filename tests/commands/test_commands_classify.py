"""`covid-bert classify`: what is written, skipped, refused, and left alone."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import itk
import jsonschema
import nibabel
import numpy as np
import pytest
from command_line import run
from filelock import FileLock
from PIL import Image

from covid_bert import DEMONSTRATION_MODEL
from covid_bert.commands import segment as segment_module
from covid_bert.lungs import segment_lungs
from covid_bert.phantom import write, write_dicom
from covid_bert.volumes import to_gray8
from lesion_networks import install_lesion_weights

SECRET = "DOE^JANE"


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
