"""The whole label set of a folder, with its history, as one file: no images, and no names of studies."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from filelock import Timeout
from pydantic import ValidationError

from covid_bert import __version__
from covid_bert.datastore.image_facts import image_facts, stated_patient
from covid_bert.datastore.index import LABELS_NAME, Entry, Index, label_lock
from covid_bert.datastore.label_manifest import MANIFEST_NAME, ExportedCase, ExportedVersion, LabelManifest
from covid_bert.datastore.names import MASK_SUFFIXES, LabelTag, split_name
from covid_bert.datastore.opinions import open_split
from covid_bert.datastore.scan import STUDY_LABEL_SUFFIX
from covid_bert.datastore.versions import UNKNOWN_AUTHOR, Version, Versions
from covid_bert.datastore.view import LiveView, View
from covid_bert.errors import BusyError, NotFoundError, OutputError, ParameterError
from covid_bert.files import replacing
from covid_bert.weights.files import sha256_of

_BLOCK = 2**20
_Label = tuple[LabelTag, Version, Path]


@dataclass
class Exported:
    """What an export holds.

    Parameters
    ----------
    cases, versions
        How many.
    without_image, damaged
        Studies whose image is away, and versions that are damaged on the disk; neither is in it.
    """

    cases: int = 0
    versions: int = 0
    without_image: int = 0
    damaged: int = 0


@dataclass
class _Gathered:
    """The labels of one image, and where their files lie."""

    keys: tuple[str, ...]
    versions: dict[tuple[object, ...], tuple[ExportedVersion, Path]] = field(default_factory=dict)


def export_labels(folder: Path, target: Path, cache: Path) -> Exported:
    """Write all labels of a folder, with all versions, into one new file (mode 0600), whole or not at all.

    Parameters
    ----------
    folder
        Folder with the studies; a server may use it meanwhile.
    target
        File to be made.
    cache
        As for `covid_bert.datastore.label_set.read_label_set`.

    Raises
    ------
    NotFoundError
        If there is no such folder, or no label in it.
    ParameterError
        If the file exists already.
    BusyError
        If the labels stay locked, or are removed while they are copied.
    UnreadableFileError
        If the frozen split is damaged.
    OutputError
        If the file cannot be written.
    """
    split = open_split(folder)
    if target.exists():
        raise ParameterError(f"The file {target.name} exists already.", "Choose a new name, or remove it first.")
    exported = Exported()
    gathered: dict[str, _Gathered] = {}
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        for image, entry, labels in _labels(folder, exported):
            facts = image_facts(image, split, cache)
            case = gathered.setdefault(facts.sha256, _Gathered(facts.keys))
            case.keys += stated_patient(entry, split)
            for tag, version, path in labels:
                try:
                    case.versions[(tag, *version.identity)] = (ExportedVersion.of(tag, version), path)
                except ValidationError:
                    exported.damaged += 1
        gathered = {sha256: case for sha256, case in gathered.items() if case.versions}
        if not gathered:
            raise NotFoundError("There are no labels to export.", "Give the folder with the studies.")
        places = split.assign([case.keys for case in gathered.values()])
        manifest = LabelManifest(
            covid_bert=__version__,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            cases=tuple(
                ExportedCase(
                    image_sha256=sha256,
                    part=place.part,
                    versions=tuple(version for version, _ in case.versions.values()),
                )
                for (sha256, case), place in zip(gathered.items(), places, strict=True)
            ),
        )
        files = {one.sha256: path for case in gathered.values() for one, path in case.versions.values()}
        with replacing(target) as temporary:
            _write(temporary, manifest, files)
    except FileNotFoundError as error:
        raise BusyError("A study was removed while its labels were copied.", "Export once more.") from error
    except OSError as error:
        raise OutputError(
            f"The label set cannot be written: {error.strerror or error}.", "Choose another place, or free disk space."
        ) from error
    exported.cases, exported.versions = len(gathered), sum(len(case.versions) for case in gathered.values())
    return exported


def _labels(folder: Path, exported: Exported) -> Iterator[tuple[Path, Entry, list[_Label]]]:
    """Yield image, entry and versions of each study as they were at one moment; what cannot be exported is counted."""
    versions = Versions(folder / LABELS_NAME)
    try:
        with label_lock(folder):
            view = LiveView(folder, Index(folder), follow=False).get()
            noted = {identifier for _, identifier in versions.labels()}.union(*view.label_names.values())
            found = {identifier: list(_versions(versions, identifier)) for identifier in sorted(noted)}
    except Timeout as error:
        raise BusyError("The labels are locked.", "Try again; `covid-bert doctor` names what holds them.") from error
    # Versions never change: their content is read without the lock.
    for identifier, labels in found.items():
        labels.extend(_put_there(folder, view, versions, identifier))
        if labels and identifier not in view.studies:
            exported.without_image += 1
            continue
        intact = [one for one in labels if one[1].removed or _is_intact(one[1], one[2])]
        exported.damaged += len(labels) - len(intact)
        if intact:
            yield folder / view.studies[identifier].name, view.entries[identifier], intact


def _versions(versions: Versions, identifier: str) -> Iterator[_Label]:
    for tag in LabelTag:
        for version in versions.history(tag, identifier):
            yield tag, version, versions.path(tag, identifier, version)


def _put_there(folder: Path, view: View, versions: Versions, identifier: str) -> Iterator[_Label]:
    """Yield files that somebody put there by hand, as the versions that they will become."""
    for tag in LabelTag:
        suffixes = (STUDY_LABEL_SUFFIX,) if tag is LabelTag.STUDY else MASK_SUFFIXES
        for name in view.label_names[tag].get(identifier, ()):
            path = folder / LABELS_NAME / tag.value / name
            sha256, status = sha256_of(path), path.stat()
            # Asked for after the file was read: a version that was saved meanwhile is none of these.
            if not status.st_size or any(one.sha256 == sha256 for one in versions.history(tag, identifier)):
                continue
            time = datetime.fromtimestamp(status.st_mtime, timezone.utc).isoformat(timespec="milliseconds")
            suffix = split_name(name, suffixes)[1]
            yield (
                tag,
                Version(
                    number=1, author=UNKNOWN_AUTHOR, created=time, suffix=suffix, sha256=sha256, size=status.st_size
                ),
                path,
            )


def _is_intact(version: Version, path: Path) -> bool:
    try:
        return path.stat().st_size == version.size and sha256_of(path) == version.sha256
    except OSError:
        return False


def _write(target: Path, manifest: LabelManifest, files: dict[str, Path]) -> None:
    handle = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    # Masks are compressed already; and what is not compressed cannot grow where it is imported.
    with os.fdopen(handle, "w+b") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member(MANIFEST_NAME), manifest.model_dump_json())
        for sha256, size in manifest.files.items():
            member = _member(f"files/{sha256}")
            member.file_size = size
            with files[sha256].open("rb") as source, archive.open(member, "w") as sink:
                while block := source.read(_BLOCK):
                    sink.write(block)


def _member(name: str) -> zipfile.ZipInfo:
    """A member that says nothing of this machine."""
    member = zipfile.ZipInfo(name)
    member.external_attr = 0o600 << 16
    return member
