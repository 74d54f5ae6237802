"""Where results go: an archive that takes C-STORE or DICOMweb, or a folder."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pydicom
from pynetdicom import AE, build_context
from pynetdicom.presentation import PresentationContext

from covid_bert.errors import OutputError
from covid_bert.files import replacing
from covid_bert.pacs.errors import PacsDownError, PacsRefusedError, PacsRejectedError

if TYPE_CHECKING:
    from covid_bert.pacs.dicomweb import Pacs

_PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
# Out of resources: a full disk, which may be mended.
_LATER = range(0xA700, 0xA800)
_WARNINGS = range(0xB000, 0xC000)


class Destination(Protocol):
    """Takes the results of a study."""

    def store(self, files: Sequence[Path], name: str) -> None:
        """Store objects, in their order. Storing them twice is no fault.

        Parameters
        ----------
        files
            DICOM files.
        name
            Pseudonymous name of the study.

        Raises
        ------
        PacsError, OutputError
            If it cannot be done now.
        PacsRejectedError
            If an object is not taken, and will not be later either.
        """


class FolderDestination:
    """A folder, in which each study has one of its own.

    Parameters
    ----------
    folder
        It is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def store(self, files: Sequence[Path], name: str) -> None:
        """Copy the files; see `Destination`."""
        target = self._folder / name
        try:
            target.mkdir(parents=True, exist_ok=True)
            for file in files:
                with replacing(target / file.name) as temporary:
                    temporary.write_bytes(file.read_bytes())
        except OSError as error:
            raise OutputError(
                f"Results cannot be written: {error.strerror}.", "Free disk space, or see who may write there."
            ) from error


class WebDestination:
    """An archive that speaks DICOMweb.

    Parameters
    ----------
    pacs
        The archive.
    """

    def __init__(self, pacs: Pacs) -> None:
        self._pacs = pacs

    def store(self, files: Sequence[Path], name: str) -> None:  # noqa: ARG002
        """Store by STOW-RS; see `Destination`."""
        for file in files:
            self._pacs.store(pydicom.dcmread(file))


class EntityDestination:
    """An application entity that takes C-STORE.

    Parameters
    ----------
    host, port, ae_title
        Where it listens, and its name.
    calling_ae_title
        Own name.
    seconds
        For the connection, and for each answer.
    tls
        Encrypts; None for plain connections.
    """

    def __init__(
        self,
        host: str,
        port: int,
        ae_title: str,
        *,
        calling_ae_title: str,
        seconds: float = 60.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._host, self._port, self._ae_title, self._tls = host, port, ae_title, tls
        self._entity = AE(calling_ae_title)
        self._entity.connection_timeout = min(seconds, 10.0)
        self._entity.acse_timeout = self._entity.dimse_timeout = self._entity.network_timeout = seconds

    def store(self, files: Sequence[Path], name: str) -> None:  # noqa: ARG002
        """Store by C-STORE in one association; see `Destination`."""
        association = self._entity.associate(
            self._host,
            self._port,
            contexts=_contexts(files),
            ae_title=self._ae_title,
            tls_args=None if self._tls is None else (self._tls, self._host),
        )
        if association.is_rejected:
            raise PacsRefusedError(
                "The destination refuses the association.",
                "See whether it knows this program's AE title and address, and whether its own AE title is right.",
            )
        if not association.is_established:
            raise PacsDownError("The destination cannot be reached.", "See whether it runs, and its host and port.")
        try:
            for file in files:
                try:
                    status = association.send_c_store(file).get("Status")
                except (ValueError, RuntimeError) as error:
                    # No context was accepted for it, or the association has ended.
                    if association.is_established:
                        raise _rejected("does not take this kind of object") from error
                    status = None
                _check(status)
        finally:
            if association.is_established:
                association.release()


def _contexts(files: Sequence[Path]) -> list[PresentationContext]:
    """Return what is to be agreed on: each class of the files with its own encoding, or a plain one instead."""
    found: dict[str, list[str]] = {}
    for file in files:
        meta = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID"]).file_meta
        syntax = str(meta.TransferSyntaxUID)
        syntaxes = found.setdefault(str(meta.MediaStorageSOPClassUID), [])
        syntaxes += [each for each in (_PLAIN if syntax in _PLAIN else (syntax,)) if each not in syntaxes]
    return [build_context(sop_class, syntaxes) for sop_class, syntaxes in found.items()]


def _check(status: int | None) -> None:
    if status is None:
        raise PacsDownError("The destination does not answer any more.", "See whether it runs.")
    if status in _LATER:
        raise PacsDownError(f"The destination has no room (status {status:#06x}).", "Free space on its disk.")
    if status != 0 and status not in _WARNINGS:
        raise _rejected(f"refuses an object (status {status:#06x})")


def _rejected(what: str) -> PacsRejectedError:
    return PacsRejectedError(f"The destination {what}.", "Its log says why.")
