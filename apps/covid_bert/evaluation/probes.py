"""Probes of what a result rests on: the lungs replaced by even tissue, and the source told from the images alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from covid_bert.errors import ParameterError
from covid_bert.lungs.mask import LungMask
from covid_bert.volumes import Volume

BLANK_HOUNSFIELD = -860.0
BLANK_DEVIATION = 30.0
_DESCRIBED_SLICES = 24


def blank_lungs(volume: Volume, lungs: LungMask, *, seed: int = 0) -> Volume:
    """Replace all that is inside the lungs by tissue of -860 HU with noise of 30 HU.

    A system that looks at lesions must then find none; one that knows the scanner by its field of view or table does
    not notice.

    Parameters
    ----------
    volume
        In HU.
    lungs
        Mask on its grid.
    seed
        Of the noise.
    """
    array = volume.array.copy()
    generator = np.random.default_rng(seed)
    for plane, labels in zip(array, lungs.array, strict=True):
        inside = labels > 0
        noise = generator.normal(BLANK_HOUNSFIELD, BLANK_DEVIATION, np.count_nonzero(inside))
        plane[inside] = np.rint(noise).astype(array.dtype)
    return replace(volume, array=array)


def image_descriptor(volume: Volume, lungs: LungMask) -> dict[str, float]:
    """Describe how a study was made rather than what it shows.

    Parameters
    ----------
    volume
        In HU.
    lungs
        Mask on its grid.

    Returns
    -------
    dict
        ``slice_mm``, ``pixel_mm`` and ``field_of_view_mm``; ``lung_hu``: median of the lung voxels below -700 HU, 0
        without such voxels; ``noise_hu``: median difference of neighbouring ones among these, in HU; ``highest_hu``:
        the highest value of the volume.

    Raises
    ------
    ParameterError
        If the mask is empty.
    """
    held = np.flatnonzero(lungs.array.any(axis=(1, 2)))
    if not held.size:
        raise ParameterError("The lung mask is empty.", "Segment this volume again.")
    chosen = held[np.linspace(0, held.size - 1, min(_DESCRIBED_SLICES, held.size)).astype(int)]
    tissue: list[npt.NDArray[np.float32]] = []
    steps: list[npt.NDArray[np.float32]] = []
    for index in chosen:
        plane = volume.array[index].astype(np.float32)
        inside = (lungs.array[index] > 0) & (plane < -700)
        tissue.append(plane[inside])
        steps.append(np.abs(np.diff(plane, axis=1))[inside[:, 1:] & inside[:, :-1]])
    values, differences = np.concatenate(tissue), np.concatenate(steps)
    slice_, row, column = volume.spacing
    return {
        "slice_mm": slice_,
        "pixel_mm": row,
        "field_of_view_mm": column * volume.shape[2],
        "lung_hu": float(np.median(values)) if values.size else 0.0,
        "noise_hu": float(np.median(differences)) if differences.size else 0.0,
        "highest_hu": float(volume.array.max()),
    }


def source_accuracy(features: npt.NDArray[np.float64], sources: Sequence[str], patients: Sequence[str]) -> float:
    """Accuracy of telling the source of each study by the nearest centroid of the other patients' studies.

    Parameters
    ----------
    features
        (studies, features); brought to zero mean and unit deviation over the other patients' studies.
    sources, patients
        Of each study.

    Returns
    -------
    float
        In [0, 1].
    """
    names, people = np.asarray(sources), np.asarray(patients)
    right = 0
    for index in range(len(names)):
        others = people != people[index]
        deviation = features[others].std(0)
        scaled = (features - features[others].mean(0)) / np.where(deviation > 0, deviation, 1.0)
        known = sorted(set(names[others]))
        distances = [np.linalg.norm(scaled[index] - scaled[others & (names == name)].mean(0)) for name in known]
        right += known[int(np.argmin(distances))] == names[index]
    return right / len(names)


def source_test(
    descriptors: Sequence[Mapping[str, float]],
    sources: Sequence[str],
    patients: Sequence[str],
    *,
    repetitions: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float] | None:
    """Compare `source_accuracy` with that for sources dealt out anew to the patients.

    Parameters
    ----------
    descriptors
        Of each study, all with the same names; of sources with at least two patients each.
    sources, patients
        Of each study.
    repetitions, seed
        Of the dealing.

    Returns
    -------
    tuple or None
        Accuracy, mean accuracy by chance, and the share of dealings at least as accurate (with one added to both
        counts). None with fewer than two sources.
    """
    if len(set(sources)) < 2:
        return None
    features = np.array([[item[name] for name in sorted(descriptors[0])] for item in descriptors])
    accuracy = source_accuracy(features, sources, patients)
    source_of = dict(zip(patients, sources, strict=True))
    people = list(source_of)
    generator = np.random.default_rng(seed)
    by_chance = []
    for _ in range(repetitions):
        dealt = dict(zip(people, generator.permutation([source_of[person] for person in people]), strict=True))
        by_chance.append(source_accuracy(features, [str(dealt[person]) for person in patients], patients))
    p_value = (1 + int(np.count_nonzero(np.array(by_chance) >= accuracy))) / (1 + repetitions)
    return accuracy, float(np.mean(by_chance)), p_value
