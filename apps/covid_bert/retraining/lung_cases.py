"""Corrected lung masks as material to learn from: on the working pixels, kept in the folder of the run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covid_bert.errors import InputError, OutputError
from covid_bert.files import replacing, write_atomically
from covid_bert.lungs.mask import fault_of
from covid_bert.lungs.unet import PIXEL_MILLIMETERS, is_possible
from covid_bert.retraining.cases import LabelledStudy
from covid_bert.training.material import Material
from covid_bert.training.slabs import WorkingMaterial
from covid_bert.volumes import Volume, read, read_mask

_FACTS, _HOUNSFIELD, _LUNGS = "facts.json", "hounsfield.npy", "lungs.npy"
_SCHEMA = 1


def read_case(study: LabelledStudy) -> tuple[Volume, npt.NDArray[np.uint8]]:
    """Read image and lung mask of a labelled study.

    Returns
    -------
    tuple
        Volume, and uint8 mask on its grid: 1 right, 2 left lung.

    Raises
    ------
    InputError
        If one of them cannot be read, does not fit the other, or is not what the lung network learns from.
    """
    if study.mask is None:
        raise InputError("There is no lung mask.", "Correct one and submit it.")
    volume = read(study.image)
    if not is_possible(volume):
        raise InputError("The study is not in Hounsfield units, or its voxel size is not known.", "Leave it out.")
    lungs = read_mask(study.mask, volume)
    fault = fault_of(lungs)
    if fault:
        raise InputError(f"The lung mask cannot be used: {fault}", "Correct and submit it again.")
    return volume, lungs


def keep_case(study: LabelledStudy, folder: Path) -> None:
    """Bring a study to the working pixels and keep it, unless it is kept already.

    Raises
    ------
    InputError
        See `read_case`.
    OutputError
        If it cannot be written.
    """
    place = _place(study, folder)
    if _is_kept(place):
        return
    volume, lungs = read_case(study)
    nothing = np.zeros(volume.shape, np.bool_)
    material = Material(place.name, np.asarray(volume.array), lungs, nothing, volume.spacing)
    working = WorkingMaterial.of(material, PIXEL_MILLIMETERS, around_lungs=False)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, array in ((_HOUNSFIELD, working.hounsfield), (_LUNGS, working.lungs)):
            with replacing(place / name) as temporary, temporary.open("wb") as file:
                np.save(file, array)
        # Last: with it the case is whole.
        facts = {"schema": _SCHEMA, "spacing": working.spacing, "shape": working.lungs.shape}
        write_atomically(place / _FACTS, json.dumps(facts))
    except OSError as error:
        raise OutputError(
            f"A study cannot be kept for the training: {error.strerror}.",
            "Free some space, or set COVID_BERT_HOME to a folder on a larger disk, and start the training again.",
        ) from error


def kept_case(study: LabelledStudy, folder: Path) -> WorkingMaterial:
    """What `keep_case` kept; its arrays stay on the disk until they are used."""
    place = _place(study, folder)
    facts = json.loads((place / _FACTS).read_text(encoding="utf-8"))
    hounsfield, lungs = (np.load(place / name, mmap_mode="r") for name in (_HOUNSFIELD, _LUNGS))
    ignore = np.broadcast_to(np.False_, lungs.shape)
    spacing = tuple(float(length) for length in facts["spacing"])
    return WorkingMaterial(place.name, hounsfield, lungs, ignore, (spacing[0], spacing[1], spacing[2]))


def _place(study: LabelledStudy, folder: Path) -> Path:
    return folder / hashlib.sha256(f"{study.image_sha256} {study.mask_sha256}".encode()).hexdigest()[:32]


def _is_kept(place: Path) -> bool:
    """Whether a case is there and whole; a power failure may have left less than its facts say."""
    try:
        facts = json.loads((place / _FACTS).read_text(encoding="utf-8"))
        arrays = [np.load(place / name, mmap_mode="r") for name in (_HOUNSFIELD, _LUNGS)]
    except (OSError, ValueError):
        return False
    return facts.get("schema") == _SCHEMA and all(list(array.shape) == facts["shape"] for array in arrays)
