"""An archive as a datastore: labels, trainings and data sets work on studies whose images are elsewhere."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from archive_maker import ENVIRONMENT, IMPATIENT, make_chest, push, series_of, settings_of

from covid_bert.datastore.label_set import read_label_set
from covid_bert.datastore.study_labels import StudyLabel
from covid_bert.errors import CovidBertError, NotFoundError
from covid_bert.pacs.dicomweb import Pacs
from covid_bert.pacs.errors import PacsDownError
from covid_bert.pacs.kept import IMAGES, identifier_of_series
from covid_bert.pacs.settings import write_settings
from covid_bert.progress import Progress
from covid_bert.volumes import read, write_mask
from needed import require_module

pytestmark = pytest.mark.server

LABEL = StudyLabel(study_class="normal", certainty="probable", comment="")


class Opened:
    """A datastore on an archive with one chest CT of its own."""

    def __init__(self, folder: Path, proxy, files: list[Path]) -> None:
        from covid_bert.pacs.studies import PacsStudies

        settings = settings_of(proxy.address)
        self.folder, self.proxy, self.files = folder, proxy, files
        folder.mkdir()
        write_settings(folder, settings)
        self.identifier = identifier_of_series(series_of(files)[1])
        self.image = folder / self.identifier
        self.store = PacsStudies(str(folder), settings, open_pacs=self._open)

    @staticmethod
    def _open(settings) -> Pacs:
        return Pacs(settings, IMPATIENT, environment=ENVIRONMENT)

    @property
    def here(self) -> bool:
        return (self.image / IMAGES).is_dir()


@pytest.fixture(autouse=True)
def _monailabel() -> None:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")


@pytest.fixture
def opened(proxy, filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    files = make_chest(tmp_path / "made")
    push(proxy.upstream, files)
    opened = Opened(tmp_path / "studies", proxy, files)
    yield opened
    opened.store.close()


def _down(answer) -> None:
    answer.status = 503


def test_a_folder_is_opened_as_what_it_is(opened, tmp_path: Path) -> None:
    from covid_bert.datastore.store import StudyDatastore
    from covid_bert.pacs.studies import PacsStudies, open_studies

    again = open_studies(str(opened.folder), auto_reload=True, read_only=True)
    assert isinstance(again, PacsStudies)
    assert again.archive_state() is None, "who only reads does not follow the list"
    assert not isinstance(open_studies(str(tmp_path / "made"), auto_reload=True, read_only=True), PacsStudies)
    assert isinstance(again, StudyDatastore)


def test_what_is_listed_is_not_fetched_until_it_is_needed(opened) -> None:
    assert opened.identifier in opened.store.list_images()
    assert opened.identifier in opened.store.get_unlabeled_images()
    assert opened.store.get_image_info(opened.identifier)["name"] == opened.identifier
    assert opened.store.status()["archive"]["state"] == "ready"
    assert not opened.here
    assert opened.store.image_with_files(opened.identifier) == opened.image
    assert opened.here
    assert opened.store.image_with_files("nobody") is None


def test_a_mask_is_checked_against_images_that_are_fetched_for_it(opened, tmp_path: Path) -> None:
    volume = read(opened.files[0].parent)
    mask = write_mask((volume.array < -500).astype("uint8"), volume, tmp_path / "mask.nii.gz")
    opened.store.list_images()
    opened.store.save_label(opened.identifier, str(mask), "final", {"user": "anna"})
    assert opened.here
    assert opened.store.get_labeled_images() == [opened.identifier]
    path = Path(opened.store.get_dataset_archive(None))
    with zipfile.ZipFile(path) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".dcm")]) == 12
    path.unlink()


def test_a_training_fetches_what_is_labelled_and_nothing_else(opened, tmp_path: Path) -> None:
    from covid_bert.pacs.studies import bring_labelled

    others = set(opened.store.list_images()) - {opened.identifier}
    opened.store.save_study_label(opened.identifier, LABEL, "anna")
    assert not opened.here
    before = read_label_set(opened.folder, "newest", masks=False, cache=tmp_path / "cache")
    assert not before.studies
    assert [one.identifier for one in before.left_out] == [opened.identifier]
    bring_labelled(opened.folder, Progress())
    assert opened.here
    assert others
    assert not [name for name in others if (opened.folder / name / IMAGES).exists()]
    after = read_label_set(opened.folder, "newest", masks=False, cache=tmp_path / "cache")
    assert [study.identifier for study in after.studies] == [opened.identifier]


def test_a_training_without_its_archive_is_an_error_and_without_one_study_is_not(opened) -> None:
    from covid_bert.pacs.studies import bring_labelled

    opened.store.list_images()
    opened.store.save_study_label(opened.identifier, LABEL, "anna")
    opened.proxy.change = lambda answer: setattr(answer, "status", 404)
    bring_labelled(opened.folder, Progress())
    assert not opened.here
    with pytest.raises(NotFoundError):
        opened.store.image_with_files(opened.identifier)
    opened.proxy.change = lambda answer: setattr(answer, "status", 403)
    with pytest.raises(CovidBertError, match="refuses"):
        bring_labelled(opened.folder, Progress())


def test_without_any_list_every_question_is_answered_by_the_archives_state(proxy, tmp_path: Path) -> None:
    from covid_bert.pacs.studies import PacsStudies

    proxy.change = _down
    settings = settings_of(proxy.address)
    write_settings(tmp_path, settings)
    store = PacsStudies(str(tmp_path), settings, open_pacs=Opened._open)
    try:
        asks = (store.list_images, store.get_labeled_images, store.get_unlabeled_images, store.status, store.json)
        for ask in (*asks, store.listing):
            with pytest.raises(PacsDownError) as caught:
                ask()
            assert caught.value.http_status == 503
            assert caught.value.hint
    finally:
        store.close()
