"""Chest CT studies: reading them into one geometry, grey windows, and masks back onto the input's own grid."""

from covid_bert.volumes.mask_files import read_map, read_mask
from covid_bert.volumes.orientation import NativeGrid
from covid_bert.volumes.reading import read
from covid_bert.volumes.volume import Source, Unit, Volume
from covid_bert.volumes.windows import (
    CONTEXT_WINDOW,
    LUNG_WINDOW,
    TRIAGE_WINDOW,
    WINDOWS,
    Window,
    gray8_slices,
    to_gray8,
)
from covid_bert.volumes.writing import write_map, write_mask, write_study

__all__ = [
    "CONTEXT_WINDOW",
    "LUNG_WINDOW",
    "TRIAGE_WINDOW",
    "WINDOWS",
    "NativeGrid",
    "Source",
    "Unit",
    "Volume",
    "Window",
    "gray8_slices",
    "read",
    "read_map",
    "read_mask",
    "to_gray8",
    "write_map",
    "write_mask",
    "write_study",
]
