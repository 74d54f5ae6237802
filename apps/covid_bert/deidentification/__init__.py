"""De-identification of DICOM studies for research export, by the Basic Profile of DICOM PS3.15."""

from covid_bert.deidentification.export import Export, Options
from covid_bert.deidentification.project import Project, open_project

__all__ = ["Export", "Options", "Project", "open_project"]
