"""The panel: one class for each section, listed in the order of the form."""

from __future__ import annotations

from .batch_section import Batch
from .classify import Classify
from .connect import Connect
from .context import Panel
from .correct_section import Correct
from .help import Help
from .report_section import ReportSection
from .result_section import ResultSection
from .section import Section
from .train_section import Train
from .worklist_section import Worklist

__all__ = ["SECTIONS", "Panel", "Section"]

SECTIONS: tuple[type[Section], ...] = (
    Connect,
    Classify,
    ResultSection,
    Correct,
    Worklist,
    Train,
    Batch,
    ReportSection,
    Help,
)
