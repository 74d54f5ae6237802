"""Bringing an exported label set in: checked whole before anything changes, and merged without losing any version."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import Timeout
from pydantic import ValidationError

from covid_bert.datastore.checks import GridCheck
from covid_bert.datastore.image_facts import image_facts, stated_patient
from covid_bert.datastore.index import LABELS_NAME, Index
from covid_bert.datastore.label_manifest import AGAIN, FILE_NAME, LARGEST_MANIFEST, MANIFEST_NAME, LabelManifest
from covid_bert.datastore.labels import Labels
from covid_bert.datastore.names import LabelTag
from covid_bert.datastore.opinions import open_split
from covid_bert.datastore.study_labels import StudyLabel
from covid_bert.datastore.unpacking import unpack
from covid_bert.datastore.uploads import Staging
from covid_bert.datastore.versions import Version, Versions
from covid_bert.datastore.view import LiveView
from covid_bert.errors import ArchiveError, BusyError, InputError, NotFoundError, OutputError
from covid_bert.retraining.split import FrozenSplit

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)
_Key = tuple[str, LabelTag]


@dataclass
class LabelImport:
    """A label set that has been checked, and can be merged.

    Parameters
    ----------
    folder
        Folder with the studies.
    cases
        Cases of the label set whose image is in the folder.
    unknown
        Cases whose image is not.
    elsewhere
        Cases that the folder's frozen split has in another part than the label set; they stay where they are.
    unfit
        Versions that are no label of their image (another grid, damaged before they were exported); left out.
    """

    folder: Path
    cases: int = 0
    unknown: int = 0
    elsewhere: int = 0
    unfit: int = 0
    _new: dict[_Key, list[tuple[Version, Path | None]]] = field(default_factory=dict)

    @property
    def versions(self) -> int:
        """Versions that the folder does not have yet."""
        return sum(len(versions) for versions in self._new.values())

    def merge(self) -> int:
        """Add the versions that are new and offer the newest of all; return how many were added.

        Raises
        ------
        BusyError
            If another process holds the lock of the labels for more than a minute.
        NotFoundError
            If a study was removed meanwhile.
        OutputError
            If they cannot be written. What was merged until then stays; importing once more completes it.
        """
        index = Index(self.folder)
        live, labels = LiveView(self.folder, index, follow=False), Labels(self.folder / LABELS_NAME)
        added = 0
        with _stored():
            for (identifier, tag), versions in self._new.items():
                with index.changing() as draft:
                    view = live.refresh()
                    if identifier not in view.studies:
                        raise NotFoundError("A study was removed meanwhile.", "Import the label set once more.")
                    added += labels.merge(draft, view, identifier, tag, versions)
        return added


@contextmanager
def checked_import(source: Path, folder: Path, cache: Path, *, known_only: bool = False) -> Iterator[LabelImport]:
    """Check a label set that `covid_bert.datastore.label_export.export_labels` has written; nothing is changed yet.

    Parameters
    ----------
    source
        The file.
    folder
        Folder with the studies; a server may use it meanwhile.
    cache
        As for `covid_bert.datastore.label_set.read_label_set`.
    known_only
        Whether to pass over labels of images that are not in the folder, instead of refusing all.

    Yields
    ------
    What can be merged, while the block lasts. The parts of the frozen split are taken over already.

    Raises
    ------
    NotFoundError
        If the file, the folder or an image of the label set does not exist.
    ArchiveError
        If the file is damaged, was changed or is no label set.
    UnreadableFileError
        If the folder's frozen split is damaged.
    BusyError
        If the folder stays locked.
    OutputError
        If the disk has no room for it.
    """
    if not source.is_file():
        raise NotFoundError(f"There is no file {source.name}.", "Give a file that `covid-bert labels export` has made.")
    split = open_split(folder)
    with ExitStack() as stack, _stored():
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _opened(source) as archive:
            manifest = _manifest(archive, source)
            there = _There(folder, split, cache)
            prepared = _planned(manifest, there, known_only=known_only)
            staging = Staging(folder)
            stack.callback(staging.close)
            _unpack(archive, prepared, staging, stack)
        _leave_out_unfit(prepared, there.paths)
        cases = [case for case in manifest.cases if case.image_sha256 in there.studies]
        places = split.assign([there.keys[case.image_sha256] for case in cases], [case.part for case in cases])
        prepared.elsewhere = sum(case.part not in (None, place.part) for case, place in zip(cases, places, strict=True))
        yield prepared


class _There:
    """The images of the folder, by their content."""

    def __init__(self, folder: Path, split: FrozenSplit, cache: Path) -> None:
        self.folder = folder
        view = LiveView(folder, Index(folder), follow=False).get()
        self.paths = {identifier: folder / found.name for identifier, found in view.studies.items()}
        self.studies: dict[str, list[str]] = {}
        self.keys: dict[str, tuple[str, ...]] = {}
        for identifier, path in self.paths.items():
            try:
                facts = image_facts(path, split, cache)
            except OSError:
                # One that cannot be read is none that labels could be brought to.
                continue
            self.studies.setdefault(facts.sha256, []).append(identifier)
            before = self.keys.get(facts.sha256, facts.keys)
            self.keys[facts.sha256] = (*before, *stated_patient(view.entries[identifier], split))


def _planned(manifest: LabelManifest, there: _There, *, known_only: bool) -> LabelImport:
    """Return which versions are new, to which study."""
    cases = [case for case in manifest.cases if case.image_sha256 in there.studies]
    prepared = LabelImport(there.folder, len(cases), len(manifest.cases) - len(cases))
    if prepared.unknown and not (known_only and cases):
        raise NotFoundError(
            f"{prepared.unknown} of {len(manifest.cases)} images of the label set are not in the folder.",
            "Add these images, unchanged; or with --known-only leave their labels out.",
        )
    versions = Versions(there.folder / LABELS_NAME)
    for case in cases:
        twins = there.studies[case.image_sha256]
        for tag in LabelTag:
            known = {one.identity for twin in twins for one in versions.history(tag, twin)}
            sent = [one.version() for one in case.versions if one.tag is tag]
            new = {one.identity: one for one in sent if one.identity not in known}
            if sent:
                prepared._new[(twins[0], tag)] = [(one, None) for one in new.values()]
    return prepared


@contextmanager
def _opened(source: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(source) as archive:
            yield archive
    except _DAMAGE as error:
        raise ArchiveError(f"{source.name} is damaged or is no label set.", AGAIN) from error


def _manifest(archive: zipfile.ZipFile, source: Path) -> LabelManifest:
    """Return the manifest, when every member is one that it names, and nothing can grow while it is unpacked."""
    members = archive.infolist()
    sizes: dict[str, int] = {}
    for member in members:
        plain = member.orig_filename == member.filename and member.filename not in sizes
        stored = member.compress_type == zipfile.ZIP_STORED and member.compress_size == member.file_size
        regular = stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG) and not member.flag_bits & 0x1
        if not (
            plain and stored and regular and (member.filename == MANIFEST_NAME or FILE_NAME.fullmatch(member.filename))
        ):
            raise _not_allowed()
        sizes[member.filename] = member.file_size
    if sizes.pop(MANIFEST_NAME, LARGEST_MANIFEST + 1) > LARGEST_MANIFEST:
        raise ArchiveError(f"{source.name} is no label set.", "Give a file that `covid-bert labels export` has made.")
    manifest = LabelManifest.read(archive.read(MANIFEST_NAME))
    if sizes != {f"files/{sha256}": size for sha256, size in manifest.files.items()}:
        raise _not_allowed()
    return manifest


def _unpack(archive: zipfile.ZipFile, prepared: LabelImport, staging: Staging, stack: ExitStack) -> None:
    """Write the files of new versions where no study is looked for, each checked against its hash."""
    needed = sum(version.size for versions in prepared._new.values() for version, _ in versions)
    if needed > shutil.disk_usage(prepared.folder).free:
        raise OutputError(f"The label set needs {needed} bytes, and fewer are free.", "Free disk space.")
    for key, versions in prepared._new.items():
        prepared._new[key] = [
            (one, None if one.removed else _unpacked(archive, one, stack.enter_context(staging.file(one.suffix))))
            for one, _ in versions
        ]


def _unpacked(archive: zipfile.ZipFile, version: Version, target: Path) -> Path:
    with archive.open(f"files/{version.sha256}") as content:
        whole = unpack(content, target, size=version.size, sha256=version.sha256)
    if not whole:
        raise ArchiveError("A file of the label set was changed: its SHA-256 is not the manifest's.", AGAIN)
    return target


def _leave_out_unfit(prepared: LabelImport, images: dict[str, Path]) -> None:
    """Leave out what the server would refuse of a client: masks on another grid, study labels that are none."""
    grids = GridCheck()
    for (identifier, tag), versions in prepared._new.items():
        fit = [one for one in versions if _fits(grids, tag, one[1], images[identifier])]
        prepared.unfit += len(versions) - len(fit)
        prepared._new[(identifier, tag)] = fit


def _fits(grids: GridCheck, tag: LabelTag, file: Path | None, image: Path) -> bool:
    try:
        if file is not None and tag is LabelTag.STUDY:
            StudyLabel.model_validate_json(file.read_bytes())
        elif file is not None:
            grids.check(file, image)
    except (InputError, ValidationError):
        return False
    return True


def _not_allowed() -> ArchiveError:
    return ArchiveError(
        "The label set holds something that its manifest does not allow.",
        "Give the file as `covid-bert labels export` has made it, not packed again; nothing was changed.",
    )


@contextmanager
def _stored() -> Iterator[None]:
    try:
        yield
    except Timeout as error:
        raise BusyError("Another program holds the studies' lock.", "Try again later.") from error
    except OSError as error:
        raise OutputError(
            f"The label set cannot be brought in: {error.strerror or error}.",
            "Free disk space, or mend the folder's permissions; then import once more.",
        ) from error
