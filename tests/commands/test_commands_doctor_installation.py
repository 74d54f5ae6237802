"""`covid-bert doctor`: packages, machine and weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from covid_bert.commands import doctor_installation as installation
from covid_bert.commands.doctor import _guarded
from covid_bert.commands.doctor_check import FAULT, OK, Check
from covid_bert.weights.verify import Finding, Problem


def run(check, *arguments) -> Check:
    found = _guarded(check.__name__, lambda: check(*arguments))
    if found.state == FAULT:
        assert found.remedy, "a fault says how to mend it"
    return found


def test_packages_that_are_missing_or_old_are_named() -> None:
    declared = ["numpy>=1.20", "numpy>=999", "no-such-package>=1", "x ; extra == 'test'", "y ; python_version < '3'"]
    assert [finding.split(" is ")[0] for finding, _ in installation.unfit_packages(declared)] == [
        *("numpy", "no-such-package"),
    ]
    assert installation.unfit_packages(declared)[0][1] == "numpy>=999"


def test_faults_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(installation.clock).state == OK
    monkeypatch.setattr(installation.time, "time", lambda: 1_000_000.0)
    assert run(installation.clock).state == FAULT
    limit = tmp_path / "memory.max"
    limit.write_text(f"{3 * 2**30}\n")
    monkeypatch.setattr(installation, "_CONTROL_GROUP_LIMIT", limit)
    assert (run(installation.memory).state, run(installation.memory).finding) == (FAULT, "3.0 GiB")
    monkeypatch.setattr(installation, "LEAST_DISK", 2**60)
    assert run(installation.data_folder).state == FAULT


def test_weights_that_are_damaged_are_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Finding("default-lungs", "v003", Problem.MISSING, "default-lungs v003: the file is missing.")] * 2
    monkeypatch.setattr("covid_bert.weights.verify.verify_installed", lambda: found)
    assert run(installation.weights).finding == "default-lungs v003: the file is missing, and 1 more"
