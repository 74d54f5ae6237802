"""`covid-bert weights`: states, comparison, publishing with the gate's leave, and the way back."""

from __future__ import annotations

from command_line import run

from covid_bert.lungs import unet
from covid_bert.weights.history import history
from covid_bert.weights.store import live
from made_versions import REASON, install_lungs

LUNGS = unet.WEIGHTS_NAME


def test_a_version_from_candidate_to_live_and_back() -> None:
    shipped = live(LUNGS).version
    refused, passed = install_lungs(False).version, install_lungs(True, seed=1).version
    _, shown = run("weights", "list")
    assert "candidate" in shown
    code, said = run("weights", "publish", LUNGS, refused)
    assert code == 2
    assert "did not pass the gate" in said
    assert "--despite-gate" in said
    assert run("weights", "publish", LUNGS, passed)[0] == 0
    assert live(LUNGS).version == passed
    assert run("weights", "publish", LUNGS, refused, "--despite-gate")[0] == 0
    assert [line.by for line in history(LUNGS)] == ["command line"] * 2
    assert run("weights", "rollback", LUNGS)[0] == 0
    assert live(LUNGS).version == passed
    assert run("weights", "rollback", LUNGS)[0] == 0
    assert live(LUNGS).version == shipped
    code, said = run("weights", "rollback", LUNGS)
    assert (code, "was live before" in said) == (2, True)


def test_two_versions_side_by_side() -> None:
    shipped, refused = live(LUNGS).version, install_lungs(False).version
    code, said = run("weights", "compare", "lungs", shipped, refused)
    shown = " ".join(said.split())
    assert code == 0
    assert "0.97 (0.96 to 0.98)" in shown
    assert f"Gate of {refused} (not passed): {REASON}" in shown
    code, said = run("weights", "compare", LUNGS, shipped, "v999")
    assert code == 5
    assert "not installed" in said
    code, said = run("weights", "compare", "default-clip-network", "v002", "v002", "--reference")
    assert code == 2
    assert "cannot be judged alone" in said


def test_who_publishes_a_companion_is_told_what_decides() -> None:
    _, said = run("weights", "publish", "default-clip-network", live("default-clip-network").version)
    assert "default-study-network and default-embedding-mlp" in " ".join(said.split())
