"""The readers of the external data sets: which files make which study, and what is known about it.

A set is a subfolder, named as in `SOURCES`. Sets that are missing are named, not an error: nobody has all of them, and
most of them may not be passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covid_bert.errors import InvalidValuesError
from covid_bert.evaluation.studies import Condition, ExternalStudy, ListedStudy, NotMeasured, StudyFacts
from covid_bert.lungs.mask import LEFT_LUNG, RIGHT_LUNG
from covid_bert.volumes import Volume, read, read_mask

# A study, and the files that it needs.
Listed = tuple[ListedStudy, list[Path]]

COVID_CT_MD = "COVID-CT-MD"
MEDSEG = "MedSeg"
LIDC = "LIDC-IDRI"
ELASTIX = "elastix"
RICORD = "RICORD"
PYRADIOMICS = "pyradiomics"
LUNG_DX = "Lung-PET-CT-Dx"
TOTALSEGMENTATOR = "TotalSegmentator"

# Order of TotalSegmentator's lobes: left upper, left lower, right upper, right middle, right lower.
_LOBE_SIDES = np.array([0, LEFT_LUNG, LEFT_LUNG, RIGHT_LUNG, RIGHT_LUNG, RIGHT_LUNG], np.uint8)
_RIGHT_ONLY = np.array([0, RIGHT_LUNG], np.uint8)

# Sets of the folder in a form that the default model does not take.
UNFIT = {
    "sbu_covid_slices": "single slices: a volume of at least 8 slices is needed",
    "zenodo20_2d": "8-bit, contrast-enhanced single slices: Hounsfield units are needed",
    "covid_ct_2d": "8-bit figures from publications: Hounsfield units are needed",
    "cxr_hannover": "chest radiographs, not CT",
    "cxr_ieee8023": "chest radiographs, not CT",
}


def covid_ct_md(folder: Path) -> Iterator[Listed]:
    """COVID-CT-MD (Afshar et al., Scientific Data 8:121, 2021): three studies with labels of slices."""
    labels = folder / "Slice-level-labels-updated-1.npy"
    for name, file, condition, row in (
        ("P001", "P001_dicom", Condition.COVID_19, 0),
        ("cap001", "cap001_ct.nii.gz", Condition.PNEUMONIA, 55),
        ("normal001", "normal001_ct.nii.gz", Condition.NO_PNEUMONIA, None),
    ):
        facts = StudyFacts(name, COVID_CT_MD, f"{COVID_CT_MD} {name}", condition)
        slices = partial(_head_first_labels, labels, row) if row is not None else _no_infection
        needed = [folder / file] + ([labels] if row is not None else [])
        yield ListedStudy(facts, partial(_load, facts, folder / file, slice_labels=slices)), needed


def medseg(folder: Path) -> Iterator[Listed]:
    """MedSeg's volumes with lung and lesion masks."""
    for number in (1, 2, 3, 4):
        # case2 and case3 are one scan in two reconstructions: their slices correlate with 0.99 all the way up.
        patient = f"{MEDSEG} {2 if number == 3 else number}"
        remark = (
            "no image of this set was trained on, but densities and sizes of planted lesions follow statistics of its "
            "masks (`lesion_statistics.json`); pixel size nominal; values brought back from 8 bits, ending at +150 HU"
        )
        if number in (2, 3):
            remark += "; case2 and case3 are two reconstructions of one scan"
        if number == 3:
            remark += "; the stated slice distance is about twice the true one"
        if number == 4:
            remark += "; what is labelled consolidation is as light as ground-glass (median -544 HU)"
        facts = StudyFacts(f"medseg_case{number}", MEDSEG, patient, Condition.COVID_19, remark=remark)
        image, lungs, lesions = (folder / f"case{number}_{kind}.nii.gz" for kind in ("ct", "lung", "infection"))
        yield ListedStudy(facts, partial(_load, facts, image, lungs=lungs, lesions=lesions)), [image, lungs, lesions]


def lidc(folder: Path) -> Iterator[Listed]:
    """LIDC-IDRI: two screening studies, one with TotalSegmentator's lobes."""
    for number, has_lobes, found in (
        ("0001", True, ""),
        ("0002", False, "; slices 88 to 98 show a hazy patch of ground-glass, which is left out of training"),
    ):
        facts = StudyFacts(
            f"lidc_{number}", LIDC, f"{LIDC} {number}", Condition.NO_PNEUMONIA, condition_stated=False,
            training_source=True, redistributable=True, remark=f"nodule screening; no pneumonia label{found}",
        )  # fmt: skip
        image, lobes = folder / f"LIDC-IDRI-{number}_ct.nii.gz", folder / f"LIDC-IDRI-{number}_lobes.nii.gz"
        if has_lobes:
            yield ListedStudy(facts, partial(_load, facts, image, lungs=lobes, lung_labels=_LOBE_SIDES)), [image, lobes]
        else:
            yield ListedStudy(facts, partial(_load, facts, image)), [image]


def elastix(folder: Path) -> Iterator[Listed]:
    """Test data of elastix: a right lung, cropped, in two states of breath."""
    for state in ("baseline", "followup"):
        facts = StudyFacts(
            f"elastix_{state}", ELASTIX, ELASTIX, Condition.NO_PNEUMONIA, condition_stated=False,
            training_source=True, redistributable=True,
            remark="one lung, cropped; no pneumonia label; both studies are of one patient",
        )  # fmt: skip
        image, mask = folder / f"3DCT_lung_{state}.mha", folder / f"3DCT_lung_{state}_mask.mha"
        yield ListedStudy(facts, partial(_load, facts, image, lungs=mask, lung_labels=_RIGHT_ONLY)), [image, mask]


def ricord(folder: Path) -> Iterator[Listed]:
    """MIDRC-RICORD-1A: fifteen neighbouring slices of a study."""
    facts = StudyFacts(
        "ricord_slab", RICORD, f"{RICORD} 419639-000082", Condition.COVID_19, remark="15 slices of the upper lungs only"
    )
    yield ListedStudy(facts, partial(_load, facts, folder)), [folder]


def samples(folder: Path) -> Iterator[Listed]:
    """The project's sample data: CT with lung tumours, and a CT angiography."""
    for name, source, file, condition, remark in (
        ("lung_dx_a0001", LUNG_DX, "lung_dx_a0001", Condition.LUNG_TUMOUR, "adenocarcinoma in the left upper lobe"),
        ("chest_cta", TOTALSEGMENTATOR, "chest_cta.nii.gz", Condition.NO_PNEUMONIA, "angiography; no pneumonia label"),
        ("lung1", PYRADIOMICS, "lung1_image.nrrd", Condition.LUNG_TUMOUR, "the bases of the lungs are cut off"),
        ("lung2", PYRADIOMICS, "lung2_image.nrrd", Condition.LUNG_TUMOUR, "lung tumour"),
    ):
        facts = StudyFacts(
            name, source, f"{source} {name}", condition, condition_stated=condition is Condition.LUNG_TUMOUR,
            training_source=True, redistributable=True, remark=remark,
        )  # fmt: skip
        yield ListedStudy(facts, partial(_load, facts, folder / file)), [folder / file]


# By set: its subfolder (None: the sample data), and its reader.
SOURCES: dict[str, tuple[str | None, Callable[[Path], Iterator[Listed]]]] = {
    "covid_ct_md": ("covid_ct_md", covid_ct_md),
    "medseg_covid9": ("medseg_covid9", medseg),
    "ricord1a_slab_NC": ("ricord1a_slab_NC", ricord),
    "lidc_idri": ("lidc_idri", lidc),
    "elastix_lung": ("elastix_lung", elastix),
    "sample data": (None, samples),
}


def list_studies(folder: Path, samples: Path) -> tuple[list[ListedStudy], list[NotMeasured]]:
    """List the studies of all known sets.

    Parameters
    ----------
    folder
        Holds the data sets as subfolders.
    samples
        The project's sample data.

    Returns
    -------
    studies
        In a fixed order; nothing is read yet.
    not_measured
        Sets and studies that are missing, or whose form the networks do not take.
    """
    studies: list[ListedStudy] = []
    missing: list[NotMeasured] = []
    for name, (subfolder, files) in SOURCES.items():
        place = samples if subfolder is None else folder / subfolder
        for study, paths in files(place):
            absent = [path.name for path in paths if not path.exists()]
            if absent:
                missing.append(NotMeasured(f"{name}: {study.facts.name}", f"not there ({', '.join(absent)})"))
            else:
                studies.append(study)
    missing += [NotMeasured(name, reason) for name, reason in UNFIT.items() if (folder / name).exists()]
    return studies, missing


def studies_of(source: str, folder: Path, samples: Path = Path()) -> Iterator[ExternalStudy]:
    """Read the studies of one source, one after the other."""
    for study in list_studies(folder, samples)[0]:
        if study.facts.source == source:
            yield study.load()


def _load(
    facts: StudyFacts,
    image: Path,
    *,
    lungs: Path | None = None,
    lung_labels: npt.NDArray[np.uint8] | None = None,
    lesions: Path | None = None,
    slice_labels: Callable[[Volume], npt.NDArray[np.bool_]] | None = None,
) -> ExternalStudy:
    study = ExternalStudy(facts, read(image))
    if lungs is not None:
        study = replace(study, lungs=_labels(lungs, study.volume, lung_labels))
    if lesions is not None:
        study = replace(study, lesions=_labels(lesions, study.volume, None))
    if slice_labels is not None:
        study = replace(study, slice_labels=slice_labels(study.volume))
    return study


def _labels(path: Path, volume: Volume, table: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8]:
    """Read a mask, and replace its labels by those of a table."""
    mask = read_mask(path, volume)
    if table is None:
        return mask
    if int(mask.max()) >= len(table):
        raise InvalidValuesError(
            f"'{path.name}' holds the label {int(mask.max())}, {len(table) - 1} is the highest one known.",
            "Give the mask that belongs to this set.",
        )
    return table[mask]


def _head_first_labels(path: Path, row: int, volume: Volume) -> npt.NDArray[np.bool_]:
    """Labels of slices, whose first column is the slice nearest to the head, as foot to head."""
    table = np.load(path, allow_pickle=False)
    slices = volume.shape[0]
    if table.ndim != 2 or table.shape[0] <= row or table.shape[1] < slices or table[row, slices:].any():
        raise InvalidValuesError(
            f"'{path.name}' does not hold labels for a study of {slices} slices in row {row}.",
            "Give the table that belongs to this set.",
        )
    return np.ascontiguousarray(table[row, :slices][::-1] > 0)


def _no_infection(volume: Volume) -> npt.NDArray[np.bool_]:
    return np.zeros(volume.shape[0], bool)
