"""The picture of a result: right side, honest words, no half file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from covid_bert import DEMONSTRATION_MODEL
from covid_bert.report import picture, study_picture, views
from covid_bert.systems import create
from covid_bert.systems.result import CalibratedProbability, WeightsState

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture
def classification(phantom):
    return create("s1", device="cpu").classify(phantom.volume, phantom.lungs)


@pytest.fixture
def words(monkeypatch):
    """Collects every text that is drawn."""
    drawn: list[str] = []
    for owner, position in ((Figure, 3), (Axes, 3)):
        original = owner.text

        def text(self, *arguments, original=original, position=position, **options):
            drawn.append(arguments[position - 1])
            return original(self, *arguments, **options)

        monkeypatch.setattr(owner, "text", text)
    return drawn


def test_picture_is_written_whole(phantom, classification, tmp_path) -> None:
    path = study_picture(phantom.volume, classification, tmp_path / "result.png")
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[1] == 1500
    assert pixels.std() > 20
    assert [item.name for item in tmp_path.iterdir()] == ["result.png"]


def test_untrained_results_say_so_and_give_scores_not_probabilities(phantom, classification, tmp_path, words) -> None:
    study_picture(phantom.volume, classification, tmp_path / "result.png")
    text = "\n".join(words)
    assert "UNTRAINED NETWORK" in text
    assert "not calibrated, not probabilities" in text
    assert "Probability of" not in text
    assert "Research use only" in text


def test_a_probability_is_shown_with_its_calibration(phantom, classification, tmp_path, words) -> None:
    calibrated = CalibratedProbability(
        class_name="covid",
        probability=0.25,
        calibrated_on="five folds of a set",
        temperature=1.0,
        threshold=0.5,
        threshold_chosen_on="the same folds",
    )
    result = classification.result.model_copy(
        update={"calibrated_probability": calibrated, "weights_state": WeightsState.TRAINED}
    )
    changed = type(classification)(result, classification.lungs, classification.location)
    study_picture(phantom.volume, changed, tmp_path / "result.png")
    text = "\n".join(words)
    assert "Probability of covid: 0.25" in text
    assert "five folds of a set" in text
    assert "UNTRAINED NETWORK: the scores" not in text


def test_an_unlike_study_says_so_in_the_band(phantom, classification, tmp_path, words) -> None:
    result = classification.result.model_copy(update={"out_of_distribution_score": 1.7})
    study_picture(phantom.volume, replace(classification, result=result), tmp_path / "result.png")
    assert "UNLIKE THE TRAINING STUDIES: no probability is given" in words
    assert "Distance from the training studies: 1.70 (limit 1)" in "\n".join(words)


def test_many_warnings_stay_above_the_research_line(phantom, classification, monkeypatch, tmp_path) -> None:
    ends = []
    fit = picture._fit_above

    def measured(text, bottom: float) -> None:
        fit(text, bottom)
        figure = text.get_figure(root=True)
        extent = text.get_window_extent(FigureCanvasAgg(figure).get_renderer())
        ends.append(extent.y0 / figure.bbox.height)

    monkeypatch.setattr(picture, "_fit_above", measured)
    warnings = [f"Warning {number}: {'a long sentence about this study ' * 4}" for number in range(8)]
    result = classification.result.model_copy(update={"warnings": warnings})
    study_picture(phantom.volume, replace(classification, result=result), tmp_path / "result.png")
    assert ends[0] > 0.04


def test_lesions_are_drawn_and_said_by_side(phantom, lesions_by_density, tmp_path, words) -> None:
    with_lesions = create("baseline", device="cpu").classify(phantom.volume, phantom.lungs)
    study_picture(phantom.volume, with_lesions, tmp_path / "result.png")
    text = "\n".join(words)
    lesions = with_lesions.result.lesions
    right = lesions.right_ground_glass_ml + lesions.right_consolidation_ml
    assert f"right {right:.0f} ml ({lesions.right_share:.1%} of the lung" in text
    assert text.count(DEMONSTRATION_MODEL) == 1, "in the band, and not again in the card"
    assert "UNTRAINED NETWORK" in text, "of the score"
    drawn = np.asarray(Image.open(tmp_path / "result.png").convert("RGB")).astype(int)
    without = type(with_lesions)(
        with_lesions.result.model_copy(update={"lesions": None}), with_lesions.lungs, with_lesions.location
    )
    study_picture(phantom.volume, without, tmp_path / "without.png")
    plain = np.asarray(Image.open(tmp_path / "without.png").convert("RGB")).astype(int)
    for colour in views.LESION_COLOURS.values():
        wanted = np.array(to_rgb(colour)) * 255
        pure = [int((np.abs(image - wanted).max(-1) < 12).sum()) for image in (drawn, plain)]
        assert pure[0] > pure[1] + 50


def test_lesion_colours_differ_for_every_eye() -> None:
    """Lightness, which no colour vision lacks, is far apart; so are the hues for the common deficiencies."""
    glass, dense = (to_rgb(colour) for colour in views.LESION_COLOURS.values())
    lightness = [float(np.dot((0.2126, 0.7152, 0.0722), np.power(colour, 2.2))) for colour in (glass, dense)]
    assert abs(lightness[0] - lightness[1]) > 0.3


def test_the_patients_right_is_on_the_left(phantom, classification, monkeypatch, tmp_path) -> None:
    shown: list[np.ndarray] = []
    monkeypatch.setattr(views, "_show", lambda *given: shown.append(given[2].lungs.array[given[3]]))
    study_picture(phantom.volume, classification, tmp_path / "result.png")
    for lungs in shown:
        right, left = (np.flatnonzero((lungs == side).any(0)).mean() for side in (1, 2))
        assert right < left
