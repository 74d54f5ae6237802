"""The real lungs that the default networks are trained on, all of them under licences that permit redistribution.

Tumours in them are left out of training: by the masks that come with the studies, or by boxes around what is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covid_bert.errors import CovidBertError, NotFoundError
from covid_bert.lungs import segment_lungs
from covid_bert.phantom import make
from covid_bert.volumes import Volume, read, read_mask

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Source:
    """One study, and where it may lie.

    Parameters
    ----------
    name
        Short.
    paths
        Relative to a folder of material; the first that exists is read.
    licence, origin
        Terms, and whom to name.
    tumour
        Path of a tumour mask beside the study, relative as `paths`.
    ignore
        Boxes in canonical voxels ((slices), (rows), (columns)), first and past-last, that hold disease.
    not_lung
        Boxes in which the morphological mask takes gas of the stomach for lung.
    """

    name: str
    paths: tuple[str, ...]
    licence: str
    origin: str
    tumour: tuple[str, ...] = ()
    ignore: tuple[Box, ...] = ()
    not_lung: tuple[Box, ...] = ()


SOURCES = (
    Source(
        "lung-dx-a0001",
        ("lung_dx_a0001",),
        "CC BY 4.0",
        "TCIA Lung-PET-CT-Dx, doi 10.7937/TCIA.2020.NNC2-0461",
        ignore=(((37, 57), (180, 400), (260, 440)),),
        not_lung=(((6, 11), (255, 312), (288, 365)), ((11, 12), (285, 312), (290, 345))),
    ),
    Source("chest-cta", ("chest_cta.nii.gz",), "Apache-2.0", "test file of TotalSegmentator 2.18.0"),
    Source(
        "lung1",
        ("lung1_image.nrrd",),
        "BSD-3-Clause",
        "pyradiomics 3.0.1",
        tumour=("lung1_label.nrrd",),
    ),
    Source(
        "lung2",
        ("lung2_image.nrrd", "pyradiomics/lung2_image.nrrd"),
        "BSD-3-Clause",
        "pyradiomics 3.0.1",
        tumour=("lung2_label.nrrd", "pyradiomics/lung2_label.nrrd"),
    ),
    Source(
        "lidc-idri-0001",
        ("lidc_idri/LIDC-IDRI-0001_ct.nii.gz",),
        "CC BY 3.0",
        "TCIA LIDC-IDRI, doi 10.7937/K9/TCIA.2015.LO9QL9SX",
        ignore=(((78, 98), (140, 190), (140, 190)),),
    ),
    Source(
        "lidc-idri-0002",
        ("lidc_idri/LIDC-IDRI-0002_ct.nii.gz",),
        "CC BY 3.0",
        "TCIA LIDC-IDRI, doi 10.7937/K9/TCIA.2015.LO9QL9SX",
        # A patch of ground-glass in the left upper lung.
        ignore=(((86, 100), (152, 192), (150, 195)),),
    ),
    Source(
        "elastix-baseline",
        ("elastix_lung/3DCT_lung_baseline.mha",),
        "Apache-2.0",
        "test data of elastix",
    ),
)
# The generator's own anatomy, for geometry: exact masks, sides and shapes that the real studies do not have.
PHANTOM_SEEDS = (11, 12, 13)


@dataclass(frozen=True, eq=False)
class Material:
    """One study to plant lesions in.

    Parameters
    ----------
    name
        Of the source.
    hounsfield
        (slices, rows, columns), canonical order.
    lungs
        uint8: 1 right, 2 left lung.
    ignore
        bool: disease that is there already.
    spacing
        mm along (slices, rows, columns).
    """

    name: str
    hounsfield: npt.NDArray[np.generic]
    lungs: npt.NDArray[np.uint8]
    ignore: npt.NDArray[np.bool_]
    spacing: tuple[float, float, float]


def load_material(
    folders: Iterable[Path],
    say: Callable[[str], None] = lambda _name: None,
    on_missing: Callable[[str], None] = lambda _name: None,
) -> list[Material]:
    """Read all sources that lie in the given folders, segment their lungs, and add phantoms.

    Parameters
    ----------
    folders
        For instance ``sample-data`` and a folder with ``lidc_idri`` in it.
    say
        Told of each source.
    on_missing
        Told of each source that is not there.

    Raises
    ------
    NotFoundError
        If no source at all is there.
    """
    places = [Path(folder) for folder in folders]
    found = []
    for source in SOURCES:
        path = _first(places, source.paths)
        if path is None:
            on_missing(source.name)
            continue
        say(source.name)
        found.append(_read(source, path, _first(places, source.tumour)))
    if not found:
        raise NotFoundError(
            "There is no training material in these folders.",
            "Give the folder sample-data of the project, and folders with the studies that docs/synthesis.md names.",
        )
    return found + [phantom_material(seed) for seed in PHANTOM_SEEDS]


def _first(places: list[Path], relative: tuple[str, ...]) -> Path | None:
    candidates = [place / name for name in relative for place in places]
    return next((path for path in candidates if path.exists()), None)


def _read(source: Source, path: Path, tumour: Path | None) -> Material:
    volume = read(path)
    lungs = segment_lungs(volume, "morphological").array.copy()
    for box in source.not_lung:
        lungs[tuple(slice(*limits) for limits in box)] = 0
    ignore = np.zeros(volume.shape, np.bool_)
    for slices, rows, columns in source.ignore:
        ignore[slice(*slices), slice(*rows), slice(*columns)] = True
    if source.tumour:
        if tumour is None:
            raise NotFoundError(
                f"The tumour mask of {source.name} is missing.", f"Put {source.tumour[0]} beside the study."
            )
        ignore |= _tumour(tumour, volume)
    return Material(source.name, np.asarray(volume.array), lungs, ignore, volume.spacing)


def _tumour(path: Path, volume: Volume) -> npt.NDArray[np.bool_]:
    from scipy.ndimage import binary_dilation

    try:
        mask = read_mask(path, volume) > 0
    except CovidBertError as error:
        raise NotFoundError(f"The tumour mask {path.name} cannot be used: {error.message}", error.hint) from error
    return binary_dilation(mask, iterations=4)


def phantom_material(seed: int) -> Material:
    """The generator's own anatomy of one seed, without lesions."""
    phantom = make(shape=(110, 230, 250), spacing=(2.5, 1.4, 1.4), seed=seed, lesions="none")
    nothing = np.zeros(phantom.volume.shape, np.bool_)
    return Material(
        f"phantom-{seed}", np.asarray(phantom.volume.array), phantom.lungs.array.copy(), nothing, (2.5, 1.4, 1.4)
    )
