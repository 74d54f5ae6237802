"""What a client says of the values of a mask decides which lung is which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from small_images import AFFINE, SHAPE

from covid_bert.datastore.mask_names import named_values, relabelled, renamed
from covid_bert.datastore.store import StudyDatastore
from covid_bert.errors import InvalidValuesError, ParameterError

RIGHT, LEFT = {"name": "right lung", "idx": 1}, {"name": "left lung", "idx": 2}
SWAPPED = [{"name": "left lung", "idx": 1}, {"name": "Right Lung ", "idx": 2}]


def drawn(path: Path, *values: int) -> Path:
    """A mask with a plane of each value."""
    mask = np.zeros(SHAPE, np.uint8)
    for plane, value in enumerate(values):
        mask[plane + 1] = value
    nibabel.save(nibabel.Nifti1Image(mask, AFFINE), path)
    return path


def saved(store: StudyDatastore) -> list[int]:
    mask = np.asanyarray(nibabel.load(store.get_label_uri("chest", "final")).dataobj)
    return [int(plane[0, 0]) for plane in mask[1:4]]


@pytest.mark.parametrize(
    ("segments", "values", "kept"),
    [
        ([], [1, 2, 0], [1, 2, 0]),
        ([RIGHT, LEFT], [1, 2, 0], [1, 2, 0]),
        (SWAPPED, [1, 2, 0], [2, 1, 0]),
        ([{"name": "left lung", "idx": 1}], [1, 0, 0], [2, 0, 0]),
        ([{"name": "left lung", "idx": 3}, {"name": "right lung", "idx": 4}], [3, 4, 0], [2, 1, 0]),
        ([RIGHT, LEFT, {"name": "consolidation", "idx": 3}], [1, 2, 0], [1, 2, 0]),
    ],
)
def test_each_lung_gets_its_own_label(
    store: StudyDatastore, tmp_path: Path, segments: list[dict[str, Any]], values: list[int], kept: list[int]
) -> None:
    path = drawn(tmp_path / "mask.nii.gz", *values)
    before = path.read_bytes()
    store.save_label("chest", str(path), "final", {"label_info": segments, "user": "anna"})
    assert saved(store) == kept
    assert path.read_bytes() == before, "the client's file stays as it is"
    named = store.get_label_info("chest", "final")["label_info"]
    if segments:
        assert {segment["name"].strip().lower(): segment["idx"] for segment in named}.items() <= {
            "right lung": 1, "left lung": 2,
        }.items()  # fmt: skip


@pytest.mark.parametrize("other", [{"name": "consolidation", "idx": 3}, {"name": "Segment_1", "idx": 3}])
def test_other_structures_are_refused_where_they_have_voxels(
    store: StudyDatastore, tmp_path: Path, other: dict[str, Any]
) -> None:
    for segments in ([RIGHT, LEFT, other], [RIGHT, LEFT]):
        with pytest.raises(InvalidValuesError, match="other structures"):
            store.save_label("chest", str(drawn(tmp_path / "mask.nii.gz", 1, 2, 3)), "final", {"label_info": segments})
    assert store.get_label_uri("chest", "final") == ""


@pytest.mark.parametrize(
    "segments",
    [
        [RIGHT, {"name": "left lung", "idx": 1}],
        [RIGHT, {"name": "right lung", "idx": 2}],
        [{"name": "right lung"}],
        [{"name": 5, "idx": 1}],
        [{"name": "right lung", "idx": "1"}],
        [{"name": "right lung", "idx": True}],
        [{"name": "right lung", "idx": 256}],
        ["right lung"],
        "right lung",
        5,
    ],
)
def test_segments_that_say_nothing_clear_are_refused(store: StudyDatastore, tmp_path: Path, segments: Any) -> None:
    with pytest.raises(ParameterError, match="which value"):
        store.save_label("chest", str(drawn(tmp_path / "mask.nii.gz", 1, 2)), "final", {"label_info": segments})


def test_functions() -> None:
    assert named_values({}) is None
    values = named_values({"label_info": SWAPPED})
    assert values == {1: 2, 2: 1}
    assert relabelled(np.array([0, 1, 2], np.uint8), values).tolist() == [0, 2, 1]
    assert [segment["idx"] for segment in renamed({"label_info": SWAPPED}, values)["label_info"]] == [2, 1]
