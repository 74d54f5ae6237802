"""Random clips and slices of studies: what the classifiers are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from covid_bert.clips.sampling import CLIP_LENGTH, Positions, centre_out
from covid_bert.clips.stack import normalise
from covid_bert.systems.configuration import SMALL_INPUT_SIDE, SMALL_STACK_SIDE
from covid_bert.training.seen import Labelled, SeenStudy
from covid_bert.training.studies import COVID

WINDOW_CHANCE = 0.25
# A window of a study with the finding must hold this share of the study's lesions, or it says nothing of its label.
SMALLEST_WINDOW_SHARE = 0.1
SMALLEST_SLICE_SHARE = 0.002
ZOOM = 0.08
SHIFT = 4
LESION_CHANNEL = 1
GRAY_CHANNELS = (0, 2)
Study = TypeVar("Study", bound=Labelled)


class StudyDraw(Generic[Study]):
    """Draws studies: both classes equally often, and within a class each source.

    Parameters
    ----------
    studies
        Of both classes.
    generator
        The source of chance.

    Raises
    ------
    ValueError
        If a class has no study.
    """

    def __init__(self, studies: Sequence[Study], generator: np.random.Generator) -> None:
        self.generator = generator
        self.groups: dict[int, list[list[Study]]] = {}
        for label in (0, 1):
            members: dict[str, list[Study]] = {}
            for study in studies:
                if study.label == label:
                    members.setdefault(study.source, []).append(study)
            if not members:
                raise ValueError("Training needs studies of both classes.")
            self.groups[label] = list(members.values())

    def batch(self, size: int) -> list[Study]:
        """Draw `size` studies, the classes in turn."""
        chosen = []
        for number in range(size):
            sources = self.groups[number % 2]
            members = sources[int(self.generator.integers(len(sources)))]
            chosen.append(members[int(self.generator.integers(len(members)))])
        return chosen


def draw_clip(study: SeenStudy, generator: np.random.Generator, length: int = CLIP_LENGTH) -> Positions:
    """Choose the slices of one training clip.

    Parameters
    ----------
    study
        Of any number of slices.
    generator
        The source of chance.
    length
        Slices of a clip.

    Returns
    -------
    Positions
        (length,): evenly spread over the study with a random phase, as `phase_sets`; in a quarter of the draws a
        window of consecutive slices, as `windows`.
    """
    slices = len(study.channels)
    if generator.random() < WINDOW_CHANCE:
        if slices <= length:
            return centre_out(slices, length)
        start = int(generator.integers(slices - length + 1))
        total = float(study.lesion_share.sum())
        held = float(study.lesion_share[start : start + length].sum())
        if study.label != COVID or held >= SMALLEST_WINDOW_SHARE * total:
            return np.arange(start, start + length)
    return np.floor((np.arange(length) + generator.random()) * slices / length).astype(np.int64)


def draw_slice(study: SeenStudy, generator: np.random.Generator) -> Positions:
    """Choose one slice of the central half, (1,); of a study with the finding one that shows lesions, if there is."""
    slices = len(study.channels)
    start = slices // 4
    central = np.arange(start, start + max(slices - 2 * start, 1))
    if study.label == COVID:
        shown = central[study.lesion_share[central] > SMALLEST_SLICE_SHARE]
        central = shown if len(shown) else central
    return generator.choice(central, 1)


def augmented(channels: npt.NDArray[np.uint8], positions: Positions, generator: np.random.Generator) -> Tensor:
    """Cut, mirror and change the slices of one sample, all alike.

    Parameters
    ----------
    channels
        uint8 (kept slices, 3, side, side): gray levels, probability of lesions, gray levels inside the lungs.
    positions
        Of the sample's slices.
    generator
        The source of chance.

    Returns
    -------
    Tensor
        float32 (3, slices, side, side) at the networks' input size, normalised.
    """
    side = round(SMALL_INPUT_SIDE * float(np.exp(generator.normal(0.0, ZOOM))))
    side = min(side, SMALL_STACK_SIDE)
    top, left = (
        int(np.clip((SMALL_STACK_SIDE - side) // 2 + generator.integers(-SHIFT, SHIFT + 1), 0, SMALL_STACK_SIDE - side))
        for _ in range(2)
    )
    cut = channels[positions, :, top : top + side, left : left + side]
    if generator.random() < 0.5:
        cut = cut[..., ::-1]
    slices = torch.from_numpy(np.ascontiguousarray(cut)).float()
    if side != SMALL_INPUT_SIDE:
        slices = interpolate(slices, size=(SMALL_INPUT_SIDE,) * 2, mode="bilinear", align_corners=False)
    inside = slices[:, GRAY_CHANNELS[1]] > 0
    # Another scanner: brightness and contrast of the lungs and their surroundings, not of the lesion evidence.
    contrast, brightness = float(generator.normal(1.0, 0.08)), float(generator.normal(0.0, 8.0))
    for channel in GRAY_CHANNELS:
        slices[:, channel] = (slices[:, channel] * contrast + brightness).clamp(0, 255)
    slices[:, GRAY_CHANNELS[1]] *= inside
    # A lesion network that is a little more, or less, certain.
    certainty = float(np.exp(generator.normal(0.0, 0.15)))
    slices[:, LESION_CHANNEL] = 255.0 * (slices[:, LESION_CHANNEL] / 255.0) ** certainty
    return normalise(slices).transpose(0, 1)
