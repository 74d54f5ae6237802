"""`covid-bert synthesize` as a user gives it."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from covid_bert.cli import app
from covid_bert.phantom import make
from covid_bert.volumes import write_mask


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A small CT with its lung mask, as files, stored with other axes than the canonical ones."""
    folder = tmp_path_factory.mktemp("study")
    phantom = make(shape=(40, 80, 96), spacing=(6.0, 3.6, 3.6), seed=4, noise=8.0)
    values = np.transpose(phantom.volume.array, (2, 1, 0))[::-1]
    affine = phantom.volume.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (values.shape[0] - 1)
    affine[:3, 0] *= -1
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(values), affine), folder / "ct.nii.gz")
    from covid_bert.volumes import read

    volume = read(folder / "ct.nii.gz")
    write_mask(phantom.lungs.array, volume, folder / "lungs.nii.gz")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["synthesize", *map(str, arguments)])


def test_two_studies_with_masks_recipe_and_picture(study, tmp_path) -> None:
    out = tmp_path / "out"
    done = run(study / "ct.nii.gz", "--lungs-file", study / "lungs.nii.gz", "--count", 2, "--seed", 3, "--out", out)
    assert done.exit_code == 0, done.output
    assert "Research use only" in done.output
    recipes = sorted(out.glob("*.json"))
    assert len(recipes) == 2
    original = nibabel.load(study / "ct.nii.gz")
    for path in recipes:
        facts = json.loads(path.read_text())
        assert facts["pattern"] == "covid-like"
        assert "planted by a program" in facts["synthetic"]
        images = {name: nibabel.load(out / facts["files"][name]) for name in ("ct", "lungs", "lesions")}
        for image in images.values():
            assert image.shape == original.shape
            assert np.allclose(image.affine, original.affine)
        lesions = np.asarray(images["lesions"].dataobj)
        changed = np.asarray(images["ct"].dataobj) != np.asarray(original.dataobj)
        assert (lesions == 1).any()
        assert changed[lesions == 1].mean() > 0.9
        assert Image.open(out / facts["files"]["picture"]).size[0] > 1000
    first, second = (json.loads(path.read_text())["seed"] for path in recipes)
    assert {first, second} == {3, 4}


def test_a_phantom_needs_no_study(tmp_path) -> None:
    done = run("phantom", "--pattern", "bacterial-like", "--out", tmp_path, "--no-distractors")
    assert done.exit_code == 0, done.output
    facts = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert facts["distractors"] == []
    assert facts["opacities"]


def test_severity_out_of_range_is_refused(study, tmp_path) -> None:
    done = run(study / "ct.nii.gz", "--lungs-file", study / "lungs.nii.gz", "--severity", 2, "--out", tmp_path)
    assert done.exit_code != 0
    assert "severity" in str(done.exception)
