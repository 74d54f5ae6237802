"""`covid-bert classify` with strange DICOM: each study is read, or refused with a sentence; the others go on."""

from __future__ import annotations

import json

import pytest
from command_line import run
from multi_frame_maker import make_enhanced
from pydicom.uid import DeflatedExplicitVRLittleEndian
from strange_studies import STRANGE, make_strange
from volume_maker import PATIENT_ID


@pytest.mark.usefixtures("small_networks")
def test_strange_studies_are_refused_one_by_one_and_the_rest_is_classified(tmp_path, phantom) -> None:
    out = tmp_path / "out"
    folders = {name: make_strange(name, tmp_path / "studies" / name) for name in STRANGE}
    volume = phantom.volume
    good = make_enhanced(
        tmp_path / "good.dcm", volume.array, spacing=volume.spacing, syntax=DeflatedExplicitVRLittleEndian
    )
    options = ("--system", "baseline", "--lungs", "morphological", "--out", out)
    code, shown = run("classify", *folders.values(), good, *options)
    assert code == 10
    assert PATIENT_ID not in shown
    entries = {entry["input"]: entry for entry in json.loads((out / "studies.json").read_text()).values()}
    for name, (_, expected) in STRANGE.items():
        error = entries[str(folders[name])].get("error", {"code": ""})
        # The phantoms that could be read are too small for lungs.
        assert error["code"] in ({expected} if expected else {"", "no-lungs"}), name
        assert error["code"] == "" or error["hint"], name
    assert "error" not in entries[str(good)]
    assert (out / f"{entries[str(good)]['study']}.baseline-corrected.json").exists()
