"""The self test: the whole path in the application, with a real server and a real CT.

It needs COVID_BERT_TEST_URL, the address of a server for tests, and COVID_BERT_TEST_TOKEN, a token with the role
annotator where the server asks for one. It adds a study and a mask there. COVID_BERT_TEST_CA names a CA file,
COVID_BERT_TEST_MODEL a model, COVID_BERT_TEST_FILE the CT instead of the sample of the module Sample Data.
"""

# In Slicer it runs under unittest.
# ruff: noqa: PT009

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from . import views
from .sample_data import SAMPLE_NAME, SHA256
from .segments import KINDS, LUNGS, kind_of

_SECONDS = 1800.0
_PAUSE_MILLISECONDS = 20
_RIGHT_LUNG = KINDS[LUNGS][0].identifier


def run(test: Any) -> None:
    """Connect, classify, look, correct, submit, report; the test is skipped without a server.

    Parameters
    ----------
    test
        The ``unittest.TestCase`` that fails where something is wrong. The scene is emptied.
    """
    url = os.environ.get("COVID_BERT_TEST_URL")
    if not url:
        test.skipTest("COVID_BERT_TEST_URL names no server")
    slicer.mrmlScene.Clear(0)
    panel = slicer.modules.covidbert.widgetRepresentation().self().panel
    had_consent = panel.consent.given(url)
    try:
        _connect(test, panel, str(url))
        volume = _load(test)
        _classify(test, panel, volume)
        _look(test, panel, volume)
        _correct(test, panel, volume)
        _submit(test, panel)
        _report(test, panel, volume)
    finally:
        if not had_consent:
            panel.consent.withdraw(url)
        panel.set_server(None)


def _connect(test: Any, panel: Any, url: str) -> None:
    server = {
        "url": url,
        "token": os.environ.get("COVID_BERT_TEST_TOKEN") or None,
        "ca_file": os.environ.get("COVID_BERT_TEST_CA") or None,
        "insecure_network": False,
    }
    offers: list[dict[str, Any]] = []
    task = panel.start({"kind": "check", "server": server}, done=offers.append)
    _wait(test, lambda: not task.running, "the server answers")
    test.assertEqual(len(offers), 1, panel.messages.text)
    test.assertTrue(offers[0]["ready"], offers[0]["reason"])
    test.assertIn("annotator", offers[0]["roles"])
    panel.consent.give(url)
    panel.set_server(server, offers[0])


def _load(test: Any) -> Any:
    named = os.environ.get("COVID_BERT_TEST_FILE")
    if not named:
        import SampleData  # Slicer's own module: it checks the file's SHA-256.

        return SampleData.downloadSample(SAMPLE_NAME)
    test.assertEqual(hashlib.sha256(Path(named).read_bytes()).hexdigest(), SHA256)
    return slicer.util.loadVolume(named, {"name": SAMPLE_NAME})


def _classify(test: Any, panel: Any, volume: Any) -> None:
    panel.set_volume(volume)
    section = panel.section("Classify")
    model = os.environ.get("COVID_BERT_TEST_MODEL")
    if model:
        section.ui.modelComboBox.setCurrentIndex(section.ui.modelComboBox.findData(model))
    section.classify()
    _wait(test, lambda: panel.jobs.running(volume) is None, "the study is classified")
    test.assertIsNotNone(panel.shown, panel.messages.text)
    test.assertAlmostEqual(sum(panel.shown_result.class_scores.values()), 1.0, places=3)


def _look(test: Any, panel: Any, volume: Any) -> None:
    lungs = panel.shown.lungs
    test.assertIsNotNone(lungs)
    segmentation = lungs.GetSegmentation()
    found = {identifier: segmentation.GetSegment(identifier) for identifier in segmentation.GetSegmentIDs()}
    kinds = {kind_of(segment, identifier, LUNGS) for identifier, segment in found.items()}
    test.assertEqual(kinds, set(KINDS[LUNGS]))
    for identifier in found:
        inside = slicer.util.arrayFromSegmentBinaryLabelmap(lungs, identifier, volume)
        test.assertGreater(int(inside.sum()), 0, identifier)
    slices = panel.shown_result.slices
    highest = max(slices, key=lambda evidence: evidence.score or 0.0)
    views.jump_to_slice(volume, highest.index)
    test.assertEqual(views.shown_slice(volume), highest.index)


def _correct(test: Any, panel: Any, volume: Any) -> None:
    section = panel.section("Correct")
    section.ui.startButton.click()
    corrected = section.corrected
    test.assertIsNotNone(corrected)
    inside = slicer.util.arrayFromSegmentBinaryLabelmap(corrected, _RIGHT_LUNG, volume).copy()
    slices = inside.any(axis=(1, 2)).nonzero()[0]
    inside[slices[len(slices) // 2]] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(inside, corrected, _RIGHT_LUNG, volume)
    section.ui.compareButton.click()
    _wait(test, lambda: not section.is_busy, "the masks are compared")
    test.assertFalse(section.ui.comparisonTable.isHidden(), panel.messages.text)
    dice = [float(section.ui.comparisonTable.item(row, 1).text()) for row in range(2)]
    test.assertLess(dice[0], 1.0)
    test.assertGreater(dice[0], 0.5)
    test.assertEqual(dice[1], 1.0)


def _submit(test: Any, panel: Any) -> None:
    section = panel.section("Correct")
    section.ui.classSelector.setCurrentIndex(4)
    section.ui.commentEdit.text = "self test"
    section.ui.submitButton.click()
    _wait(test, lambda: not section.is_busy, "the mask is submitted")
    test.assertIsNotNone(section.image, panel.messages.text)
    test.assertIn(str(panel.offer["user"]), panel.messages.text)
    answers: list[dict[str, Any]] = []
    task = panel.start({"kind": "study_label_get", "image": section.image}, done=answers.append)
    _wait(test, lambda: not task.running, "the study label comes back")
    test.assertEqual(answers[0]["study_label"]["comment"], "self test")


def _report(test: Any, panel: Any, volume: Any) -> None:
    section = panel.section("Report")
    folder = panel.new_folder()
    before = section.ui.folderEdit.currentPath
    try:
        section.ui.folderEdit.currentPath = str(folder)
        section.ui.saveButton.click()
        files = {path.suffix: path for path in folder.iterdir()}
        test.assertIn(".pdf", files, panel.messages.text)
        test.assertTrue(files[".pdf"].read_bytes().startswith(b"%PDF"))
        test.assertEqual(
            json.loads(files[".json"].read_text("utf-8"))["predicted_class"], panel.shown_result.predicted_class
        )
        test.assertFalse([path.name for path in files.values() if volume.GetName() in path.name])
    finally:
        section.ui.folderEdit.currentPath = before
        shutil.rmtree(folder, ignore_errors=True)


def _wait(test: Any, condition: Callable[[], bool], what: str) -> None:
    """Let the application run until something holds."""
    end = time.monotonic() + _SECONDS
    while not condition():
        test.assertLess(time.monotonic(), end, f"within {_SECONDS:g} s: {what}")
        loop = qt.QEventLoop()
        qt.QTimer.singleShot(_PAUSE_MILLISECONDS, loop.quit)
        loop.exec_()
