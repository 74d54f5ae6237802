"""The PDF of a result: its words, its pages, and that a reader of PDF opens it again."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covid_bert import DEMONSTRATION_MODEL, RESEARCH_USE_ONLY
from covid_bert.phantom import Phantom
from covid_bert.report.evidence import key_slices
from covid_bert.report.pdf import pdf_report
from covid_bert.systems.result import SliceEvidence, WeightsState
from needed import require_program

sys.path[:0] = [str(Path(__file__).parent / "dicom"), str(Path(__file__).resolve().parents[1] / "volumes")]
from result_maker import CALIBRATED, classify  # noqa: E402


@pytest.fixture(scope="module")
def classification(phantom: Phantom):
    return classify(phantom.volume, phantom.lungs.array, lesions=phantom.lesions)


@pytest.fixture(scope="module")
def pdf(phantom, classification, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pdf") / "report.pdf"
    path.write_bytes(pdf_report(phantom.volume, classification))
    return path


def words_of(path: Path) -> str:
    program = require_program("pdftotext", "poppler-utils")
    return subprocess.run([program, "-layout", str(path), "-"], capture_output=True, text=True, check=True).stdout


def said(phantom, classification, tmp_path: Path) -> str:
    """Words of another report, with single spaces."""
    path = tmp_path / "other.pdf"
    path.write_bytes(pdf_report(phantom.volume, classification))
    return " ".join(words_of(path).split())


def test_every_page_says_research_use_and_there_are_two(pdf) -> None:
    pages = words_of(pdf).split("\f")[:-1]
    assert len(pages) == 2
    for number, page in enumerate(pages, start=1):
        assert RESEARCH_USE_ONLY in page
        assert f"Page {number} of 2" in page
    assert DEMONSTRATION_MODEL in pages[0]


def test_probability_calibration_operating_point_volumes_and_weights_are_said(pdf, classification) -> None:
    text = " ".join(words_of(pdf).split())
    result = classification.result
    assert "0.81" in text
    assert "calibrated probability of COVID-19" in text
    for sentence in (CALIBRATED.calibrated_on, CALIBRATED.threshold_chosen_on):
        assert sentence in text
    assert "At or above the operating point of 0.38: counted as COVID-19" in text
    assert f"Right {result.lungs.right_ml:.0f} {result.lesions.right_ground_glass_ml:.1f}" in text
    assert f"Left {result.lungs.left_ml:.0f} {result.lesions.left_ground_glass_ml:.1f}" in text
    assert "The lungs are small." in text
    assert f"{result.provenance.weights[0].sha256[:16]}" in text
    assert "planted lesions" in text


def test_a_page_is_drawn_by_a_reader_of_pdf_with_pictures_on_it(pdf, tmp_path) -> None:
    program = require_program("pdftoppm", "poppler-utils")
    subprocess.run([program, "-r", "40", "-png", str(pdf), str(tmp_path / "page")], check=True)
    drawn = sorted(tmp_path.glob("page*.png"))
    assert len(drawn) == 2
    for page in drawn:
        pixels = np.asarray(Image.open(page).convert("L"))
        assert (pixels < 60).mean() > 0.02, "dark lungs and letters"
        assert (pixels > 240).mean() > 0.3, "paper"


def test_without_calibration_the_number_is_a_score(phantom, classification, tmp_path) -> None:
    result = classification.result.model_copy(
        update={"calibrated_probability": None, "weights_state": WeightsState.UNTRAINED}
    )
    text = said(phantom, replace(classification, result=result), tmp_path)
    assert "score for COVID-19: not calibrated, not a probability" in text
    assert "calibrated probability" not in text
    assert "UNTRAINED NETWORK" in text
    assert "There is no operating point" in text


def test_a_class_that_the_operating_point_named_is_not_called_the_largest_score(
    phantom, classification, tmp_path
) -> None:
    """Of a study unlike the training studies there is no probability, but still a class."""
    update = {
        "calibrated_probability": None,
        "class_scores": {"covid": 0.4, "non-covid": 0.6},
        "out_of_distribution_score": 1.5,
    }
    text = said(phantom, replace(classification, result=classification.result.model_copy(update=update)), tmp_path)
    # The line is broken behind these words, beside the number.
    assert "Named COVID-19 by the rule for studies like the training studies" in text
    assert "largest score" not in text
    assert "UNLIKE THE TRAINING STUDIES" in text


def test_without_a_lesion_network_it_says_that_nobody_looked(phantom, tmp_path) -> None:
    text = said(phantom, classify(phantom.volume, phantom.lungs.array, lesions=None), tmp_path)
    assert "lesions were not looked for" in text
    assert "0.0%" not in text.split("Volumes")[1].split("Views")[0].replace("0.0% 0.0%", "")


def test_words_that_look_like_markup_or_are_greek_are_letters(phantom, classification, tmp_path) -> None:
    warnings = ["<b>5 & 7 < 9</b> <font color=red>", "Ελληνικά και кириллица", *["A long sentence again. " * 12] * 9]
    result = classification.result.model_copy(update={"warnings": warnings})
    text = said(phantom, replace(classification, result=result), tmp_path)
    assert "<b>5 & 7 < 9</b> <font color=red>" in text
    assert "Ελληνικά και кириллица" in text
    assert text.count("A long sentence again.") == 108


def test_the_same_result_gives_the_same_file(phantom, classification, pdf) -> None:
    assert pdf_report(phantom.volume, classification) == pdf.read_bytes()


def test_key_slices_are_the_strongest_that_lie_apart(classification) -> None:
    evidence = [
        SliceEvidence(index=index, position_mm=None, score=None, location_share=share, lesion_share=None)
        for index, share in enumerate([0.0, 0.1, 0.3, 0.29, 0.05, 0.0, 0.2, 0.0] + [0.0] * 28)
    ]
    result = classification.result.model_copy(update={"slice_evidence": evidence})
    assert [item.index for item in key_slices(result, 3)] == [2, 6]
    assert [item.index for item in key_slices(result, 1)] == [2]
    nothing = [item.model_copy(update={"location_share": 0.0}) for item in evidence]
    assert len(key_slices(classification.result.model_copy(update={"slice_evidence": nothing}), 6)) == 1
    assert key_slices(classification.result.model_copy(update={"slice_evidence": []}), 6) == []
