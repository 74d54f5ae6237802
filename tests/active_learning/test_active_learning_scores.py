"""Scores on disk, and how they come from inference."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from covid_bert.active_learning import scores as scores_module
from covid_bert.active_learning import scoring
from covid_bert.active_learning.score_store import ScoreStore
from covid_bert.active_learning.scores import StudyScores, check_weights, content_digest, signature, weights_digest
from covid_bert.active_learning.scoring import score_into
from covid_bert.errors import CancelledError, UnreadableFileError, WeightsError
from covid_bert.lungs.unet import WEIGHTS_NAME as LUNG_WEIGHTS
from covid_bert.phantom import write
from covid_bert.progress import Progress
from covid_bert.systems import SYSTEMS, create
from covid_bert.volumes import read
from covid_bert.weights.installing import add_version
from covid_bert.weights.manifest import Provenance
from covid_bert.weights.store import installed, publish
from covid_bert.weights.version_folder import InstalledWeights

SCORES = StudyScores(0.5, 0.25, None, np.array([1.0, -2.0], np.float32))


@pytest.fixture
def store(tmp_path: Path) -> ScoreStore:
    return ScoreStore(tmp_path / "kept")


def keep(store: ScoreStore, identifier: str, content: str, weights: str = "w1") -> None:
    store.knows(identifier, f"state of {identifier}", content, weights)
    store.keep(content, weights, SCORES)


def test_scores_come_back_as_they_were_kept(store: ScoreStore) -> None:
    keep(store, "a", "content")
    (found,) = store.scores("w1").values()
    assert (found.entropy, found.disagreement, found.mask) == (0.5, 0.25, None)
    assert found.embedding.tolist() == [1.0, -2.0]
    assert store.scores("w2") == {}


def test_one_content_under_two_names_is_scored_once(store: ScoreStore) -> None:
    keep(store, "a", "content")
    assert store.knows("b", "another state", "content", "w1")
    assert set(store.scores("w1")) == {"a", "b"}


def test_other_weights_and_changed_files_make_scores_missing(store: ScoreStore) -> None:
    keep(store, "a", "one")
    store.knows("b", "state of b", "two", "w1")
    store.fail("two", "w1", "no-lungs")
    studies = [("a", "state of a"), ("b", "state of b"), ("c", "state of c")]
    assert store.missing(studies, "w1") == ["c"]
    assert store.missing(studies, "w2") == ["a", "b", "c"]
    assert store.missing([("a", "changed"), ("b", "state of b")], "w1") == ["a"]
    assert set(store.scores("w1")) == {"a"}, "a study that cannot be scored has none"


def test_what_is_out_of_date_vanishes(store: ScoreStore) -> None:
    keep(store, "a", "one")
    keep(store, "a", "one", "w2")
    keep(store, "b", "two", "w2")
    store.prune({"a"}, "w2")
    assert store.scores("w1") == {}
    assert set(store.scores("w2")) == {"a"}
    assert store.missing([("b", "state of b")], "w2") == ["b"]


def test_a_damaged_store_is_moved_aside(tmp_path: Path, caplog) -> None:
    first = ScoreStore(tmp_path)
    keep(first, "a", "one")
    first.close()
    for path in tmp_path.glob("scores.sqlite*"):
        path.write_bytes(b"not a database, and long enough to be looked at" * 100)
    second = ScoreStore(tmp_path)
    assert second.scores("w1") == {}
    keep(second, "a", "one")
    assert list(tmp_path.glob("damaged-*-scores.sqlite"))
    assert "moved aside" in caplog.text


def test_a_run_is_known_until_it_ends(tmp_path: Path) -> None:
    ScoreStore(tmp_path).begin("m")
    again = ScoreStore(tmp_path)
    assert again.unfinished() == ["m"]
    again.end("m")
    assert again.unfinished() == []


def test_content_follows_names_and_bytes_inside_a_study_but_not_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "1.dcm").write_bytes(b"x")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert content_digest(tmp_path / "one") == content_digest(tmp_path / "two")
    before = signature(tmp_path / "two")
    (tmp_path / "two" / "2.dcm").write_bytes(b"y")
    assert content_digest(tmp_path / "one") != content_digest(tmp_path / "two")
    assert signature(tmp_path / "two") != before
    assert signature(tmp_path / "gone") == ""


def write_detached(folder: Path, name: str, voxels: bytes) -> Path:
    lines = ("ObjectType = Image", "NDims = 3", "DimSize = 8 8 8", "ElementType = MET_SHORT")
    (folder / f"{name}.mhd").write_text("\n".join([*lines, f"ElementDataFile = {name}.raw", ""]))
    (folder / f"{name}.raw").write_bytes(voxels)
    return folder / f"{name}.mhd"


def test_voxels_behind_a_header_belong_to_the_study(tmp_path: Path) -> None:
    one, two = (write_detached(tmp_path, name, bytes(1024)) for name in ("one", "two"))
    assert content_digest(one) == content_digest(two)
    before = signature(one)
    (tmp_path / "one.raw").write_bytes(bytes(1023) + b"x")
    os.utime(tmp_path / "one.raw", ns=(1, 1))
    assert signature(one) != before
    assert content_digest(one) != content_digest(two)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, phantom) -> Path:
    return write(phantom, tmp_path_factory.mktemp("study") / "chest.nii.gz")


@pytest.fixture(scope="module")
def scored(study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ScoreStore, StudyScores]:
    store = ScoreStore(tmp_path_factory.mktemp("scored"))
    assert score_into(store, "chest", study, Progress())
    return store, store.scores(weights_digest())["chest"]


def test_a_study_is_scored_by_the_code_that_classifies_it(study: Path, scored) -> None:
    found = scored[1]
    classified = create("s1", "small").classify(read(study))
    assert found.embedding == pytest.approx(classified.embedding)
    assert found.mask == pytest.approx(classified.lungs.uncertainty)
    assert found.entropy == pytest.approx(StudyScores.of(classified).entropy)
    assert 0 < found.mask < 1
    assert 0 <= found.disagreement <= 1
    assert len(found.embedding) == 128


def test_a_second_time_nothing_is_computed(study: Path, scored, monkeypatch) -> None:
    monkeypatch.setattr(scoring, "score_study", lambda *_, **__: pytest.fail("computed again"))
    assert score_into(scored[0], "other-name", study, Progress())


def test_what_cannot_be_read_is_kept_as_failed_and_not_tried_again(store: ScoreStore, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"not a study")
    assert not score_into(store, "broken", broken, Progress())
    assert store.missing([("broken", signature(broken))], weights_digest()) == []
    assert UnreadableFileError.code


def test_weights_that_change_meanwhile_leave_the_study_missing(store: ScoreStore, study: Path, monkeypatch) -> None:
    versions = iter(["w1", "w2"])
    monkeypatch.setattr(scoring, "weights_digest", lambda: next(versions))
    monkeypatch.setattr(scoring, "score_study", lambda *_, **__: SCORES)
    score_into(store, "chest", study, Progress())
    assert store.missing([("chest", signature(study))], "w1") == ["chest"]


def test_a_cancelled_study_stays_missing(store: ScoreStore, study: Path) -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(CancelledError):
        score_into(store, "chest", study, progress)
    assert store.missing([("chest", signature(study))], weights_digest()) == ["chest"]


def test_untrained_networks_give_no_scores(study: Path, small_networks) -> None:
    with pytest.raises(WeightsError, match="not live"):
        check_weights()
    with pytest.raises(WeightsError, match="not trained"):
        StudyScores.of(create("s2", "corrected", lungs="morphological").classify(read(study)))


def test_the_digest_names_every_network_behind_the_scores(monkeypatch) -> None:
    serving = scores_module.weights_that_serve()
    assert tuple(serving) == scores_module.weights_names()
    digests = {weights_digest()}
    for changed in serving:
        monkeypatch.setattr(scores_module, "weights_that_serve", lambda changed=changed: {**serving, changed: None})
        digests.add(weights_digest())
    assert len(digests) == 1 + len(serving)


def publish_copy(name: str) -> InstalledWeights:
    """Make live a version of `name` whose file is another, and whose network is the shipped one."""
    from safetensors.torch import load_file

    shipped = scores_module.weights_that_serve()[name]
    facts = {field: getattr(shipped.manifest, field) for field in Provenance.model_fields}
    state = {key: value + 0.5 if key.endswith("bias") else value for key, value in load_file(shipped.path).items()}
    version = add_version(name, state, Provenance(**facts)).version
    publish(name, version)
    return installed(name, version)


def test_scores_belong_to_what_serves_in_the_place_of_damaged_weights(study: Path, store: ScoreStore) -> None:
    shipped = weights_digest()
    new = publish_copy(LUNG_WEIGHTS)
    assert weights_digest() != shipped
    new.path.write_bytes(b"damaged" + new.path.read_bytes()[7:])
    check_weights()
    assert weights_digest() == shipped
    assert score_into(store, "chest", study, Progress())
    assert set(store.scores(shipped)) == {"chest"}


def test_scores_belong_to_the_networks_that_were_fitted_together() -> None:
    shipped = weights_digest()
    clip = SYSTEMS["s1"].configurations["small"].parts["clip"].weights
    publish_copy(clip)
    assert weights_digest() == shipped, "the study network keeps the clip network that it was fitted with"
