"""A made-up folder of external sets in the layout of the real ones: small chests whose masks are known."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from covid_bert.lesions import LesionMask
from covid_bert.lungs import LungMask
from covid_bert.phantom import Phantom, write, write_dicom
from covid_bert.volumes import Volume, read

SHAPE = (20, 40, 56)
SPACING = (4.0, 6.0, 6.0)
INFECTED_SLICES = range(3, 9)  # foot to head


def lung_labels(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Right lung 1 and left lung 2, in all slices but the outer two."""
    z, y, x = np.ogrid[tuple(slice(size) for size in shape)]
    height = (np.abs(z - (shape[0] - 1) / 2) < shape[0] / 2 - 2) & (np.abs(y / shape[1] - 0.5) < 0.3)
    labels = np.zeros(shape, np.uint8)
    labels[height & (np.abs(x / shape[2] - 0.28) < 0.12)] = 1
    labels[height & (np.abs(x / shape[2] - 0.72) < 0.12)] = 2
    return labels


def lesion_labels(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Ground-glass with a consolidated middle, low and in the back of the right lung."""
    labels = np.zeros(shape, np.uint8)
    first, last = INFECTED_SLICES.start, INFECTED_SLICES.stop
    top, bottom = int(0.55 * shape[1]), int(0.75 * shape[1])
    right, left = int(0.2 * shape[2]), int(0.35 * shape[2])
    labels[first:last, top:bottom, right:left] = 1
    labels[first + 1 : last - 1, top + 2 : bottom - 2, right + 2 : left - 2] = 2
    return labels * (lung_labels(shape) > 0)


def chest(folder: Path, *, infected: bool, seed: int) -> Phantom:
    """A chest of HU -850 in the lungs, -550 in ground-glass and 20 in consolidation and body."""
    lungs = lung_labels()
    lesions = lesion_labels() if infected else np.zeros(SHAPE, np.uint8)
    z, y, x = np.ogrid[tuple(slice(size) for size in SHAPE)]
    array = np.where((y / SHAPE[1] - 0.5) ** 2 + (x / SHAPE[2] - 0.5) ** 2 + 0 * z < 0.23, 20.0, -1000.0)
    array[lungs > 0] = -850
    array[lesions == 1] = -550
    array[lesions == 2] = 20
    array += np.random.default_rng(seed).normal(0, 15, SHAPE)
    affine = np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0])
    path = folder / f"chest-{seed}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.rint(array).astype(np.int16).transpose(2, 1, 0), affine), path)
    nothing = np.zeros(SHAPE, bool)
    return Phantom(read(path), LungMask(lungs, "given"), lesions, nothing, nothing, seed)


def make_sets(folder: Path, scratch: Path) -> Path:
    """Write every set that the readers know, with made-up content; return the folder."""
    ill, well = chest(scratch, infected=True, seed=1), chest(scratch, infected=False, seed=2)
    for name in ("covid_ct_md", "medseg_covid9", "lidc_idri", "elastix_lung", "ricord1a_slab_NC", "zenodo20_2d"):
        (folder / name).mkdir(parents=True)
    write_dicom(ill, folder / "covid_ct_md" / "P001_dicom")
    write(ill, folder / "covid_ct_md" / "cap001_ct.nii.gz")
    write(well, folder / "covid_ct_md" / "normal001_ct.nii.gz")
    np.save(folder / "covid_ct_md" / "Slice-level-labels-updated-1.npy", label_table())
    for number in (1, 2, 3, 4):
        study = chest(scratch, infected=True, seed=10 + number)
        for part, kind in (("volume", "ct"), ("lungs", "lung"), ("lesions", "infection")):
            write(study, folder / "medseg_covid9" / f"case{number}_{kind}.nii.gz", part)
    write(well, folder / "lidc_idri" / "LIDC-IDRI-0001_ct.nii.gz")
    write(chest(scratch, infected=False, seed=3), folder / "lidc_idri" / "LIDC-IDRI-0002_ct.nii.gz")
    write(with_lungs(well, lobes()), folder / "lidc_idri" / "LIDC-IDRI-0001_lobes.nii.gz", "lungs")
    for state in ("baseline", "followup"):
        write(well, folder / "elastix_lung" / f"3DCT_lung_{state}.mha")
        right = (lung_labels() == 1).astype(np.uint8)
        write(with_lungs(well, right), folder / "elastix_lung" / f"3DCT_lung_{state}_mask.mha", "lungs")
    write_dicom(ill, folder / "ricord1a_slab_NC")
    return folder


def with_lungs(phantom: Phantom, labels: np.ndarray) -> Phantom:
    """The same phantom with another mask."""
    return Phantom(
        phantom.volume, LungMask(labels, "given"), phantom.lesions, phantom.airways, phantom.vessels, phantom.seed
    )


def lobes() -> np.ndarray:
    """Lobes as TotalSegmentator numbers them: left 1 and 2, right 3, 4 and 5."""
    lungs = lung_labels()
    upper = np.arange(SHAPE[0])[:, None, None] >= SHAPE[0] // 2
    return np.select([(lungs == 2) & upper, lungs == 2, (lungs == 1) & upper, lungs == 1], [1, 2, 3, 5]).astype(
        np.uint8
    )


def label_table() -> np.ndarray:
    """79 patients by 200 slices, the first column nearest to the head."""
    table = np.zeros((79, 200), np.int32)
    infected = np.isin(np.arange(SHAPE[0]), INFECTED_SLICES)
    table[[0, 55], : SHAPE[0]] = infected[::-1]
    return table


def stand_in_lungs(volume: Volume, method: str = "auto", *_: object, **__: object) -> LungMask:
    """In place of lung segmentation: what the chests were made with."""
    return LungMask(lung_labels(volume.shape), "unet" if method == "auto" else method)


def stand_in_lesions(volume: Volume, lungs: LungMask, *_: object, **__: object) -> LesionMask:
    """In place of the lesion network: thresholds, which these chests allow."""
    inside = lungs.array > 0
    labels = np.select([inside & (volume.array > -300), inside & (volume.array > -700)], [2, 1]).astype(np.uint8)
    strength = np.where(inside, np.clip((volume.array + 1000.0) / 4, 0, 255), 0).astype(np.uint8)
    return LesionMask(labels, strength, "stand-in")
