"""Labels: the newest version lies where MONAI Label keeps labels; all of them lie in `versions`.

All functions here need the index's lock, which `Index.changing` holds.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from covid_bert.datastore.index import Draft, Entry
from covid_bert.datastore.information import without_reserved
from covid_bert.datastore.names import MASK_SUFFIXES, LabelTag, split_name
from covid_bert.datastore.scan import STUDY_LABEL_SUFFIX
from covid_bert.datastore.versions import UNKNOWN_AUTHOR, Version, Versions
from covid_bert.datastore.view import View
from covid_bert.files import is_temporary, replacing, sync
from covid_bert.weights.files import sha256_of

_LONGEST_INFO = 8192


class Labels:
    """Saves, publishes and removes labels.

    Parameters
    ----------
    folder
        Folder of the labels.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.versions = Versions(folder)

    def save(
        self, draft: Draft, view: View, identifier: str, tag: LabelTag, file: Path, suffix: str, info: dict[str, Any]
    ) -> Version:
        """Keep a file as the newest version of a label, and publish it.

        Parameters
        ----------
        draft, view
            The index that is being changed, and what is offered.
        identifier, tag
            Study and kind of label.
        file, suffix
            The label, and the suffix that it is kept with.
        info
            What the client sent along; ``user`` is the author.

        Raises
        ------
        OSError
            If it cannot be written. The label is then as it was before.
        """
        for name in view.label_names[tag].get(identifier, ()):
            self._adopt(identifier, tag, self._folder / tag.value / name)
        version = self.versions.add(tag, identifier, file, suffix, _author(info), info)
        try:
            self.publish(draft, view, identifier, version, tag)
        except OSError:
            self.versions.discard(tag, identifier, version)
            raise
        return version

    def publish(self, draft: Draft, view: View, identifier: str, version: Version, tag: LabelTag) -> None:
        """Make a version the one that is offered."""
        folder = self._folder / tag.value
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{identifier}{version.suffix}"
        if not (target.is_file() and target.stat().st_size == version.size and sha256_of(target) == version.sha256):
            with replacing(target) as temporary:
                shutil.copyfile(self.versions.path(tag, identifier, version), temporary)
        entry = _own_entry(draft, view, identifier)
        entry["labels"][tag.value] = {"ext": version.suffix, "info": _published_info(version, target.name)}
        draft.objects[identifier] = entry
        for name in self._names(view, identifier, tag) - {target.name}:
            (folder / name).unlink(missing_ok=True)

    def take_back(self, draft: Draft, view: View, identifier: str, version: Version, tag: LabelTag) -> None:
        """Undo a `save` whose index could not be written."""
        self.versions.discard(tag, identifier, version)
        newest = self.versions.newest(tag, identifier)
        if newest is None or newest.removed:
            self._unpublish(draft, view, identifier, tag)
        else:
            self.publish(draft, view, identifier, newest, tag)

    def remove(self, draft: Draft, view: View, identifier: str, tag: LabelTag, author: str) -> None:
        """Take a label away; its versions stay, and who took it away is noted."""
        for name in view.label_names[tag].get(identifier, ()):
            self._adopt(identifier, tag, self._folder / tag.value / name)
        self.versions.add_removal(tag, identifier, author)
        self._unpublish(draft, view, identifier, tag)

    def erase(self, view: View, identifier: str) -> None:
        """Remove all labels of a study, with all versions."""
        for tag in LabelTag:
            for name in self._names(view, identifier, tag):
                (self._folder / tag.value / name).unlink(missing_ok=True)
        self.versions.forget(identifier)

    def recover(self, draft: Draft, view: View) -> None:
        """Finish what was cut off: publish versions that the index does not know, remove half-written files."""
        for tag in LabelTag:
            # Written only under the lock, which is held now: whatever is there was left behind.
            for path in filter(is_temporary, (self._folder / tag.value).glob(".*")):
                path.unlink()
        for tag, identifier in list(self.versions.labels()):
            self.versions.tidy(tag, identifier)
            self._settle(draft, view, identifier, tag)

    def merge(
        self, draft: Draft, view: View, identifier: str, tag: LabelTag, others: Sequence[tuple[Version, Path | None]]
    ) -> int:
        """Add versions that were saved elsewhere, and publish the newest of all; nothing is lost or replaced.

        Parameters
        ----------
        draft, view
            The index that is being changed, and what is offered.
        identifier, tag
            Study and kind of label.
        others
            Records with their files (None for removals). Those that are there already are passed over.

        Returns
        -------
        int
            How many were added.

        Raises
        ------
        OSError
            If they cannot be written. Those that were stay; merging once more completes them.
        """
        for name in view.label_names[tag].get(identifier, ()):
            self._adopt(identifier, tag, self._folder / tag.value / name)
        known = {version.identity for version in self.versions.history(tag, identifier)}
        added = sorted((other for other in others if other[0].identity not in known), key=lambda other: other[0].time)
        for version, file in added:
            self.versions.append(tag, identifier, version, file)
        history = self.versions.history(tag, identifier)
        newest = max(history, key=lambda version: (version.time, version.number), default=None)
        if newest is not None and newest.identity != history[-1].identity:
            # What has the highest number is what is offered: it is noted once more, behind those that came.
            file = None if newest.removed else self.versions.path(tag, identifier, newest)
            self.versions.append(tag, identifier, newest, file)
        self._settle(draft, view, identifier, tag)
        return len(added)

    def _settle(self, draft: Draft, view: View, identifier: str, tag: LabelTag) -> None:
        """Offer the newest version of a label, if it is not yet."""
        newest = self.versions.newest(tag, identifier)
        if newest is None or identifier not in view.studies:
            return
        label = draft.objects.get(identifier, {}).get("labels", {}).get(tag.value)
        published = label["info"].get("version", 0) if label is not None else 0
        present = identifier in view.label_names[tag]
        if newest.removed:
            if label is not None or present:
                self._unpublish(draft, view, identifier, tag)
        elif published < newest.number or not present:
            self.publish(draft, view, identifier, newest, tag)

    def _adopt(self, identifier: str, tag: LabelTag, path: Path) -> None:
        """Keep a file that was put there by others as a version, before it is replaced."""
        if not path.is_file() or path.stat().st_size == 0:
            return
        sha256 = sha256_of(path)
        if all(version.sha256 != sha256 for version in self.versions.history(tag, identifier)):
            suffixes = (STUDY_LABEL_SUFFIX,) if tag is LabelTag.STUDY else MASK_SUFFIXES
            self.versions.add(tag, identifier, path, split_name(path.name, suffixes)[1], UNKNOWN_AUTHOR, {})

    def _unpublish(self, draft: Draft, view: View, identifier: str, tag: LabelTag) -> None:
        for name in self._names(view, identifier, tag):
            (self._folder / tag.value / name).unlink(missing_ok=True)
        entry = _own_entry(draft, view, identifier)
        entry["labels"].pop(tag.value, None)
        draft.objects[identifier] = entry
        if (self._folder / tag.value).is_dir():
            sync(self._folder / tag.value)

    def _names(self, view: View, identifier: str, tag: LabelTag) -> set[str]:
        """Names that files of a label may have."""
        suffixes = (STUDY_LABEL_SUFFIX,) if tag is LabelTag.STUDY else MASK_SUFFIXES
        return {*view.label_names[tag].get(identifier, ()), *(f"{identifier}{suffix}" for suffix in suffixes)}


def _own_entry(draft: Draft, view: View, identifier: str) -> Entry:
    """Return a copy of a study's entry, made from its file if the index does not have it yet."""
    known = draft.objects.get(identifier)
    return copy.deepcopy(known if known is not None else view.entries[identifier])


def _author(info: dict[str, Any]) -> str:
    user = info.get("user")
    if isinstance(user, str) and user:
        return user[:128]
    return f"model {info['model']}"[:128] if isinstance(info.get("model"), str) else UNKNOWN_AUTHOR


def _published_info(version: Version, name: str) -> dict[str, Any]:
    """What the list shows of a version: long information stays in its record."""
    info = without_reserved(version.info)
    if len(json.dumps(info)) > _LONGEST_INFO:
        params = info.get("params")
        names = params.get("label_names") if isinstance(params, dict) else None
        info = {} if names is None or len(json.dumps(names)) > _LONGEST_INFO else {"params": {"label_names": names}}
    return {
        **info,
        "ts": int(datetime.fromisoformat(version.created).timestamp()),
        "name": name,
        "version": version.number,
        "author": version.author,
        "sha256": version.sha256,
    }
