"""Masks of two lungs on the grid of the small images, and what saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from small_images import AFFINE, SHAPE, write_image

from covid_bert.datastore.store import StudyDatastore
from covid_bert.datastore.study_labels import StudyLabel
from covid_bert.datastore.versions import Version


def lungs(shift: int = 0) -> np.ndarray:
    """Two boxes: the right lung has 1, the left lung 2."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:9, 4:15, 2 + shift : 9 + shift] = 1
    mask[14:21, 4:15, 2 + shift : 9 + shift] = 2
    return mask


def write_lungs(path: Path, mask: np.ndarray | None = None, affine: np.ndarray = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(lungs() if mask is None else mask, affine), path)
    return path


def save_lungs(
    store: StudyDatastore, folder: Path, study: str, author: str, mask: np.ndarray | None = None, **info: Any
):
    """Save a mask for a study, as the server does, and return its version."""
    path = write_lungs(folder / "to-save.nii.gz", mask)
    store.save_label(study, str(path), "final", {"user": author, **info})
    return store.versions(study, "final")[-1]


def say(store: StudyDatastore, study: str, author: str, study_class: Any) -> None:
    store.save_study_label(study, StudyLabel(study_class=study_class, certainty="certain"), author)


def add_studies(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names, 100):
        write_image(folder / f"{name}.nii.gz", seed)


def rewrite_record(path: Path, **changes: Any) -> None:
    """Change the record of a version on the disk."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
