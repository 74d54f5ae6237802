"""Series fetched from a real archive: whole or not at all, whatever happens on the way."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from archive_maker import ENVIRONMENT, IMPATIENT, added_slice, make_chest, push, series_of, settings_of
from volume_maker import phantom

from covid_bert.errors import CancelledError, CovidBertError, NotFoundError, OutputError
from covid_bert.pacs.dicomweb import Pacs
from covid_bert.pacs.errors import PacsAnswerError, PacsArrivingError, PacsDownError
from covid_bert.pacs.kept import IMAGES, Kept, SeriesRecord, identifier_of_series
from covid_bert.pacs.retrieval import bring
from covid_bert.pacs.settings import write_settings
from covid_bert.progress import Progress
from covid_bert.volumes import read
from covid_bert.volumes.study_files import state_files

pytestmark = pytest.mark.server


class Fetching:
    """A folder of an archive with one study that is offered and not here yet."""

    def __init__(self, folder: Path, proxy, files: list[Path]) -> None:
        self.folder, self.proxy, self.files = folder, proxy, files
        self.study, self.series = series_of(files)
        self.kept = Kept(folder)
        self.image = folder / identifier_of_series(self.series)
        write_settings(folder, settings_of(proxy.address))
        self.offer(len(files))

    def offer(self, instances: int) -> None:
        self.kept.offer(SeriesRecord(study=self.study, series=self.series, instances=instances))

    def bring(self, progress: Progress | None = None) -> None:
        bring(self.image, progress, lambda settings: Pacs(settings, IMPATIENT, environment=ENVIRONMENT))

    def fails(self, kind: type[CovidBertError], progress: Progress | None = None) -> None:
        """Fetching fails, leaves nothing behind, and succeeds as soon as nothing is in its way."""
        with pytest.raises(kind):
            self.bring(progress)
        assert not (self.image / IMAGES).exists()
        assert not list((self.folder / ".pacs" / "incoming").glob("*"))

    def on_image(self, number: int, act) -> None:
        """Let something happen with the answer that holds the image of that number."""
        lock, seen = threading.Lock(), []

        def change(answer) -> None:
            if "/instances/" in answer.path:
                with lock:
                    seen.append(answer.path)
                    mine = len(seen) == number
                if mine:
                    act(answer)

        self.proxy.change = change


@pytest.fixture
def fetching(proxy, tmp_path: Path) -> Fetching:
    files = make_chest(tmp_path / "made")
    push(proxy.upstream, files)
    folder = tmp_path / "studies"
    folder.mkdir()
    return Fetching(folder, proxy, files)


def test_a_series_is_fetched_once_and_read(fetching) -> None:
    told: list[tuple[str, float]] = []
    fetching.bring(Progress(lambda stage, fraction: told.append((stage, fraction))))
    volume = read(fetching.image)
    np.testing.assert_array_equal(volume.array, phantom())
    assert told[-1] == ("fetching images", 1.0)
    assert fetching.image.name not in str(fetching.series)
    asked = len(fetching.proxy.asked)
    fetching.bring()
    assert len(fetching.proxy.asked) == asked, "it is here"


def test_what_stands_for_a_study_stays_while_its_images_come_and_go(fetching) -> None:
    before = [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in state_files(fetching.image)]
    fetching.bring()
    fetching.kept.drop(fetching.image)
    assert not (fetching.image / IMAGES).exists()
    fetching.bring()
    after = [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in state_files(fetching.image)]
    assert before == after


def test_a_study_that_is_not_of_an_archive_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    bring(tmp_path / "study")
    bring(tmp_path / "study.nii.gz")


def test_two_who_want_one_series_fetch_it_once(fetching) -> None:
    threads = [threading.Thread(target=fetching.bring) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert (fetching.image / IMAGES).is_dir()
    asked = Counter(path for path in fetching.proxy.asked if "/instances/" in path)
    assert len(asked) == 12
    assert set(asked.values()) == {1}


def test_a_connection_that_breaks_off_is_tried_again(fetching) -> None:
    fetching.on_image(4, lambda answer: setattr(answer, "cut", 1000))
    fetching.bring()
    assert len(list((fetching.image / IMAGES).iterdir())) == 12


def test_an_archive_that_goes_down_midway_leaves_nothing(fetching) -> None:
    def down(answer) -> None:
        fetching.proxy.upstream = "http://127.0.0.1:9"

    working = fetching.proxy.upstream
    fetching.on_image(5, down)
    fetching.fails(PacsDownError)
    fetching.proxy.upstream = working
    fetching.bring()


def test_images_that_arrive_meanwhile_make_it_wait(fetching, tmp_path: Path) -> None:
    more = added_slice(fetching.files, tmp_path)
    fetching.on_image(3, lambda _: push(fetching.proxy.upstream, [more]))
    fetching.fails(PacsArrivingError)
    fetching.fails(PacsArrivingError)
    fetching.offer(13)
    fetching.bring()
    assert read(fetching.image).array.shape[0] == 13


def test_a_record_that_changes_meanwhile_makes_it_wait(fetching) -> None:
    def changed(answer) -> None:
        record = SeriesRecord(study=fetching.study, series=fetching.series, instances=99)
        (fetching.image / ".series.json").write_text(record.model_dump_json())

    assert fetching.kept.offer(SeriesRecord(study=fetching.study, series=fetching.series, instances=12))
    fetching.on_image(2, changed)
    fetching.fails(PacsArrivingError)


def test_nothing_is_changed_while_a_series_is_fetched(fetching) -> None:
    changed: list[bool] = []
    record = SeriesRecord(study=fetching.study, series=fetching.series, instances=13)
    fetching.on_image(2, lambda _: changed.append(fetching.kept.offer(record)))
    fetching.bring()
    assert changed == [False]
    assert fetching.kept.offer(record)
    assert not (fetching.image / IMAGES).exists(), "the images of before are not those of the series any more"


def test_another_image_than_was_asked_for_is_refused(fetching, filled, tmp_path: Path) -> None:
    other: list[bytes] = []

    def exchange(answer) -> None:
        if "/instances/" in answer.path:
            other.append(answer.body)
            answer.body = other[0]

    fetching.proxy.change = exchange
    fetching.fails(PacsAnswerError)


def test_a_series_that_has_gone_is_not_found(fetching) -> None:
    record = SeriesRecord(study=fetching.study, series="1.2.3.4", instances=12)
    fetching.kept.offer(record)
    fetching.image = fetching.folder / identifier_of_series("1.2.3.4")
    fetching.fails(NotFoundError)


def test_cancelling_ends_it_between_two_images(fetching) -> None:
    progress = Progress()
    fetching.on_image(2, lambda _: progress.cancel())
    fetching.fails(CancelledError, progress)


def test_a_full_disk_is_said_before_and_on_the_way(fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [10**12, 0]
    monkeypatch.setattr("covid_bert.pacs.kept.free_bytes", lambda _: 10)
    fetching.fails(OutputError)
    monkeypatch.setattr("covid_bert.pacs.kept.free_bytes", lambda _: 10**12)
    monkeypatch.setattr("covid_bert.pacs.retrieval.free_bytes", lambda _: free.pop(0) if len(free) > 1 else 0)
    fetching.fails(OutputError)
