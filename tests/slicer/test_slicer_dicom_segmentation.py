"""Our Segmentations in 3D Slicer: converted by its DICOM reader's program (DCMQI), shown by its own libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer

from CovidBertLib.segments import CONSOLIDATION_KIND, GROUND_GLASS_KIND, LEFT_LUNG_KIND, RIGHT_LUNG_KIND
from needed import require_module

TESTS = Path(__file__).resolve().parents[1]
for folder in (TESTS / "volumes", TESTS / "report" / "dicom"):  # makers of studies and of results
    sys.path.insert(0, str(folder))

from dicom_maker import make_series  # noqa: E402
from multi_frame_maker import make_enhanced  # noqa: E402
from result_maker import CREATED, classify, lesions_in  # noqa: E402
from volume_maker import phantom  # noqa: E402

from covid_bert.report.dicom import read_source, write_objects  # noqa: E402
from covid_bert.report.dicom.segmentation import lesion_segmentation, lung_segmentation  # noqa: E402
from covid_bert.volumes import Volume, read  # noqa: E402
from covid_bert.volumes.writing import on_file_grid, write_study  # noqa: E402

# Slicer's options for loading.
LABELS, SINGLE_FILE = 1, 4
TURNED = (0.96, 0.28, 0.0, -0.28, 0.96, 0.0)


def series(folder: Path, **options: Any) -> Volume:
    make_series(folder, phantom(), **options)
    return read(folder)


STUDIES = {
    "axial": series,
    "head first": lambda folder: series(folder, step=(0.0, 0.0, -2.5)),
    "turned": lambda folder: series(folder, orientation=TURNED),
    "coronal": lambda folder: series(folder, orientation=(1, 0, 0, 0, 0, -1)),
    "multi-frame": lambda folder: read(make_enhanced(folder / "ct.dcm", phantom(), order=range(11, -1, -1))),
}


def load(file: Path, folder: Path) -> tuple[Any, list[tuple[str, ...]]]:
    """A segmentation node of a DICOM file, as Slicer's reader makes it, and the codes of its segments.

    SlicerDCMQI runs this program, loads the label maps that it writes, and takes names, colours and codes of its JSON.
    """
    dcmqi = require_module("dcmqi", "pip install dcmqi")
    program = Path(dcmqi.__file__).parent / "bin" / "segimage2itkimage"
    folder.mkdir()
    options = ["--inputDICOM", file, "--outputDirectory", folder, "--outputType", "nrrd", "--prefix", "seg"]
    subprocess.run([str(each) for each in (program, *options)], check=True, capture_output=True, timeout=300)
    groups = json.loads((folder / "seg-meta.json").read_text())["segmentAttributes"]
    described = [attributes for group in groups for attributes in group]
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "from DICOM")
    for number, attributes in enumerate(described, start=1):
        path = folder / f"seg-{number}.nrrd"
        # As a file of its own: files of one slice look like a series to Slicer.
        labels = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), path.stem, LABELS | SINGLE_FILE)
        values = slicer.util.arrayFromVolume(labels)
        assert set(np.unique(values)) == {0, attributes["labelID"]}
        before = node.GetSegmentation().GetNumberOfSegments()
        assert slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, node)
        assert node.GetSegmentation().GetNumberOfSegments() == before + 1
        segment = node.GetSegmentation().GetNthSegment(before)
        segment.SetName(attributes["SegmentLabel"])
        segment.SetColor(*(part / 255 for part in attributes["recommendedDisplayRGBValue"]))
    return node, [codes_of(attributes) for attributes in described]


def codes_of(attributes: dict[str, Any]) -> tuple[str, ...]:
    found = []
    for kind in ("Category", "Type", "TypeModifier"):
        code = attributes.get(f"SegmentedProperty{kind}CodeSequence")
        found.append(f"{code['CodingSchemeDesignator']}^{code['CodeValue']}" if code else "^")
    return tuple(found)


def on_the_ct(node: Any, volume: Volume, folder: Path) -> np.ndarray:
    """Labels (k, j, i) of all segments on the grid of the CT, which Slicer loads from a file."""
    reference = slicer.util.loadVolume(str(write_study(volume, folder / "ct.nrrd")))
    segmentation = node.GetSegmentation()
    labels = np.zeros(slicer.util.arrayFromVolume(reference).shape, np.uint8)
    for number in range(segmentation.GetNumberOfSegments()):
        name = segmentation.GetNthSegmentID(number)
        labels[slicer.util.arrayFromSegmentBinaryLabelmap(node, name, reference) > 0] = number + 1
    return labels


@pytest.mark.parametrize("make", STUDIES.values(), ids=STUDIES)
def test_slicer_shows_every_voxel_where_it_was_and_left_is_left(scene: Any, tmp_path: Path, make: Any) -> None:
    volume = make(tmp_path / "study")
    lungs = classify(volume).lungs
    made = lung_segmentation(read_source(volume), volume, lungs, CREATED)
    node, codes = load(write_objects({"lungs": made.dataset}, tmp_path, "")[0], tmp_path / "converted")
    expected = on_file_grid(lungs.array, volume).transpose(2, 1, 0)
    np.testing.assert_array_equal(on_the_ct(node, volume, tmp_path), expected)
    assert codes == [RIGHT_LUNG_KIND.code, LEFT_LUNG_KIND.code]
    segmentation = node.GetSegmentation()
    centres = []
    for number, kind in enumerate((RIGHT_LUNG_KIND, LEFT_LUNG_KIND)):
        segment = segmentation.GetNthSegment(number)
        assert segment.GetName().lower() == kind.name
        np.testing.assert_allclose(segment.GetColor(), kind.colour, atol=0.01)
        centres.append(node.GetSegmentCenterRAS(segmentation.GetNthSegmentID(number))[0])
    assert centres[0] > centres[1] + 5, "RAS: the first coordinate grows to the right"


@pytest.mark.parametrize("slices", [(2, 9), (6,)], ids=["two slices with a gap", "one slice"])
def test_slicer_keeps_the_distance_of_slices_where_most_are_left_out(scene: Any, tmp_path: Path, slices: Any) -> None:
    volume = series(tmp_path / "study")
    lesions = classify(volume).lesions
    drawn = np.zeros_like(lesions.array)
    for index in slices:
        drawn[index] = lesions_in(np.ones_like(drawn))[7]
        drawn[index, 12:, 5:9] = 2
    lesions = replace(lesions, array=drawn)
    made = lesion_segmentation(read_source(volume), volume, lesions, CREATED)
    node, codes = load(write_objects({"lesions": made.dataset}, tmp_path, "")[0], tmp_path / "converted")
    np.testing.assert_array_equal(on_the_ct(node, volume, tmp_path), drawn)
    assert codes == [GROUND_GLASS_KIND.code, CONSOLIDATION_KIND.code]
