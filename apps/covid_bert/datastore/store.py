"""MONAI Label's datastore for a folder of studies, safe for several writers and for power failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from covid_bert.datastore.archive import write_archive
from covid_bert.datastore.checks import MaskCheck
from covid_bert.datastore.forgetting import forget
from covid_bert.datastore.image_facts import hidden_patient
from covid_bert.datastore.index import Entry
from covid_bert.datastore.information import IMAGE_BYTES, LABEL_BYTES, checked
from covid_bert.datastore.names import (
    MASK_SUFFIXES,
    UPLOAD_SUFFIXES,
    LabelTag,
    check_identifier,
    check_mask_tag,
    identifier_of,
    required_suffix,
    split_name,
)
from covid_bert.datastore.opinions import open_split
from covid_bert.datastore.reading import OfferedStudies, tag_of, text_of
from covid_bert.datastore.study_labels import StudyLabel
from covid_bert.datastore.versions import Version
from covid_bert.datastore.writing import Writing
from covid_bert.errors import NotFoundError
from covid_bert.progress import Progress


class StudyDatastore(OfferedStudies):
    """Files with a known suffix, and each folder of DICOM files or slice images, are one study.

    The name without suffix is the id, or a hash follows it where the name could not be an id. Reading never writes.

    Parameters
    ----------
    path
        Folder with the studies; made if it is missing. Labels are kept in ``labels`` inside it.
    auto_reload
        Whether to notice files that others put there.
    read_only
        Whether to leave everything on disk alone.
    """

    def __init__(self, path: str, *, auto_reload: bool = True, read_only: bool = False) -> None:
        folder = Path(path).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, Writing(folder, follow=auto_reload))
        if not read_only:
            self._writing.recover()

    def close(self) -> None:
        """Remove this process's folder of unfinished uploads, at its end."""
        self._writing.close()

    def check_masks_with(self, check: MaskCheck) -> None:
        """Let something else than `GridCheck` in this process check masks that arrive.

        Parameters
        ----------
        check
            Called as ``check(mask, image, values)``, once at a time; raises what `GridCheck.check` raises.
        """
        self._writing.check_mask = check

    def set_name(self, name: str) -> None:
        """Set the data set's name."""
        self._writing.describe(name=name)

    def set_description(self, description: str) -> None:
        """Set the data set's description."""
        self._writing.describe(description=description)

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Write a zip file of all images with final labels, which the caller removes.

        Raises
        ------
        NotFoundError
            If no study has a final label.
        """
        return write_archive(self.datalist()[: limit_cases or None], self.listing())

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any] | None) -> str:
        """Add an image, and return its id. See `Writing.add_image` for the errors.

        Parameters
        ----------
        image_id
            The id that it shall have; empty for one that follows from the name.
        image_filename
            Path of the file; it is copied.
        image_info
            What the client says of it.
        """
        return self.add_image_named(image_id, Path(image_filename), Path(image_filename).name, image_info or {})

    def add_image_named(self, image_id: str, file: Path, name: str, info: dict[str, Any]) -> str:
        """Add an image whose file has another name here than the client gave it; as `add_image`."""
        suffix = required_suffix(name, UPLOAD_SUFFIXES)
        wanted = check_identifier(image_id) if image_id else identifier_of(split_name(name, (suffix,))[0])
        known = self._hidden(checked(info, IMAGE_BYTES))
        return self._writing.add_image(wanted, file, suffix, known, chosen=bool(image_id))

    def image_with_files(self, image_id: str, progress: Progress | None = None) -> Path | None:  # noqa: ARG002
        """Return the path of an image whose files are there; None for an unknown id.

        Parameters
        ----------
        image_id
            The study.
        progress
            Told how far fetching them is, where they come from elsewhere.
        """
        path = self.get_image_uri(image_id)
        return Path(path) if path else None

    def remove_image(self, image_id: str) -> None:
        """Remove an image with all its labels and their versions, and all that was derived from it.

        Raises
        ------
        NotFoundError
            If there is none with that id.
        """
        self._writing.remove_image(self._known(image_id))
        forget(self._folder)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any] | None) -> str:
        """Keep a mask as the newest version of a label. See `Writing.save_mask` for the errors.

        Parameters
        ----------
        image_id
            Its study.
        label_filename
            Path of the file; it is copied.
        label_tag
            ``final`` or ``original``.
        label_info
            What the client says of it; ``user`` is the author.

        Returns
        -------
        str
            The label's id, which is the study's.
        """
        tag = check_mask_tag(label_tag)
        identifier = self._known(image_id)
        suffix = required_suffix(Path(label_filename).name, MASK_SUFFIXES)
        image = self.image_with_files(identifier) or Path()
        info = checked(label_info or {}, LABEL_BYTES)
        self._writing.save_mask(identifier, image, tag, Path(label_filename), suffix, info)
        return image_id

    def remove_label(self, label_id: str, label_tag: str, author: str = "unknown") -> None:
        """Take a label away; its versions stay.

        Raises
        ------
        NotFoundError
            If there is none.
        """
        if not self._label(label_id, label_tag):
            raise _no_label()
        self._writing.remove_label(label_id, tag_of(label_tag), author)

    def save_study_label(self, image_id: str, label: StudyLabel, author: str) -> Version:
        """Keep what a reader says about a study as the newest version of its study label.

        Raises
        ------
        NotFoundError
            If there is no such study.
        OutputError
            If it cannot be written.
        """
        return self._writing.save_study_label(self._known(image_id), label, author)

    def study_label(self, image_id: str) -> tuple[StudyLabel, Version]:
        """Return the newest study label and its record.

        Raises
        ------
        NotFoundError
            If there is no such study, or none has been saved.
        """
        tag, identifier = LabelTag.STUDY, self._known(image_id)
        newest = self._writing.labels.versions.newest(tag, identifier)
        if newest is None or newest.removed:
            raise _no_label()
        path = self._writing.labels.versions.path(tag, identifier, newest)
        return StudyLabel.model_validate_json(path.read_bytes()), newest

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is known of an image.

        Raises
        ------
        NotFoundError, ParameterError, OutputError
            If there is no such study, the information is too long, or it cannot be written.
        """
        self._update(self._known(image_id), lambda entry: entry["image"], self._hidden(info))

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is known of a label; errors as in `update_image_info`."""
        if not self._label(label_id, label_tag):
            raise _no_label()
        self._update(label_id, lambda entry: entry["labels"][text_of(label_tag)], info)

    def _hidden(self, info: dict[str, Any]) -> dict[str, Any]:
        # Whose image it is, is kept and told as a key only.
        return hidden_patient(info, lambda: open_split(self._folder))

    def _update(self, identifier: str, part: Callable[[Entry], Entry], info: dict[str, Any]) -> None:
        self._writing.update(identifier, part, checked(info, IMAGE_BYTES))


def _no_label() -> NotFoundError:
    return NotFoundError("The study has no such label.", "Ask for the list with GET /datastore/?output=all.")
