"""What real COVID-19 lesions look like, as numbers: density, texture, edge, size and place.

`python -m covid_bert.evaluation.lesion_statistics FOLDER OUT.json` measures the lesion masks of MedSeg's volumes
(`FOLDER/medseg_covid9`: 4 of the 9 of "COVID-19 CT segmentation dataset", part 2, MedSeg, 13 April 2020, drawn on
cases of Radiopaedia). Only these facts are kept with the project; the images are not for redistribution. The pixel
size of these volumes is nominal, and their values were brought back from 8 bits and end at about +150 HU: lengths in
mm are approximate, and the upper percentiles of consolidation are too low.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from covid_bert.errors import CovidBertError, NotFoundError, ParameterError
from covid_bert.evaluation.lesion_texture import correlation_length, edge_profile, local_deviation
from covid_bert.evaluation.sources import MEDSEG, studies_of
from covid_bert.evaluation.studies import ExternalStudy
from covid_bert.files import write_atomically

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

SOURCE = (
    "MedSeg, COVID-19 CT segmentation dataset part 2 (13 April 2020), 4 of 9 volumes, drawn on cases of Radiopaedia"
)
REMARKS = [
    "The in-plane spacing of these volumes is nominal: lengths in mm and volumes in ml are approximate.",
    "Values were brought back from 8 bits and end at about +150 HU.",
    "case2 and case3 are two reconstructions of one scan: their slices correlate with 0.99 at 2.18 slices of case3 to "
    "one of case2, so that the slice distance stated for case3 is about twice the true one, and its volumes in ml too.",
]
# Between ground-glass and consolidation: at -300 HU about two thirds of a voxel are tissue or fluid.
CONSOLIDATED_HOUNSFIELD = -300.0
PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
SIZE_PERCENTILES = (10, 25, 50, 75, 90, 99)
_HEALTHY_MARGIN = 5.0  # mm from any lesion
_BORDER_MARGIN = 3.0  # mm from the border of the lung
_SMALLEST_COMPONENT = 0.05  # ml
_LISTED_COMPONENTS = 40


def study_statistics(study: ExternalStudy) -> dict[str, Any]:
    """Measure the lesions of one study.

    Parameters
    ----------
    study
        With lung and lesion masks.

    Returns
    -------
    dict
        HU in Hounsfield units, lengths in mm, volumes in ml, shares in [0, 1], densities relative to an even spread
        over the lung (mean 1 over ten equal parts of the lung).

    Raises
    ------
    ParameterError
        If the study has no lung or no lesion mask, or no lesion lies in the lungs.
    """
    if study.lungs is None or study.lesions is None:
        raise ParameterError(f"{study.name} has no lung and lesion masks.", "Choose a study with both.")
    values = study.volume.array.astype(np.float32)
    spacing = study.volume.spacing
    lung = study.lungs > 0
    lesion = (study.lesions > 0) & lung
    if not lesion.any():
        raise ParameterError(f"{study.name} has no lesion inside the lungs.", "Choose a study with lesions.")
    to_border = ndimage.distance_transform_edt(lung, sampling=spacing).astype(np.float32)
    from_lesion = in_plane_distance(~lesion, spacing)
    inner = erode_in_plane(lesion)
    healthy = lung & (from_lesion > _HEALTHY_MARGIN) & (to_border > _BORDER_MARGIN)
    dense = values >= CONSOLIDATED_HOUNSFIELD
    return {
        "name": study.name,
        "slices": int(study.volume.shape[0]),
        "spacing_mm": [round(step, 3) for step in spacing],
        "lung_ml": float(lung.sum() * study.volume.voxel_milliliters),
        "lesion_share_of_lung": float(lesion.sum() / lung.sum()),
        "consolidated_share_of_lesion": float((dense & inner).sum() / inner.sum()),
        "labelled_consolidation_share_of_lesion": float(((study.lesions == 2) & lesion).sum() / lesion.sum()),
        "hounsfield": {
            "lesion": percentiles(values[inner]),
            "ground_glass_like": percentiles(values[inner & ~dense]),
            "consolidated_like": percentiles(values[inner & dense]),
            "labelled_ground_glass": percentiles(values[inner & (study.lesions == 1)]),
            "labelled_consolidation": percentiles(values[inner & (study.lesions == 2)]),
            "healthy_lung": percentiles(values[healthy]),
        },
        "local_deviation_hu": {
            "ground_glass_like": local_deviation(values, inner & ~dense, spacing),
            "consolidated_like": local_deviation(values, inner & dense, spacing),
            "healthy_lung": local_deviation(values, healthy, spacing),
            "healthy_lung_without_vessels": local_deviation(values, healthy & (values < -750), spacing),
        },
        "correlation_length_mm": {
            "lesion": correlation_length(values, inner, spacing),
            "ground_glass_like": correlation_length(values, inner & ~dense, spacing),
            "lesion_after_local_mean": correlation_length(values, inner, spacing, local=True),
            "healthy_lung": correlation_length(values, healthy, spacing),
            "healthy_lung_after_local_mean": correlation_length(values, healthy, spacing, local=True),
        },
        "edge": edge_profile(values, lesion, lung, to_border, spacing),
        "components": component_sizes(lesion, study.volume.voxel_milliliters),
        "components_in_slice": slice_component_diameters(lesion, spacing),
        "distance_to_lung_border_mm": {
            "lesion": percentiles(to_border[lesion]),
            "lung": percentiles(to_border[lung]),
            "relative_density_by_tenth_of_lung": relative_density(to_border, lesion, lung),
        },
        "place": places(lesion, lung),
    }


def percentiles(
    values: npt.NDArray[np.floating[Any]], names: tuple[int, ...] = PERCENTILES, digits: int = 1
) -> dict[str, float] | None:
    """Return percentiles by name (``p01``), mean and count of the values; None where there are none."""
    if not values.size:
        return None
    found = np.percentile(values, names)
    named = {f"p{name:02d}": round(float(value), digits) for name, value in zip(names, found, strict=True)}
    return {**named, "mean": round(float(values.mean()), digits), "count": int(values.size)}


def in_plane_distance(mask: BoolArray, spacing: tuple[float, float, float]) -> FloatArray:
    """Distance in mm of each voxel of `mask` to the nearest voxel of its slice outside it; the slices are thick."""
    result = np.zeros(mask.shape, np.float32)
    for plane, distances in zip(mask, result, strict=True):
        distances[:] = np.inf if plane.all() else ndimage.distance_transform_edt(plane, sampling=spacing[1:])
    return result


def erode_in_plane(mask: BoolArray) -> BoolArray:
    """Take one pixel off the mask in each slice, so that partial volume at its edge does not count."""
    return ndimage.binary_erosion(mask, ndimage.generate_binary_structure(2, 1)[None])


def component_sizes(lesion: BoolArray, voxel_milliliters: float) -> dict[str, Any]:
    """Sizes in ml of the connected lesions (26 neighbours) from 0.05 ml, largest first, and their count."""
    labels = cc3d.connected_components(lesion, connectivity=26)
    sizes = np.sort(np.bincount(labels.ravel())[1:] * voxel_milliliters)[::-1]
    sizes = sizes[sizes >= _SMALLEST_COMPONENT]
    return {
        "count": int(sizes.size),
        "largest_ml": [round(float(size), 3) for size in sizes[:_LISTED_COMPONENTS]],
        "milliliters": percentiles(sizes, SIZE_PERCENTILES, 3),
        "share_of_largest": round(float(sizes[0] / sizes.sum()), 3) if sizes.size else None,
    }


def slice_component_diameters(lesion: BoolArray, spacing: tuple[float, float, float]) -> dict[str, Any]:
    """Diameters in mm of circles of the area of each slice's connected lesions, and their count in a slice."""
    areas: list[float] = []
    counts: list[int] = []
    for plane in lesion:
        if plane.any():
            labels, count = ndimage.label(plane, np.ones((3, 3)))
            areas += list(np.bincount(labels.ravel())[1:] * spacing[1] * spacing[2])
            counts.append(count)
    return {
        "diameter_mm": percentiles(2 * np.sqrt(np.array(areas) / np.pi), SIZE_PERCENTILES),
        "count_median": float(np.median(counts)),
        "count_largest": int(max(counts)),
        "slices_with_lesion": len(counts),
    }


def relative_density(measure: npt.NDArray[Any], lesion: BoolArray, lung: BoolArray) -> list[float]:
    """Lesion density in ten equally large parts of the lung, ordered by `measure`, relative to an even spread."""
    inside = measure[lung].astype(np.float64)
    # Ranks with ties spread evenly, so that equal values do not pile up in one part.
    order = np.argsort(inside + np.random.default_rng(0).uniform(0, 1e-6, inside.size), kind="stable")
    tenth = np.empty(inside.size, np.int64)
    tenth[order] = np.arange(inside.size) * 10 // inside.size
    found = np.bincount(tenth[lesion[lung]], minlength=10)
    return [round(float(value), 3) for value in found / found.sum() * 10]


def places(lesion: BoolArray, lung: BoolArray) -> dict[str, Any]:
    """Where lesions lie: density by front to back and foot to head, and the share in the patient's right half."""
    position = np.indices(lung.shape, np.int32)
    middle = (np.nonzero(lung.any(axis=(0, 1)))[0][[0, -1]]).mean()
    rows = np.full(lung.shape, np.nan, np.float32)
    for index, plane in enumerate(lung):
        if plane.any():
            first, last = np.flatnonzero(plane.any(1))[[0, -1]]
            rows[index] = (position[1][index] - first) / max(last - first, 1)
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    height = (position[0] - slices[0]) / max(slices[-1] - slices[0], 1)
    return {
        "front_to_back_relative_density_by_tenth_of_lung": relative_density(position[1], lesion, lung),
        "foot_to_head_relative_density_by_tenth_of_lung": relative_density(position[0], lesion, lung),
        "row_in_slice_0_front_1_back": percentiles(rows[lesion], digits=3),
        "height_in_lung_0_foot_1_head": percentiles(height[lesion], digits=3),
        "right_half_share": round(float((position[2][lesion] < middle).mean()), 3),
        "right_half_share_of_lung": round(float((position[2][lung] < middle).mean()), 3),
    }


def measure(folder: Path) -> dict[str, Any]:
    """Measure all volumes of MedSeg below a folder.

    Raises
    ------
    NotFoundError
        If none is there.
    """
    studies = [study_statistics(study) for study in studies_of(MEDSEG, folder)]
    if not studies:
        raise NotFoundError("There are no volumes of MedSeg.", "Give the folder that holds `medseg_covid9`.")
    return {"source": SOURCE, "remarks": REMARKS, "studies": studies}


def main(arguments: list[str]) -> int:
    """Run as a program: folder of data sets, JSON file to write."""
    if len(arguments) != 2:
        print("usage: python -m covid_bert.evaluation.lesion_statistics FOLDER OUT.json", file=sys.stderr)
        return 2
    try:
        write_atomically(Path(arguments[1]), json.dumps(measure(Path(arguments[0])), indent=1) + "\n")
    except CovidBertError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
