"""Chest CT that anybody may use, for Slicer's module Sample Data and the self test."""

from __future__ import annotations

import slicer

from .i18n import tr as _

SAMPLE_NAME = "CovidBertChestCT"
FILE_NAME = "lung1_image.nrrd"
# A tumour, not COVID-19: from pyradiomics (BSD-3-Clause); the same file as in the folder sample-data.
SHA256 = "379fa48bf34cfa961e6f5ec19c0c38757a30b9aa884212ef28dc29b5061c64ed"
URL = "https://github.com/Radiomics/pyradiomics/releases/download/v1.0/lung1_image.nrrd"


def register_sample_data() -> None:
    """Offer the sample in the module Sample Data, where Slicer has it; nothing is fetched before it is asked for."""
    if not hasattr(slicer.modules, "sampledata"):
        return
    from SampleData import SampleDataLogic

    SampleDataLogic.registerCustomSampleDataSource(
        category=_("COVID-BERT"),
        sampleName=SAMPLE_NAME,
        uris=URL,
        fileNames=FILE_NAME,
        nodeNames=SAMPLE_NAME,
        loadFileType="VolumeFile",
        checksums=f"SHA256:{SHA256}",
    )
