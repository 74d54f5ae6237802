"""The reading half of the datastore: what MONAI Label asks of the studies. Nothing here writes."""

from __future__ import annotations

import copy
import io
from abc import ABC
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore

from covid_bert.datastore.index import LABELS_NAME, Entry
from covid_bert.datastore.names import LabelTag
from covid_bert.datastore.versions import Version
from covid_bert.datastore.writing import Writing
from covid_bert.errors import NotFoundError


class OfferedStudies(Datastore, ABC):
    """Lists and hands out the studies of a folder.

    Parameters
    ----------
    folder
        Folder with the studies; exists.
    writing
        Its changes, and the live view of what is offered.
    """

    def __init__(self, folder: Path, writing: Writing) -> None:
        self._folder = folder
        self._writing = writing
        self._view = writing.live

    def name(self) -> str:
        """Return the data set's name."""
        return self._view.get().snapshot.name

    def description(self) -> str:
        """Return the data set's description."""
        return self._view.get().snapshot.description

    def datalist(self) -> list[dict[str, Any]]:
        """Return the paths of images and final labels, for training."""
        final, view = LabelTag.FINAL.value, self._view.get()
        return [
            {
                "image": str(self._folder / view.studies[identifier].name),
                "label": self._label_path(final, entry["labels"][final]),
            }
            for identifier, entry in view.entries.items()
            if final in entry["labels"]
        ]

    def training_list(self) -> list[dict[str, str]]:
        """Return `datalist` with names inside the folder of studies in place of paths, for clients."""
        return [
            {part: Path(path).relative_to(self._folder).as_posix() for part, path in pair.items()}
            for pair in self.datalist()
        ]

    def list_images(self) -> list[str]:
        """Return the ids of all studies."""
        return list(self._view.get().studies)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:  # noqa: ARG002
        """Return the ids of the studies with a label under a tag, else with a final one."""
        tag = text_of(label_tag or LabelTag.FINAL)
        return [key for key, entry in self._view.get().entries.items() if tag in entry["labels"]]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:  # noqa: ARG002
        """Return the ids of the studies without a label under a tag, else without a final one."""
        tag = text_of(label_tag or LabelTag.FINAL)
        return [key for key, entry in self._view.get().entries.items() if tag not in entry["labels"]]

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Return the label's id, which is the study's, by tag."""
        return dict.fromkeys(self._entry(image_id)["labels"], image_id)

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Return the label's id; empty if there is none."""
        return self.get_labels_by_image_id(image_id).get(text_of(tag), "")

    def get_image(self, image_id: str, params: Any = None) -> Any:  # noqa: ARG002
        """Return the bytes of an image's file; None for unknown ids and folders."""
        path = self.get_image_uri(image_id)
        return io.BytesIO(Path(path).read_bytes()) if path and Path(path).is_file() else None

    def get_image_uri(self, image_id: str) -> str:
        """Return the path of an image; empty for an unknown id."""
        found = self._view.get().studies.get(image_id)
        return str(self._folder / found.name) if found is not None else ""

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """Return what is known of an image; empty for an unknown id."""
        path = self.get_image_uri(image_id)
        return {**copy.deepcopy(self._entry(image_id)["image"]["info"]), "path": path} if path else {}

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> Any:  # noqa: ARG002
        """Return the bytes of a label's file; None if there is none."""
        path = self.get_label_uri(label_id, label_tag)
        return io.BytesIO(Path(path).read_bytes()) if path else None

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Return the path of a label; empty if there is none."""
        label = self._label(label_id, label_tag)
        return self._label_path(text_of(label_tag), label) if label else ""

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Return what is known of a label, also what the list leaves out; empty if there is none."""
        label = self._label(label_id, label_tag)
        if not label:
            return {}
        number = label["info"].get("version")
        versions = self.versions(label_id, label_tag)
        sent = next((version.info for version in versions if version.number == number), {})
        return {**sent, **copy.deepcopy(label["info"])}

    def versions(self, label_id: str, label_tag: str) -> list[Version]:
        """Return all versions of a label, the first one first.

        Raises
        ------
        NotFoundError
            If there is no such study or tag.
        """
        return self._writing.labels.versions.history(tag_of(label_tag), self._known(label_id))

    def version_path(self, label_id: str, label_tag: str, number: int) -> Path:
        """Return the file of one version, which never changes.

        Raises
        ------
        NotFoundError
            If there is none.
        """
        tag, identifier = tag_of(label_tag), self._known(label_id)
        versions = self._writing.labels.versions
        return versions.path(tag, identifier, versions.find(tag, identifier, number))

    def status(self) -> dict[str, Any]:
        """Return how many studies and labels there are."""
        entries = self._view.get().entries
        tags: dict[str, int] = {}
        for entry in entries.values():
            for tag in entry["labels"]:
                tags[tag] = tags.get(tag, 0) + 1
        return {"total": len(entries), "completed": tags.get(LabelTag.FINAL.value, 0), "label_tags": tags}

    def json(self) -> dict[str, Any]:
        """Return the whole list in MONAI Label's form."""
        return self._view.get().to_json()

    def listing(self) -> bytes:
        """Return `json` as JSON text, which is made once for each change."""
        return self._view.get().listing

    def refresh(self) -> None:
        """Look at the folder again."""
        self._view.refresh()

    def _knows(self, identifier: str) -> bool:
        return identifier in self._view.get().studies

    def _known(self, identifier: str) -> str:
        if not self._knows(identifier):
            raise NotFoundError("The server has no study with that id.", "Ask for the list with GET /datastore/.")
        return identifier

    def _entry(self, identifier: str) -> Entry:
        return self._view.get().entries.get(identifier, {"image": {"ext": "", "info": {}}, "labels": {}})

    def _label(self, identifier: str, tag: str) -> Entry | None:
        label: Entry | None = self._entry(identifier)["labels"].get(text_of(tag))
        return label

    def _label_path(self, tag: str, label: Entry) -> str:
        return str(self._folder / LABELS_NAME / tag / label["info"]["name"])


def text_of(tag: str) -> str:
    """Return a tag's text: MONAI Label hands tags on as members of its own enumeration too."""
    return str(getattr(tag, "value", tag))


def tag_of(tag: str) -> LabelTag:
    """Return the tag with that text.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    try:
        return LabelTag(text_of(tag))
    except ValueError:
        raise NotFoundError("There is no such tag.", "Tags are final, original and study.") from None
