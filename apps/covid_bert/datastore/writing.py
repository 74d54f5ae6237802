"""Everything that changes the folder of studies: under the lock, each change whole or not at all."""

from __future__ import annotations

import contextlib
import copy
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from covid_bert.datastore.checks import GridCheck, MaskCheck, Turns, check_image
from covid_bert.datastore.detached import remove_voxels
from covid_bert.datastore.index import LABELS_NAME, Draft, Entry, Index, Snapshot
from covid_bert.datastore.information import IMAGE_BYTES, checked, without_reserved
from covid_bert.datastore.labels import Labels
from covid_bert.datastore.mask_names import named_values, renamed
from covid_bert.datastore.names import LabelTag
from covid_bert.datastore.scan import STUDY_LABEL_SUFFIX
from covid_bert.datastore.study_labels import StudyLabel
from covid_bert.datastore.uploads import Staging, free_identifier, known_content
from covid_bert.datastore.versions import Version
from covid_bert.datastore.view import LiveView, View
from covid_bert.errors import ConflictError, CovidBertError, NotFoundError, OutputError
from covid_bert.files import is_temporary, sync
from covid_bert.weights.files import sha256_of

logger = logging.getLogger(__name__)
_REMOVED_PREFIX = ".removed-"


class Writing:
    """Changes to one folder.

    Parameters
    ----------
    folder
        Folder with the studies; exists.
    follow
        See `LiveView`.
    """

    def __init__(self, folder: Path, *, follow: bool) -> None:
        self._folder = folder
        self._index = Index(folder)
        self.live = LiveView(folder, self._index, follow=follow)
        self.labels = Labels(folder / LABELS_NAME)
        self._staging = Staging(folder)
        self.check_mask: MaskCheck = GridCheck().check
        self._turns = Turns()

    def recover(self) -> None:
        """Finish or undo what a kill or power failure has cut off.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        removed = list(self._folder.glob(f"{_REMOVED_PREFIX}*"))
        with self._changing() as (draft, view):
            self._staging.sweep()
            for path in self._folder.glob(".*"):
                if is_temporary(path):
                    path.unlink()
            for path in removed:
                self._forget(draft, view, path.name.removeprefix(_REMOVED_PREFIX))
            self.labels.recover(draft, view)
        for path in removed:
            remove_voxels(path)
            _delete(path)

    def close(self) -> None:
        """Remove this process's folder of unfinished uploads."""
        self._staging.close()

    def describe(self, *, name: str | None = None, description: str | None = None) -> None:
        """Set the data set's name or description."""
        with self._changing() as (draft, _):
            draft.name = draft.name if name is None else name
            draft.description = draft.description if description is None else description

    def add_image(self, wanted: str, file: Path, suffix: str, info: dict[str, Any], *, chosen: bool) -> str:
        """Add an image.

        Parameters
        ----------
        wanted, chosen
            Its id, and whether the user chose it; see `free_identifier`.
        file, suffix
            The image, and the suffix of its format.
        info
            What the client says of it.

        Returns
        -------
        str
            The id of the study with this content, an older one if it is known already.

        Raises
        ------
        UnreadableFileError
            If it is damaged.
        ConflictError
            If the chosen id is that of another image.
        OutputError
            If it cannot be written.
        """
        check_image(file, suffix)
        with _stored(), self._staging.file(suffix) as staged:
            shutil.copyfile(file, staged)
            sync(staged)
            content = (staged.stat().st_size, sha256_of(staged))
            # Hashes of others are computed here, not under the lock.
            known_content(self._folder, content, self.live.get().studies, self._index.current().objects)
            with self._changing() as (draft, view):
                known = known_content(self._folder, content, view.studies, draft.objects)
                if known is not None:
                    return known
                identifier = free_identifier(wanted, content[1], view.studies, draft.objects, chosen=chosen)
                target = self._folder / f"{identifier}{suffix}"
                if target.exists():
                    raise ConflictError("A file has that name already.", "Choose another id.")
                facts = {"ts": int(staged.stat().st_mtime), "name": target.name, "sha256": content[1]}
                facts["file_time"] = staged.stat().st_mtime_ns
                staged.replace(target)
                sync(self._folder)
                labels = draft.objects.get(identifier, {}).get("labels", {})
                draft.objects[identifier] = {
                    "image": {"ext": suffix, "info": {**without_reserved(info), **facts}},
                    "labels": labels,
                }
                return identifier

    def remove_image(self, identifier: str) -> None:
        """Remove a study with everything that is kept of it; cut off, it is finished at the next start."""
        hidden = self._folder / f"{_REMOVED_PREFIX}{identifier}"
        with self._changing() as (draft, view):
            if identifier not in view.studies:
                raise _removed()
            # From here on the study is gone, and its labels must go too.
            _delete(hidden)
            (self._folder / view.studies[identifier].name).replace(hidden)
            sync(self._folder)
            self._forget(draft, view, identifier)
        with _stored():
            remove_voxels(hidden)
            _delete(hidden)

    def save_mask(
        self, identifier: str, image: Path, tag: LabelTag, file: Path, suffix: str, info: dict[str, Any]
    ) -> Version:
        """Keep a mask as the newest version, with our own labels where its information says what its values mean.

        Raises
        ------
        InputError
            If it does not fit its image or its information; see `GridCheck.check`.
        ParameterError
            If its information does not say which value is which structure.
        BusyError
            If too many masks wait for their check.
        NotFoundError
            If the study was removed meanwhile.
        OutputError
            If it cannot be written; the label is then as before.
        """
        values = named_values(info)
        if values is None:
            with self._turns.take():
                self.check_mask(file, image, None)
            return self._save(identifier, tag, file, suffix, info)
        with _stored(), self._staging.file(suffix) as staged:
            # It may be written again, and the client's file is not ours.
            shutil.copyfile(file, staged)
            with self._turns.take():
                self.check_mask(staged, image, values)
            return self._save(identifier, tag, staged, suffix, renamed(info, values))

    def save_study_label(self, identifier: str, label: StudyLabel, author: str) -> Version:
        """Keep a study label as the newest version; errors as in `save_mask`."""
        with _stored(), self._staging.file(STUDY_LABEL_SUFFIX) as staged:
            staged.write_text(label.model_dump_json(), encoding="utf-8")
            return self._save(identifier, LabelTag.STUDY, staged, STUDY_LABEL_SUFFIX, {"user": author})

    def remove_label(self, identifier: str, tag: LabelTag, author: str) -> None:
        """Take a label away; its versions stay."""
        with self._changing() as (draft, view):
            self.labels.remove(draft, view, identifier, tag, author)

    def update(self, identifier: str, part: Callable[[Entry], Entry], info: dict[str, Any]) -> None:
        """Add to what is known of a part of a study.

        Raises
        ------
        ParameterError
            If all of it together would be too long.
        NotFoundError
            If it was removed meanwhile.
        """
        with self._changing() as (draft, view):
            entry = copy.deepcopy(view.entries.get(identifier) or {"labels": {}})
            try:
                described = part(entry)
            except KeyError:
                raise _removed() from None
            described["info"].update(without_reserved(info))
            checked(described["info"], IMAGE_BYTES)
            draft.objects[identifier] = entry

    def _save(self, identifier: str, tag: LabelTag, file: Path, suffix: str, info: dict[str, Any]) -> Version:
        version: Version | None = None
        try:
            with self._changing() as (draft, view):
                if identifier not in view.studies:
                    raise _removed()
                version = self.labels.save(draft, view, identifier, tag, file, suffix, info)
        except OutputError:
            if version is not None:
                with contextlib.suppress(CovidBertError), self._changing() as (draft, view):
                    self.labels.take_back(draft, view, identifier, version, tag)
            raise
        return version

    def _forget(self, draft: Draft, view: View, identifier: str) -> None:
        self.labels.erase(view, identifier)
        draft.objects.pop(identifier, None)

    @contextmanager
    def _changing(self) -> Iterator[tuple[Draft, View]]:
        """Hold the lock; yield the index and what is offered, both as they are now."""
        with _stored():
            with self._index.changing() as draft:
                seen = self.live.refresh()
                # Of the draft, not of the file: a damaged one has just been kept aside.
                known = Snapshot(dict(draft.objects), draft.name, draft.description)
                yield draft, View(known, seen.studies, seen.label_names)
            self.live.outdate()


@contextmanager
def _stored() -> Iterator[None]:
    """Turn errors of the operating system into typed ones."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"The studies' folder cannot be written: {error.strerror}.",
            "The operator must make room on its disk, or allow the server's user to write there.",
        ) from error


def _removed() -> NotFoundError:
    return NotFoundError("The study or label was removed meanwhile.", "Ask for the list with GET /datastore/.")


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
