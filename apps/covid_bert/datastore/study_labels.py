"""What a reader says about a whole study: kept beside the masks, under its own tag."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StudyLabel(BaseModel):
    """The class of a study, in a reader's opinion.

    Parameters
    ----------
    study_class
        One of the classes of the systems, ``normal`` or ``other``.
    certainty
        How sure the reader is.
    comment
        Free text of at most 2000 characters. It must not name the patient.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study_class: Literal["covid", "non-covid", "normal", "other"]
    certainty: Literal["certain", "probable", "possible"]
    comment: str = Field(default="", max_length=2000)
