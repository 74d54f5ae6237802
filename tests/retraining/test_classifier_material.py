"""What the classifiers learn from: the channels that are seen in use, kept; what cannot be used is named."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labelled_site import install_live, label_set, labelled, site

from covid_bert.errors import NotEnoughLabelsError, WeightsError
from covid_bert.lungs.mask import LungMask
from covid_bert.retraining import channel_cache
from covid_bert.retraining.cases import Part
from covid_bert.retraining.channel_cache import KEPT_SECONDS, ChannelCache
from covid_bert.retraining.classifier_material import WHOLE_FROM, ClassifierMaterial, check_counts, chosen_scope, gather
from covid_bert.retraining.progress import RunProgress
from covid_bert.systems import SYSTEMS, create
from covid_bert.training.studies import COVID, OTHER
from covid_bert.volumes import read, read_mask
from covid_bert.weights.location import home
from lesion_networks import install_lesion_weights

pytestmark = pytest.mark.usefixtures("small_networks")


class SeenError(Exception):
    """Carries what the networks of a system were about to see."""


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("system", SYSTEMS)
def test_training_sees_the_channels_that_inference_sees(system, masked, lesions_by_density, tmp_path, monkeypatch):
    study = labelled(tmp_path, 1, "covid", masked=masked)
    volume = read(study.image)
    mask = LungMask(read_mask(study.mask, volume), "given") if masked else None
    install_live(system)
    in_use = create(system, "small", device="cpu")

    def stop(stack, *_):
        raise SeenError(stack)

    monkeypatch.setattr(in_use, "_run", stop)
    with pytest.raises(SeenError) as caught:
        in_use.classify(volume, mask)
    expected = caught.value.args[0]
    found = ChannelCache(device="cpu").labelled(study, COVID)
    assert np.array_equal(found.channels, expected.channels.numpy())
    assert found.channels[:, 1].max() > 200, "no lesion evidence, so nothing is compared"
    assert found.lesion_share.shape == (len(expected.indices),)
    assert found.lesion_share.max() > 0.05
    assert (found.source, found.label) == ("patient-1", COVID)


def test_a_study_is_prepared_once_and_read_memory_mapped(lesions_by_density, tmp_path) -> None:
    study = labelled(tmp_path, 1, "covid")
    first = ChannelCache(device="cpu").labelled(study, COVID)
    study.image.unlink()
    again = ChannelCache(device="cpu").labelled(study, OTHER)
    assert isinstance(again.channels, np.memmap)
    assert np.array_equal(first.channels, again.channels)
    assert np.array_equal(first.lesion_share, again.lesion_share)
    assert again.label == OTHER
    folder = home() / "retraining" / "channels"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_is_damaged_or_of_other_weights_or_code_is_made_again(lesions_by_density, tmp_path, monkeypatch) -> None:
    study = labelled(tmp_path, 1, "covid")
    cache = ChannelCache(tmp_path / "cache", device="cpu")
    made = []
    prepare = channel_cache.prepare_channels
    monkeypatch.setattr(channel_cache, "prepare_channels", lambda *a, **k: made.append(1) or prepare(*a, **k))
    first = np.array(cache.labelled(study, COVID).channels)
    (array,) = (tmp_path / "cache").glob("*.npy")
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    for damaged in (content, content[:100]):
        array.unlink()  # What is still mapped stays as it is.
        array.write_bytes(damaged)
        assert np.array_equal(cache.labelled(study, COVID).channels, first)
    assert len(made) == 3
    cache.labelled(study, COVID)
    assert len(made) == 3
    install_lesion_weights(threshold=0.3)
    monkeypatch.setattr(channel_cache, "code_digest", lambda: "another")
    cache.labelled(study, COVID)
    cache.labelled(replace(study, mask=None, mask_sha256=""), COVID)
    assert len(made) == 5


def test_what_nobody_asks_for_is_forgotten(lesions_by_density, tmp_path) -> None:
    folder = tmp_path / "cache"
    for number in (1, 2):
        ChannelCache(folder, device="cpu").labelled(labelled(tmp_path, number, "covid"), COVID)
    old = sorted(folder.glob("*.json"))[0]
    long_ago = old.stat().st_mtime - KEPT_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    ChannelCache(folder, device="cpu")
    assert len(list(folder.iterdir())) == 2
    assert not old.exists()


def test_one_corrupt_study_among_good_ones_is_named_and_skipped(lesions_by_density, tmp_path) -> None:
    labels = site(tmp_path)
    bad = labelled(tmp_path, 20, "covid")
    bad.image.write_bytes(bad.image.read_bytes()[:3000])
    not_a_mask = replace(labelled(tmp_path, 21, "normal"), mask=labelled(tmp_path, 22, "covid").image)
    gone = labelled(tmp_path, 23, "normal")
    gone.image.unlink()
    progress = RunProgress()
    studies = (*labels.studies, bad, not_a_mask, gone)
    material = gather(label_set(*studies), ChannelCache(device="cpu"), progress)
    assert [left.identifier for left in progress.state.left_out] == ["study-20", "study-21", "study-23"]
    assert all(left.reason for left in progress.state.left_out)
    assert material.counts() == (3, 3)
    assert material.counts(validation=True) == (1, 1)
    assert material.used == labels.studies


def test_studies_of_the_test_are_prepared_and_decide_no_fit_and_those_without_a_class_are_passed_over(
    lesions_by_density, tmp_path
) -> None:
    labels = site(tmp_path)
    tested = labelled(tmp_path, 30, "covid", Part.TEST)
    unnamed = replace(labelled(tmp_path, 31, None), image=Path("nowhere"))
    progress, cache = RunProgress(), ChannelCache(device="cpu")
    material = gather(label_set(*labels.studies, tested, unnamed), cache, progress)
    assert progress.state.left_out == ()
    assert material.used == (*labels.studies, tested)
    assert [item.source for item in material.test] == [tested.patient]
    assert material.digest == gather(labels, cache, progress).digest


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((0, 5), "No study with COVID-19 is among the 5 labelled studies"),
        ((7, 0), "No study without COVID-19 is among the 7 labelled studies"),
        ((2, 9), "need 3 labelled studies with COVID-19 and 3 without to learn from; there are 2 and 9"),
        ((0, 0), "there are 0 and 0"),
    ],
)
def test_too_few_labels_are_a_plain_sentence(counts, said) -> None:
    with pytest.raises(NotEnoughLabelsError, match=said) as caught:
        check_counts(Counter({COVID: counts[0], OTHER: counts[1]}))
    assert "Label more studies" in caught.value.hint


def test_too_few_labels_are_known_before_anything_is_prepared(lesions_by_density, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ChannelCache, "labelled", lambda *_: pytest.fail("it was prepared"))
    studies = [study for study in site(tmp_path).studies if study.study_class != "covid"]
    with pytest.raises(NotEnoughLabelsError, match="No study with COVID-19"):
        gather(label_set(*studies), ChannelCache(device="cpu"), RunProgress())


def test_too_few_may_be_left_of_those_that_can_be_read(lesions_by_density, tmp_path) -> None:
    labels = site(tmp_path)
    labels.studies[1].image.write_bytes(b"nothing")
    with pytest.raises(NotEnoughLabelsError, match="there are 2 and 3"):
        gather(labels, ChannelCache(device="cpu"), RunProgress())


def test_without_the_lesion_network_nothing_is_left_out_but_the_run_ends(tmp_path) -> None:
    progress = RunProgress()
    with pytest.raises(WeightsError, match="lesion network"):
        gather(site(tmp_path), ChannelCache(device="cpu"), progress)
    assert progress.state.left_out == ()


@pytest.mark.parametrize(
    ("asked", "studies", "chosen"),
    [
        ("auto", WHOLE_FROM - 1, "aggregator"),
        ("auto", WHOLE_FROM, "whole"),
        ("whole", 3, "whole"),
        ("aggregator", 99, "aggregator"),
    ],
)
def test_the_scope_follows_the_number_of_labels(asked, studies, chosen) -> None:
    none = np.zeros((1, 3, 2, 2), np.uint8)
    made = [
        channel_cache.SeenChannels(str(number), number % 2, none, np.zeros(1, np.float32), "")
        for number in range(2 * studies)
    ]
    assert chosen_scope(asked, ClassifierMaterial(tuple(made), (), (), ())) == chosen
