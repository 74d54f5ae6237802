"""Numbers of two versions on twelve patients, without any network."""

from __future__ import annotations

import numpy as np

PATIENTS = [f"patient-{number}" for number in range(12)]


def dice_values(seed: int = 0) -> list[float]:
    return list(np.random.default_rng(seed).uniform(0.9, 0.98, 12))


def scores(seed: int = 0) -> tuple[list[float], list[bool]]:
    """Scores of a fair classifier, and who has the finding: every second one."""
    generator = np.random.default_rng(seed)
    positive = [number % 2 == 0 for number in range(12)]
    return [
        float(np.clip(0.5 + (0.3 if truth else -0.3) + generator.normal(0, 0.12), 0.02, 0.98)) for truth in positive
    ], positive
