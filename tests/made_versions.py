"""Versions of the lung network as a training leaves them, without a training."""

from __future__ import annotations

import torch

from covid_bert.lungs import unet
from covid_bert.networks.segmenter import SliceSegmenter
from covid_bert.retraining.gate import LUNGS_RULE
from covid_bert.retraining.measuring import DICE, VALIDATION
from covid_bert.retraining.records import RECORD_FILE, GateDecision, Measured, TrainingRecord
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.registry import InputContract, Role
from covid_bert.weights.version_folder import InstalledWeights

REASON = "The mean Dice of both lungs on the reference studies went from 0.990 to 0.500."


def record(passed: bool, against: str = "v003") -> TrainingRecord:
    """What a training of lungs writes; v003 is the version that is shipped."""
    return TrainingRecord(
        model="lungs",
        run="0123",
        started_from={"name": unet.WEIGHTS_NAME, "version": "v003", "sha256": "0" * 64},
        configuration={"epochs": 20, "seed": 0},
        data=(),
        data_sha256="0" * 64,
        split="0" * 64,
        rule="newest",
        left_out=1,
        metrics=(Measured(measure=DICE, value=0.97, lower=0.96, upper=0.98, patients=4, data=VALIDATION),),
        gate=GateDecision(
            passed=passed,
            reason=f"It is not worse than {against}." if passed else REASON,
            rule=LUNGS_RULE.text,
            against=against,
        ),
        curve=(),
        seconds=12.5,
        code_version="0.1.0",
    )


def install_lungs(passed: bool | None, seed: int = 0, against: str = "v003") -> InstalledWeights:
    """Install a small lung network; with None it has no record of a training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = SliceSegmenter(5, 3, (4, 4, 4, 4, 4, 4)).state_dict()
    files = {} if passed is None else {RECORD_FILE: record(passed, against).model_dump_json()}
    provenance = Provenance(
        architecture=unet.ARCHITECTURE, role=Role.LUNGS, input=InputContract(window_hu=(-1000.0, 200.0))
    )
    return add_version(unet.WEIGHTS_NAME, state, provenance, files)
