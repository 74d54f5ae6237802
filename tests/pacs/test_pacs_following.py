"""The list of a real archive, followed: new, grown, gone and odd series; an archive that does not answer."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from archive_maker import ENVIRONMENT, IMPATIENT, added_slice, make_chest, push, series_of, settings_of

from covid_bert.pacs.dicomweb import Pacs
from covid_bert.pacs.errors import PacsDownError, PacsError
from covid_bert.pacs.following import Following
from covid_bert.pacs.kept import IMAGES, identifier_of_series, read_record
from covid_bert.pacs.settings import write_settings

pytestmark = pytest.mark.server


def _following(folder: Path, proxy) -> Following:
    folder.mkdir(exist_ok=True)
    settings = settings_of(proxy.address)
    write_settings(folder, settings)
    return Following(folder, settings, Pacs(settings, IMPATIENT, environment=ENVIRONMENT))


def _identifier(files: list[Path]) -> str:
    return identifier_of_series(series_of(files)[1])


def _offered(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("*/.series.json")}


def _down(answer) -> None:
    answer.status = 503


def test_only_chest_cts_are_offered_and_the_others_counted(proxy, filled, tmp_path: Path) -> None:
    following = _following(tmp_path, proxy)
    following.refresh()
    assert _offered(tmp_path) >= {_identifier(filled[kind]) for kind in ("chest", "unnamed")}
    others = {_identifier(files) for kind, files in filled.items() if kind not in ("chest", "unnamed")}
    assert not _offered(tmp_path) & others
    state = following.to_json()
    assert state["state"] == "ready"
    assert state["refused"] == {
        "localizer": 1, "dose report": 1, "another body part": 2, "reformat": 2, "too few slices": 1,
    }  # fmt: skip
    assert state["list_age_seconds"] < 60
    uids = {uid for files in filled.values() for uid in series_of(files)}
    assert not [uid for uid in uids if uid in json.dumps(state)]


def test_what_is_known_is_not_asked_again_also_after_a_new_start(proxy, filled, tmp_path: Path) -> None:
    _following(tmp_path, proxy).refresh()
    assert [path for path in proxy.asked if path.endswith("/metadata")]
    proxy.asked.clear()
    again = _following(tmp_path, proxy)
    again.refresh()
    assert not [path for path in proxy.asked if path.endswith("/metadata")]
    assert again.to_json()["offered"] >= 2


def test_a_new_series_is_offered_when_its_images_have_stopped_coming(proxy, filled, tmp_path: Path) -> None:
    following = _following(tmp_path / "studies", proxy)
    following.refresh()
    files = make_chest(tmp_path / "made", 14)
    push(proxy.upstream, files[:9])
    following.refresh()
    assert _identifier(files) not in _offered(tmp_path / "studies")
    assert following.to_json()["arriving"] == 1
    push(proxy.upstream, files[9:12])
    following.refresh()
    assert _identifier(files) not in _offered(tmp_path / "studies")
    following.refresh()
    image = tmp_path / "studies" / _identifier(files)
    assert read_record(image).instances == 12
    assert following.to_json()["arriving"] == 0
    (image / IMAGES).mkdir()
    push(proxy.upstream, files[12:])
    following.refresh()
    assert read_record(image).instances == 12, "still the study that it was"
    following.refresh()
    assert read_record(image).instances == 14
    assert not (image / IMAGES).exists()


def test_a_short_series_is_offered_once_it_is_long_enough(proxy, filled, tmp_path: Path) -> None:
    files = make_chest(tmp_path / "made", 12)
    push(proxy.upstream, files[:4])
    following = _following(tmp_path / "studies", proxy)
    following.refresh()
    assert _identifier(files) not in _offered(tmp_path / "studies")
    push(proxy.upstream, files[4:])
    following.refresh()
    following.refresh()
    assert _identifier(files) in _offered(tmp_path / "studies")


def test_a_series_that_has_gone_is_withdrawn_and_its_labels_stay(proxy, filled, tmp_path: Path) -> None:
    following, gone = _following(tmp_path, proxy), series_of(filled["unnamed"])[1]
    following.refresh()
    label = tmp_path / "labels" / "study" / f"{identifier_of_series(gone)}.json"
    label.parent.mkdir(parents=True)
    label.write_text("{}")

    def without(answer) -> None:
        if "/series?" in answer.path:
            listed = json.loads(answer.body)
            answer.body = json.dumps([item for item in listed if gone not in json.dumps(item)]).encode()

    proxy.change = without
    following.refresh()
    assert identifier_of_series(gone) not in _offered(tmp_path)
    assert _identifier(filled["chest"]) in _offered(tmp_path)
    assert label.exists()
    proxy.change = lambda _: None
    for _ in range(2):
        following.refresh()
    assert identifier_of_series(gone) in _offered(tmp_path)


def test_a_series_whose_folder_was_removed_is_offered_again(proxy, filled, tmp_path: Path) -> None:
    following, image = _following(tmp_path, proxy), tmp_path / _identifier(filled["chest"])
    following.refresh()
    (image / ".series.json").unlink()
    image.rmdir()
    following.refresh()
    assert read_record(image) is not None


def test_one_damaged_header_does_not_keep_the_others_away(proxy, filled, tmp_path: Path) -> None:
    bad = series_of(filled["unnamed"])[1]

    def damage(answer) -> None:
        if answer.path.endswith("/metadata") and bad in answer.path:
            answer.body = re.sub(
                rb'"00280010".*?}', b'"00280010": {"vr": "US", "Value": [-7]}', answer.body, flags=re.S
            )

    proxy.change = damage
    following = _following(tmp_path, proxy)
    following.refresh()
    assert following.to_json()["refused"]["damaged header"] == 1
    assert _identifier(filled["chest"]) in _offered(tmp_path)


def test_the_last_list_stays_while_the_archive_does_not_answer(proxy, filled, tmp_path: Path) -> None:
    following = _following(tmp_path, proxy)
    following.refresh()
    offered = _offered(tmp_path)
    proxy.change = _down
    with pytest.raises(PacsDownError):
        following.refresh()
    assert _offered(tmp_path) == offered
    following.require(0.0)
    state = following.to_json()
    assert (state["state"], state["code"]) == ("down", "pacs-down")
    assert state["hint"]
    # A server that starts meanwhile has the list of the one before it.
    again = _following(tmp_path, proxy)
    again.require(0.0)
    assert again.to_json()["offered"] == state["offered"]


def test_an_archive_that_goes_down_at_the_first_look_gives_what_it_has_told(proxy, filled, tmp_path: Path) -> None:
    def after_one(answer) -> None:
        if answer.path.endswith("/metadata"):
            proxy.change = _down

    proxy.change = after_one
    following = _following(tmp_path, proxy)
    with pytest.raises(PacsError):
        following.refresh()
    assert following.to_json()["not_looked_at"] > 0
    proxy.change = lambda _: None
    following.refresh()
    assert following.to_json()["not_looked_at"] == 0
    assert _identifier(filled["chest"]) in _offered(tmp_path)


def test_without_any_list_the_error_is_that_of_the_archive(proxy, tmp_path: Path) -> None:
    proxy.change = _down
    following = _following(tmp_path, proxy)
    following.start()
    try:
        with pytest.raises(PacsDownError):
            following.require(120.0)
    finally:
        following.close()


def test_it_goes_on_by_itself_and_comes_back(proxy, filled, tmp_path: Path) -> None:
    proxy.change = _down
    following = _following(tmp_path, proxy)
    following.start()
    try:
        with pytest.raises(PacsError):
            following.require(120.0)
        proxy.change = lambda _: None
        _until(lambda: _identifier(filled["chest"]) in _offered(tmp_path))
        proxy.change = _down
        _until(lambda: following.to_json()["state"] == "down")
        following.require(0.0)
    finally:
        following.close()


def _until(condition) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_more_image_is_another_series_to_fetch(proxy, filled, tmp_path: Path) -> None:
    files = make_chest(tmp_path / "made")
    push(proxy.upstream, files)
    following = _following(tmp_path / "studies", proxy)
    following.refresh()
    push(proxy.upstream, [added_slice(files, tmp_path)])
    for _ in range(2):
        following.refresh()
    assert read_record(tmp_path / "studies" / _identifier(files)).instances == 13
