"""Cases with labels of several readers: from real masks on the disk, by each of the rules."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from lung_labels import add_studies, lungs, mask_of, reasons, save_lungs, say, write_lungs
from small_images import AFFINE

from covid_bert.datastore.label_agreement import read_agreement
from covid_bert.errors import ParameterError


def test_most_readers_decide_voxel_by_voxel(store, tmp_path: Path, labels) -> None:
    drawn = [lungs(0), lungs(1), lungs(3)]
    for author, mask in zip(("anna", "bert", "clara"), drawn, strict=True):
        save_lungs(store, tmp_path, "chest", author, mask)
    (study,) = labels("majority").studies
    stack = np.stack(drawn)
    counts = np.stack([(stack == label).sum(axis=0) for label in range(3)])
    assert (counts.max(axis=0) > 1).all(), "no tie in this test"
    assert np.array_equal(mask_of(study), counts.argmax(axis=0))
    assert study.readers == ("anna", "bert", "clara")
    assert study.mask_sha256 == hashlib.sha256(study.mask.read_bytes()).hexdigest()
    again = labels("majority").studies[0]
    assert (again.mask, again.digest) == (study.mask, study.digest)


def test_the_newest_decides_where_votes_are_equal(store, tmp_path: Path, labels) -> None:
    save_lungs(store, tmp_path, "chest", "anna", lungs(0))
    save_lungs(store, tmp_path, "chest", "bert", lungs(3))
    assert np.array_equal(mask_of(labels("majority").studies[0]), lungs(3))


def test_the_votes_of_masks_with_other_axes_fall_on_the_same_voxels(store, tmp_path: Path, labels) -> None:
    for author, shift in (("anna", 0), ("bert", 0), ("clara", 3)):
        path = write_lungs(tmp_path / "mask.nii.gz", lungs(shift))
        nibabel.save(nibabel.as_closest_canonical(nibabel.load(path)), tmp_path / "turned.nii.gz")
        turned = author == "bert"
        store.save_label("chest", str(tmp_path / "turned.nii.gz" if turned else path), "final", {"user": author})
    (study,) = labels("majority").studies
    assert np.array_equal(mask_of(study), lungs(0))
    assert np.allclose(nibabel.load(study.mask).affine, AFFINE)


def test_an_expert_alone_counts_and_what_he_has_not_labelled_is_left_out(store, folder, tmp_path, labels) -> None:
    add_studies(folder, "other")
    save_lungs(store, tmp_path, "chest", "anna", lungs(1))
    save_lungs(store, tmp_path, "chest", "bert", lungs(2))
    save_lungs(store, tmp_path, "other", "bert")
    say(store, "other", "bert", "covid")
    found = labels("expert:anna")
    assert [(study.identifier, study.readers) for study in found.studies] == [("chest", ("anna",))]
    assert np.array_equal(mask_of(found.studies[0]), lungs(1))
    assert [one.identifier for one in found.left_out] == ["other", "other"]
    assert all("anna" in one.reason for one in found.left_out)
    with pytest.raises(ParameterError):
        labels("expert:")


def test_readers_who_do_not_agree_on_the_class_leave_it_open(store, tmp_path: Path, labels) -> None:
    say(store, "chest", "anna", "covid")
    say(store, "chest", "bert", "normal")
    assert labels().studies[0].study_class == "normal"
    found = labels("majority")
    assert found.studies == ()
    assert "agree" in reasons(found)["chest"]
    say(store, "chest", "clara", "covid")
    assert labels("majority").studies[0].study_class == "covid"
    save_lungs(store, tmp_path, "chest", "anna")
    say(store, "chest", "clara", "other")
    (study,) = labels("majority").studies
    assert (study.study_class, study.readers) == (None, ("anna",))


def test_readers_are_compared_by_what_they_have_on_the_disk(store, folder: Path, tmp_path: Path) -> None:
    add_studies(folder, "other")
    store.refresh()
    for study, shift in (("chest", 0), ("other", 1)):
        save_lungs(store, tmp_path, study, "anna")
        save_lungs(store, tmp_path, study, "bert", lungs(shift))
        say(store, study, "anna", "covid" if shift else "normal")
        say(store, study, "bert", "covid" if shift else "normal")
    save_lungs(store, tmp_path, "chest", "clara", np.where(lungs() == 1, 1, 0).astype(np.uint8))
    found, left_out = read_agreement(folder, tmp_path / "cache")
    (masks,), (classes,) = found.masks, found.classes
    assert (masks.first, masks.second, masks.cases) == ("anna", "bert", 2)
    assert masks.estimate is not None
    assert masks.estimate.value == pytest.approx((1 + 6 / 7) / 2)
    assert classes.estimate is not None
    assert classes.estimate.value == 1
    assert found.fleiss_cases == 2
    assert [(one.identifier, "clara" in one.reason) for one in left_out] == [("chest", True)]
