"""`covid-bert weights compare --studies`: two versions judged anew on the held-out patients of a folder."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from folder_site import PARTS, corrected_site
from rich.console import Console
from small_settings import make_small

from covid_bert.commands.weights_compare import compare
from covid_bert.datastore.index import LABELS_NAME
from covid_bert.datastore.names import LabelTag
from covid_bert.datastore.versions import Versions
from covid_bert.errors import ParameterError
from covid_bert.lungs import unet
from covid_bert.networks.architectures import ARCHITECTURES
from covid_bert.retraining import comparing, reference
from covid_bert.retraining.cases import Part
from covid_bert.retraining.gate import Judgement, rule_for
from covid_bert.retraining.models import model_named
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.store import live, load_into


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The live lung network, and one of the same that sees right lungs everywhere."""
    monkeypatch.setattr(reference, "FULL", reference.FULL)
    make_small()
    shipped = live(unet.WEIGHTS_NAME)
    assert shipped is not None
    module = ARCHITECTURES[unet.ARCHITECTURE]()
    load_into(module, shipped)
    *_, last = module.parameters()
    with torch.no_grad():
        last[1] += 6.0
    facts = {name: getattr(shipped.manifest, name) for name in Provenance.model_fields}
    return shipped.version, add_version(unet.WEIGHTS_NAME, module.state_dict(), Provenance(**facts)).version


def printed(*words: str, **options: object) -> str:
    text = io.StringIO()
    compare("lungs", *words, console=Console(file=text, width=200), device="cpu", **options)
    return text.getvalue()


@pytest.mark.slow
def test_held_out_patients_and_reference_studies_judge(versions: tuple[str, str], tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    corrected_site(studies, {**PARTS, Part.TEST: 1})
    before, bad = versions
    text = printed(before, bad, studies=studies)
    rows = [line for line in text.splitlines() if "mean Dice of both lungs" in line and f"{bad} is worse" in line]
    assert ["4 frozen held-out patients" in row for row in rows] == [True, False]
    assert "3 reference studies" in rows[1]
    assert "4 patients with a corrected lung mask" in text
    assert "agree with a mean Dice of" in text
    # The other way round, and as bert has it, who has drawn every second one.
    text = printed(bad, before, studies=studies, readers="expert:bert")
    assert f"{before} is better" in text
    assert "2 patients with a corrected lung mask" in text
    with pytest.raises(ParameterError, match="readers"):
        printed(before, bad, studies=studies, readers="nobody")
    assert live(unet.WEIGHTS_NAME).version == before


def test_labels_that_cannot_be_used_are_named_and_no_mask_is_read_for_a_classifier(tmp_path: Path, monkeypatch) -> None:
    studies = tmp_path / "studies"
    corrected_site(studies, {Part.TRAINING: 1, Part.TEST: 2}, classes=True)
    versions = Versions(studies / LABELS_NAME)
    (damaged,) = versions.history(LabelTag.FINAL, "case-1")
    versions.path(LabelTag.FINAL, "case-1", damaged).write_bytes(b"nothing")
    seen: list[tuple] = []

    def judged(*given: object, **_: object) -> Judgement:
        seen.append(given)
        return Judgement((), (1,) * len(rule_for(given[0].system).groups), ())

    monkeypatch.setattr(comparing, "compare_versions", judged)
    for model in ("lungs", "covid_s2"):
        version = live(model_named(model).head).version
        text = io.StringIO()
        compare(model, version, version, console=Console(file=text, width=200), studies=studies)
        assert "left out: case-1: The mask by bert is damaged" in text.getvalue()
    lungs, classes = (given[3] for given in seen)
    assert [(study.identifier, study.mask is not None) for study in lungs] == [("case-2", True)]
    assert [(study.identifier, study.mask is not None) for study in classes] == [("case-1", False), ("case-2", False)]


def test_what_is_no_models_head_cannot_be_judged(tmp_path: Path) -> None:
    version = live("default-lesions").version
    with pytest.raises(ParameterError, match="judged alone"):
        compare("default-lesions", version, version, console=Console(quiet=True), studies=tmp_path)
