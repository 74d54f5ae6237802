"""Synthetic studies: real lungs with planted ground-glass and consolidation, and their exact masks."""

from __future__ import annotations

from covid_bert.synthesis.distractors import IGNORE
from covid_bert.synthesis.patterns import PATTERNS
from covid_bert.synthesis.study import Planted, SyntheticStudy, plant_lesions, synthesize

__all__ = ["IGNORE", "PATTERNS", "Planted", "SyntheticStudy", "plant_lesions", "synthesize"]
