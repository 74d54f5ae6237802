"""Lungs and lesions as DICOM Segmentations, plane by plane on the instances that the study was read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from matplotlib.colors import to_rgb
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code
from skimage.color import rgb2lab

from covid_bert import RESEARCH_USE_ONLY, __version__
from covid_bert.lesions import LesionMask
from covid_bert.lesions.mask import LESION_LABELS
from covid_bert.lungs.mask import LEFT_LUNG, LUNG_LABELS, RIGHT_LUNG, LungMask
from covid_bert.report.dicom import codes
from covid_bert.report.dicom.identity import digest_of, uid_of, weights_key
from covid_bert.report.dicom.instance import MANUFACTURER, equipment, finish, own_series, short
from covid_bert.report.dicom.source import DicomSource, Plane, references
from covid_bert.report.views import LEFT_COLOUR, LESION_COLOURS, RIGHT_COLOUR
from covid_bert.volumes.volume import Volume
from covid_bert.volumes.writing import on_file_grid

_LUNG_COLOURS = {RIGHT_LUNG: RIGHT_COLOUR, LEFT_LUNG: LEFT_COLOUR}
_CORRECTED, _MORPHOLOGICAL = "given", "morphological"


@dataclass(frozen=True)
class Structure:
    """One label of a mask, as a segment says it."""

    label: int
    name: str
    category: Code
    kind: Code
    side: Code | None
    colour: str


LUNGS = tuple(
    Structure(label, name, codes.ANATOMICAL_STRUCTURE, codes.LUNG, codes.SIDES[label], _LUNG_COLOURS[label])
    for name, label in LUNG_LABELS.items()
)
LESIONS = tuple(
    Structure(label, name, codes.ABNORMAL_STRUCTURE, codes.LESIONS[label], None, LESION_COLOURS[label])
    for name, label in LESION_LABELS.items()
)


@dataclass(frozen=True)
class MadeSegmentation:
    """A Segmentation, and the numbers of the segments that have voxels.

    Parameters
    ----------
    dataset
        The object.
    numbers
        Segment number by label of the mask; a label without voxels is not there.
    """

    dataset: Segmentation
    numbers: Mapping[int, int]


def lung_segmentation(
    source: DicomSource, volume: Volume, lungs: LungMask, created: datetime
) -> MadeSegmentation | None:
    """Write a lung mask as a Segmentation with a segment for each lung.

    Parameters
    ----------
    source, volume
        The series, and the volume that was read from it.
    lungs
        On the volume's grid.
    created
        When the result was computed.

    Returns
    -------
    MadeSegmentation or None
        None where the mask is empty.
    """
    return _segmentation("lungs", source, volume, lungs, LUNGS, created)


def lesion_segmentation(
    source: DicomSource, volume: Volume, lesions: LesionMask, created: datetime
) -> MadeSegmentation | None:
    """Write ground-glass and consolidation as a Segmentation, see `lung_segmentation`."""
    return _segmentation("lesions", source, volume, lesions, LESIONS, created)


def _segmentation(
    kind: str,
    source: DicomSource,
    volume: Volume,
    mask: LungMask | LesionMask,
    structures: tuple[Structure, ...],
    created: datetime,
) -> MadeSegmentation | None:
    present = [structure for structure in structures if (mask.array == structure.label).any()]
    if not present:
        return None
    numbers = {structure.label: number for number, structure in enumerate(present, start=1)}
    planes = _numbered(on_file_grid(mask.array, volume), numbers)
    method = f"{mask.method} {weights_key([mask.weights])}" if mask.weights else mask.method
    device = uid_of("segmenter", kind, __version__, method)
    series = uid_of("series", kind, source.series_uid, device)
    instance = uid_of("instance", kind, source.series_uid, device, digest_of(repr(planes.shape), planes.tobytes()))
    told = _as_instances(source.planes)
    dataset = Segmentation(
        source_images=[image for _, image in told.values()],
        pixel_array=planes,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(structure, numbers[structure.label], mask, source.series_uid) for structure in present
        ],
        content_label=kind.upper(),
        content_description=short(RESEARCH_USE_ONLY),
        **own_series(kind, series, instance),
        **equipment(f"{kind} by {_words_for(mask)}", device),
    )
    dataset.BodyPartExamined = "CHEST"
    _refer(dataset, source, told)
    # highdicom draws this UID at random.
    dimensions = uid_of("dimensions", instance)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    title = " and ".join(structure.name for structure in present).capitalize()
    finish(dataset, source, title, created)
    return MadeSegmentation(dataset, numbers)


def _as_instances(planes: tuple[Plane, ...]) -> dict[str, tuple[Plane, Dataset]]:
    """Return planes, and what highdicom is told of them, by the UIDs that it is told.

    Frames get UIDs of their own: highdicom would take them for copies of one image, and say so, with its UID, in a log.
    """
    told = {}
    for plane in planes:
        dataset = Dataset()
        dataset.update(plane.dataset)
        if plane.frames > 1:
            del dataset.SOPInstanceUID
            dataset.SOPInstanceUID = uid_of("frame", plane.dataset.SOPInstanceUID, str(plane.frame))
        told[str(dataset.SOPInstanceUID)] = plane, dataset
    return told


def _refer(dataset: Segmentation, source: DicomSource, told: Mapping[str, tuple[Plane, Dataset]]) -> None:
    """Name the real instances, and their frames."""
    dataset.SourceImageSequence = references(source.planes)
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references(
        Plane(instance) for instance in source.instances
    )
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        image = groups.DerivationImageSequence[0].SourceImageSequence[0]
        plane, _ = told[image.ReferencedSOPInstanceUID]
        image.ReferencedSOPInstanceUID = plane.dataset.SOPInstanceUID
        if plane.frame_numbers:
            image.ReferencedFrameNumber = plane.frame


def _numbered(array: npt.NDArray[np.generic], numbers: Mapping[int, int]) -> npt.NDArray[np.uint8]:
    """Return planes (slices, rows, columns) in the order of the instances, with segment numbers for labels."""
    table = np.zeros(256, np.uint8)
    for label, number in numbers.items():
        table[label] = number
    return np.ascontiguousarray(table[array.transpose(2, 1, 0)])


def _description(structure: Structure, number: int, mask: LungMask | LesionMask, series_uid: str) -> SegmentDescription:
    corrected = mask.method == _CORRECTED
    types = SegmentAlgorithmTypeValues
    description = SegmentDescription(
        segment_number=number,
        segment_label=structure.name.capitalize(),
        segmented_property_category=structure.category,
        segmented_property_type=structure.kind,
        algorithm_type=types.SEMIAUTOMATIC if corrected else types.AUTOMATIC,
        algorithm_identification=_algorithm(mask),
        tracking_uid=uid_of("tracking", series_uid, structure.name),
        tracking_id=f"{structure.name} of the series",
        anatomic_regions=None if structure.side is not None else [codes.LUNG],
    )
    if structure.side is not None:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = Sequence(
            [CodedConcept.from_code(structure.side)]
        )
    description.RecommendedDisplayCIELabValue = _cielab(structure.colour)
    return description


def _algorithm(mask: LungMask | LesionMask) -> AlgorithmIdentificationSequence:
    if mask.method == _CORRECTED:
        family = codes.MANUAL_PROCESSING
    elif mask.method == _MORPHOLOGICAL:
        family = codes.MORPHOLOGICAL_OPERATIONS
    else:
        family = codes.ARTIFICIAL_INTELLIGENCE
    weights = mask.weights
    version, parameters = f"covid-bert {__version__}", {"method": mask.method}
    if weights is not None:
        version = f"{version}, {weights.name} {weights.version}"
        parameters |= {
            "weights": weights.name,
            "version": weights.version,
            "sha256": weights.sha256,
            "state": "demonstration" if weights.demonstration else "trained" if weights.trained else "untrained",
        }
    return AlgorithmIdentificationSequence(
        name=short(f"covid-bert {_words_for(mask)}"),
        family=family,
        version=short(version),
        source=MANUFACTURER,
        parameters=parameters,
    )


def _words_for(mask: LungMask | LesionMask) -> str:
    """Return the method of a mask for readers of the object."""
    return "a mask given by a reader" if mask.method == _CORRECTED else mask.method


def _cielab(colour: str) -> list[int]:
    """Return a colour as DICOM stores CIELab (PS3.3 C.10.7.1.1): each part scaled to 16 bits."""
    light, red_green, blue_yellow = rgb2lab(np.array([[to_rgb(colour)]]))[0, 0]
    scaled = (light / 100, (red_green + 128) / 255, (blue_yellow + 128) / 255)
    return [round(float(np.clip(part, 0, 1)) * 65535) for part in scaled]
