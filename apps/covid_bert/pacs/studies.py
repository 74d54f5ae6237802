"""MONAI Label's datastore for an archive: its chest CT series as studies, with their labels in a folder here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from covid_bert.datastore.names import LabelTag
from covid_bert.datastore.store import StudyDatastore
from covid_bert.pacs.dicomweb import Pacs
from covid_bert.pacs.following import Following
from covid_bert.pacs.retrieval import bring
from covid_bert.pacs.settings import PacsSettings, read_settings
from covid_bert.progress import Progress

_FIRST_LIST_SECONDS = 10.0


class PacsStudies(StudyDatastore):
    """What an archive offers is a study like any other; its images are fetched when they are needed.

    Parameters
    ----------
    path
        Folder with the studies.
    settings
        The archive.
    auto_reload, read_only
        As for `StudyDatastore`. One that only reads does not follow the archive's list.
    open_pacs
        Opens the archive.
    """

    def __init__(
        self,
        path: str,
        settings: PacsSettings,
        *,
        auto_reload: bool = True,
        read_only: bool = False,
        open_pacs: Callable[[PacsSettings], Pacs] = Pacs,
    ) -> None:
        super().__init__(path, auto_reload=auto_reload, read_only=read_only)
        self._open_pacs = open_pacs
        self._following = None if read_only else Following(self._folder, settings, open_pacs(settings))
        if self._following is not None:
            self._following.start()

    def close(self) -> None:
        """End following the list; as `StudyDatastore.close`."""
        if self._following is not None:
            self._following.close()
        super().close()

    def archive_state(self) -> dict[str, Any] | None:
        """Return how the archive is, and the age of its list; see `Following.to_json`."""
        return None if self._following is None else self._following.to_json()

    def list_images(self) -> list[str]:
        """Return the ids of all studies.

        Raises
        ------
        PacsError
            If the archive has never told its list.
        """
        self._require_list()
        return super().list_images()

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """As `StudyDatastore.get_labeled_images`; errors as in `list_images`."""
        self._require_list()
        return super().get_labeled_images(label_tag, labels)

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """As `StudyDatastore.get_unlabeled_images`; errors as in `list_images`."""
        self._require_list()
        return super().get_unlabeled_images(label_tag, labels)

    def status(self) -> dict[str, Any]:
        """Return how many studies and labels there are, and how the archive is; errors as in `list_images`."""
        self._require_list()
        return {**super().status(), **self._archive()}

    def json(self) -> dict[str, Any]:
        """Return the whole list in MONAI Label's form; errors as in `list_images`."""
        self._require_list()
        return {**super().json(), **self._archive()}

    def listing(self) -> bytes:
        """Return `json` as JSON text; errors as in `list_images`."""
        self._require_list()
        # The long list is made once for each change, the archive's state for each request.
        state = json.dumps(self._archive()).encode()
        return super().listing() if state == b"{}" else super().listing()[:-1] + b", " + state[1:]

    def image_with_files(self, image_id: str, progress: Progress | None = None) -> Path | None:
        """Return the path of an image whose files are there: those of the archive are fetched; see `bring`."""
        image = super().image_with_files(image_id, progress)
        if image is not None:
            bring(image, progress, self._open_pacs)
        return image

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """As `StudyDatastore.get_dataset_archive`; images that are not here are fetched."""
        for identifier in self.get_labeled_images(LabelTag.FINAL)[: limit_cases or None]:
            self.image_with_files(identifier)
        return super().get_dataset_archive(limit_cases)

    def _archive(self) -> dict[str, Any]:
        state = self.archive_state()
        return {} if state is None else {"archive": state}

    def _require_list(self) -> None:
        if self._following is not None:
            self._following.require(_FIRST_LIST_SECONDS)


def open_studies(path: str, *, auto_reload: bool, read_only: bool) -> StudyDatastore:
    """Open a folder of studies, whether they are its own or an archive's.

    Parameters
    ----------
    path, auto_reload, read_only
        As for `StudyDatastore`.
    """
    settings = read_settings(Path(path))
    if settings is None:
        return StudyDatastore(path, auto_reload=auto_reload, read_only=read_only)
    return PacsStudies(path, settings, auto_reload=auto_reload, read_only=read_only)


def bring_labelled(studies: Path, progress: Progress) -> None:
    """Fetch the images of all labelled studies of an archive that are not here, for a training.

    Parameters
    ----------
    studies
        Folder with the studies; nothing is done for one that is no archive's.
    progress
        May cancel.

    Raises
    ------
    CovidBertError
        As `bring`.
    """
    settings = read_settings(studies)
    if settings is None:
        return
    store = PacsStudies(str(studies), settings, auto_reload=False, read_only=True)
    labelled = {identifier for tag in LabelTag for identifier in store.get_labeled_images(tag)}
    for identifier in sorted(labelled):
        store.image_with_files(identifier, progress)
