"""Results as DICOM objects of the patient's study: Segmentations, measurement report, PDF report and picture."""

from covid_bert.report.dicom.objects import dicom_results, folder_name, write_objects
from covid_bert.report.dicom.source import DicomSource, read_source

__all__ = ["DicomSource", "dicom_results", "folder_name", "read_source", "write_objects"]
