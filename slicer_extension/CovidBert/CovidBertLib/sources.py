"""Where the studies of a batch come from: volumes of the scene, and CT series of Slicer's DICOM database."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from .export import check_volume
from .i18n import tr as _
from .problems import CovidBertError, SceneError
from .stored import ROLE_ATTRIBUTE

_MODALITY, _DATE = "0008,0060", "0008,0020"
_MOST_SERIES = 500


@dataclass(frozen=True)
class Series:
    """A CT series.

    Parameters
    ----------
    uid
        Series Instance UID.
    title
        Patient, date, description and number of files, for the user's own eyes.
    """

    uid: str
    title: str


def ct_volumes() -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Return the volumes of the scene that can be a chest CT."""
    found = []
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if node.GetAttribute(ROLE_ATTRIBUTE) is None:
            try:
                check_volume(node)
            except CovidBertError:
                continue
            found.append(node)
    return found


def has_database() -> bool:
    """Return whether a DICOM database is open."""
    database = getattr(slicer, "dicomDatabase", None)
    return database is not None and bool(database.isOpen)


def ct_series() -> list[Series]:
    """Return the CT series of the database, at most 500; [] where no database is open."""
    if not has_database():
        return []
    database = slicer.dicomDatabase
    found: list[Series] = []
    for patient in database.patients():
        for study in database.studiesForPatient(patient):
            for uid in database.seriesForStudy(study):
                files = database.filesForSeries(uid)
                if not files or database.fileValue(files[0], _MODALITY) != "CT":
                    continue
                words = (database.nameForPatient(patient), database.fileValue(files[0], _DATE))
                text = " ".join(word for word in (*words, database.descriptionForSeries(uid)) if word)
                found.append(Series(uid, _("{text} ({count} files)").format(text=text, count=len(files))))
                if len(found) == _MOST_SERIES:
                    return found
    return found


def load_series(uid: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Load a series into the scene.

    Raises
    ------
    CovidBertError
        If it cannot be loaded as one volume.
    """
    from DICOMLib import DICOMUtils  # Slicer's own; there only in the application.

    advice = _("Load it in the module DICOM, which shows what is wrong with it.")
    try:
        nodes = [slicer.mrmlScene.GetNodeByID(identifier) for identifier in DICOMUtils.loadSeriesByUID([uid])]
    except OSError as error:
        raise CovidBertError(_("The series cannot be read."), advice, "unreadable") from error
    volumes = [node for node in nodes if node is not None and node.GetClassName() == "vtkMRMLScalarVolumeNode"]
    if len(volumes) != 1:
        raise SceneError(_("The series is not one volume."), advice)
    return volumes[0]
