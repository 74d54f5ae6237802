"""Synthetic chest CT of any grid and orientation, with exact masks of lungs, lesions, airways and vessels."""

from covid_bert.phantom.lesions import PATTERNS
from covid_bert.phantom.phantom import Phantom, make
from covid_bert.phantom.writer import write, write_dicom

__all__ = ["PATTERNS", "Phantom", "make", "write", "write_dicom"]
