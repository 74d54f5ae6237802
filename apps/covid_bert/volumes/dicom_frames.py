"""Enhanced multi-frame images: what their functional groups say of each frame, as single-frame files would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pydicom
from pydicom.tag import Tag

from covid_bert.volumes.dicom_files import sequence_of

# Which functional group holds an attribute (DICOM PS3.3, C.7.6.16 and C.8.15.3).
_KEYWORDS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "CTImageFrameTypeSequence": ("FrameType",),
    "FrameContentSequence": ("StackID", "TemporalPositionIndex"),
}
_GROUPS = {Tag(group): {Tag(keyword): keyword for keyword in keywords} for group, keywords in _KEYWORDS.items()}


class Frame:
    """One frame, asked like a data set of its own.

    Parameters
    ----------
    dataset
        The whole image.
    values
        Attributes of the functional groups, by keyword.
    """

    def __init__(self, dataset: pydicom.Dataset, values: Mapping[str, Any]) -> None:
        self._dataset, self._values = dataset, values

    def get(self, keyword: str) -> Any:
        """Return an attribute: of the frame, else of all frames, else of the image; None where it is missing."""
        if keyword == "ImageType" and (frame_type := self._values.get("FrameType")):
            return frame_type
        return self._values[keyword] if keyword in self._values else self._dataset.get(keyword)


def frames_of(dataset: pydicom.Dataset) -> list[Frame]:
    """Return the frames that a data set describes; empty where it is no enhanced image.

    Raises
    ------
    LimitError
        If it describes more than any CT has.
    """
    shared = [_values(group) for group in sequence_of(dataset, "SharedFunctionalGroupsSequence")[:1]]
    common = shared[0] if shared else {}
    own = sequence_of(dataset, "PerFrameFunctionalGroupsSequence")
    if not own and shared and int(dataset.get("NumberOfFrames") or 1) == 1:
        return [Frame(dataset, common)]
    return [Frame(dataset, {**common, **_values(group)}) for group in own]


def _values(groups: pydicom.Dataset) -> dict[str, Any]:
    """Return what is asked of a frame, from the first item of each functional group."""
    found: dict[str, Any] = {}
    # By tag: a keyword is looked up in the dictionary of DICOM each time, and there are thousands of frames.
    for group, wanted in _GROUPS.items():
        if group in groups and (items := groups[group].value):
            item = items[0]
            found.update({keyword: item[tag].value for tag, keyword in wanted.items() if tag in item})
    return found


def parts_of(frames: Sequence[Frame]) -> list[str]:
    """Name the stack and the phase of each frame, as far as a file has several; else the names are empty."""
    stacks = [str(frame.get("StackID") or "").strip() for frame in frames]
    phases = [str(frame.get("TemporalPositionIndex") or "").strip() for frame in frames]
    several = [names for names in (stacks, phases) if len(set(names)) > 1]
    return [".".join(name for name in names if name) for names in zip(*several, strict=True)] or [""] * len(frames)
