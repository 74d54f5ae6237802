"""A corrected segmentation is written on the volume's own grid, or refused with a plain message."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from mask_tools import label_array, written_mask
from mrml_samples import add_volume, document_for, hounsfield, oblique, orientations, transform, write_nrrd

from CovidBertLib.labelmaps import oriented_labelmap
from CovidBertLib.problems import MaskError, SceneError
from CovidBertLib.result import parse
from CovidBertLib.scene import show
from CovidBertLib.segments import (
    CONSOLIDATION_KIND,
    GROUND_GLASS_KIND,
    LEFT_LUNG_KIND,
    LESIONS,
    RIGHT_LUNG_KIND,
    terminology_code,
)

SIZES = (20, 14, 12)
AFFINE = orientations()[0]  # i to the right, j to the front, k to the head


def two_lungs(affine: np.ndarray = AFFINE) -> np.ndarray:
    """Return labels (k, j, i) of two blocks that touch no border: 1 on the patient's right."""
    k, j, i = np.indices(SIZES[::-1])
    places = np.stack([i, j, k], -1) @ affine[:3, :3].T
    across = (places[..., 0] - places[..., 0].min()) / np.ptp(places[..., 0])
    inner = (k > 0) & (k < SIZES[2] - 1) & (j > 0) & (j < SIZES[1] - 1) & (i > 0) & (i < SIZES[0] - 1)
    return (inner * np.select([across > 0.6, across < 0.4], [1, 2], 0)).astype(np.uint8)


def shown_lungs(folder: Path, affine: np.ndarray = AFFINE, labels: np.ndarray | None = None) -> tuple[Any, Any]:
    volume = add_volume(affine, hounsfield(sizes=SIZES))
    labels = two_lungs(affine) if labels is None else labels
    files = {"lungs": write_nrrd(folder / "lungs.nrrd", labels, affine)}
    return show(volume, parse(document_for(volume)), files).lungs, volume


def fresh_folder(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=parent))


def erase(node: Any, kind: Any, volume: Any, voxel: tuple[int, ...]) -> None:
    """Erase a voxel (k, j, i) of a segment, as effects of the Segment Editor do."""
    values = slicer.util.arrayFromSegmentBinaryLabelmap(node, kind.identifier, volume).copy()
    values[voxel] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(values, node, kind.identifier, volume)


def add_segment(node: Any, volume: Any, inside: np.ndarray, name: str, tag: str = "") -> str:
    identifier = node.GetSegmentation().AddEmptySegment("", name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(inside.astype(np.uint8), node, identifier, volume)
    if tag:
        segment = node.GetSegmentation().GetSegment(identifier)
        segment.SetTag(segment.GetTerminologyEntryTagName(), tag)
    return identifier


def read_nrrd(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    header, _, body = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode("ascii").split("\n")[1:])
    sizes = [int(size) for size in fields["sizes"].split()]
    return np.frombuffer(body, np.uint8).reshape(sizes[::-1]), fields


@pytest.mark.parametrize("moved", [False, True], ids=["plain", "transformed"])
def test_an_edit_is_written_voxel_for_voxel(scene: Any, tmp_path: Path, moved: bool) -> None:
    parent = transform().GetID() if moved else None
    for affine in [*orientations(), *(oblique(straight) for straight in orientations()[::5])]:
        node, volume = shown_lungs(tmp_path, affine)
        for placed in (node, volume):
            placed.SetAndObserveTransformNodeID(parent)
        expected = two_lungs(affine)
        corner = tuple(np.argwhere(expected == 1)[0])
        expected[corner] = 0
        erase(node, RIGHT_LUNG_KIND, volume, corner)

        written = written_mask(node, volume, fresh_folder(tmp_path))

        path = Path(written["file"])
        values, fields = read_nrrd(path)
        assert np.array_equal(values, expected)
        assert written["counts"] == [np.count_nonzero(expected == label) for label in (1, 2)]
        vectors = [[float(x) for x in part.strip("()").split(",")] for part in fields["space directions"].split(" ")]
        assert np.allclose(np.array(vectors).T, np.diag([-1, -1, 1]) @ affine[:3, :3], atol=1e-12)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for old in (node, volume):
            scene.RemoveNode(old)


def test_the_server_reads_it(scene: Any, tmp_path: Path) -> None:
    volumes = pytest.importorskip("covid_bert.volumes", exc_type=ImportError)
    affine = oblique(orientations()[13])
    node, volume = shown_lungs(tmp_path, affine)
    study = volumes.read(write_nrrd(tmp_path / "study.nrrd", hounsfield(sizes=SIZES), affine, "int16"))
    mask = volumes.read_mask(written_mask(node, volume, fresh_folder(tmp_path))["file"], study)
    back = volumes.write_mask(mask, study, tmp_path / "back.nrrd")
    again = show(volume, parse(document_for(volume)), {"lungs": back}).lungs
    assert np.array_equal(label_array(again, volume), two_lungs(affine))


def test_lesions_have_their_own_labels_and_may_be_empty(scene: Any, tmp_path: Path) -> None:
    volume = add_volume(AFFINE, hounsfield(sizes=SIZES))
    labels = two_lungs()
    result = parse(document_for(volume))
    lesions = show(volume, result, {"lesions": write_nrrd(tmp_path / "a.nrrd", labels, AFFINE)}).lesions
    assert np.array_equal(label_array(lesions, volume, LESIONS), labels)
    none = show(volume, result, {"lesions": write_nrrd(tmp_path / "b.nrrd", 0 * labels, AFFINE)}).lesions
    assert written_mask(none, volume, fresh_folder(tmp_path), LESIONS)["counts"] == [0, 0]


def test_one_missing_lung_is_allowed(scene: Any, tmp_path: Path) -> None:
    node, volume = shown_lungs(tmp_path, labels=(two_lungs() == 2) * np.uint8(2))
    assert written_mask(node, volume, fresh_folder(tmp_path))["counts"][0] == 0


def test_segments_are_known_by_code_or_name(scene: Any, tmp_path: Path) -> None:
    volume = add_volume(AFFINE, hounsfield(sizes=SIZES))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    add_segment(node, volume, two_lungs() == 1, "R", RIGHT_LUNG_KIND.terminology.replace("Right", "rechts"))
    add_segment(node, volume, two_lungs() == 2, " Left Lung ")
    add_segment(node, volume, np.zeros(SIZES[::-1], bool), "left over")
    assert np.array_equal(label_array(node, volume), two_lungs())


def test_overlap_is_refused(scene: Any, tmp_path: Path) -> None:
    node, volume = shown_lungs(tmp_path)
    left = slicer.util.arrayFromSegmentBinaryLabelmap(node, LEFT_LUNG_KIND.identifier, volume).copy()
    left[tuple(np.argwhere(two_lungs() == 1)[0])] = 1
    node.GetSegmentation().RemoveSegment(LEFT_LUNG_KIND.identifier)
    add_segment(node, volume, left, "left lung")
    folder = fresh_folder(tmp_path)
    with pytest.raises(MaskError, match="'left lung' overlaps"):
        written_mask(node, volume, folder)
    assert not list(folder.glob("*.nrrd"))


def test_swapped_sides_are_refused(scene: Any, tmp_path: Path) -> None:
    swapped = np.choose(two_lungs(), [0, 2, 1]).astype(np.uint8)
    node, volume = shown_lungs(tmp_path, labels=swapped)
    with pytest.raises(MaskError, match="swapped"):
        written_mask(node, volume, fresh_folder(tmp_path))


def test_an_unknown_segment_with_voxels_is_refused(scene: Any, tmp_path: Path) -> None:
    node, volume = shown_lungs(tmp_path)
    extra = np.zeros(SIZES[::-1], bool)
    extra[0, 0, 0] = True
    add_segment(node, volume, extra, "Segment_1")
    with pytest.raises(MaskError, match="'Segment_1' is none of: right lung, left lung"):
        label_array(node, volume)


def test_a_removed_or_doubled_segment_is_refused(scene: Any, tmp_path: Path) -> None:
    node, volume = shown_lungs(tmp_path)
    identifier = add_segment(node, volume, two_lungs() == 9, "right lung")
    with pytest.raises(MaskError, match="two segments"):
        label_array(node, volume)
    for known in (identifier, RIGHT_LUNG_KIND.identifier):
        node.GetSegmentation().RemoveSegment(known)
    with pytest.raises(MaskError, match="no segment 'right lung'"):
        label_array(node, volume)


def test_empty_lungs_are_refused(scene: Any, tmp_path: Path) -> None:
    node, volume = shown_lungs(tmp_path, labels=0 * two_lungs())
    with pytest.raises(MaskError, match="empty"):
        label_array(node, volume)


@pytest.mark.parametrize("grid", ["same", "finer"])
def test_what_reaches_outside_the_volume_is_refused(scene: Any, tmp_path: Path, grid: str) -> None:
    node, volume = shown_lungs(tmp_path)
    scale = 1 if grid == "same" else 2
    larger = np.ones(tuple(scale * (size + 4) for size in SIZES[::-1]), np.uint8)
    other = add_volume(AFFINE @ np.diag([1 / scale] * 3 + [1.0]), larger.astype(np.int16), "other")
    segment = node.GetSegmentation().GetSegment(RIGHT_LUNG_KIND.identifier)
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segment.AddRepresentation(name, oriented_labelmap(larger, other))
    segment.SetLabelValue(1)
    with pytest.raises(MaskError, match="'right lung' reaches outside"):
        label_array(node, volume)


def test_a_segmentation_on_a_finer_grid_takes_the_nearest_voxels(scene: Any, tmp_path: Path) -> None:
    volume = add_volume(AFFINE, hounsfield(sizes=SIZES))
    fine = np.repeat(np.repeat(np.repeat(two_lungs(), 3, 0), 3, 1), 3, 2)
    shift = np.eye(4)
    shift[:3, 3] = -1 / 3
    finer = add_volume(AFFINE @ shift @ np.diag([1 / 3] * 3 + [1.0]), fine.astype(np.int16), "finer")
    shown = show(finer, parse(document_for(finer)), {})
    assert shown.lungs is None
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.SetReferenceImageGeometryParameterFromVolumeNode(finer)
    add_segment(node, finer, fine == 1, "right lung")
    add_segment(node, finer, fine == 2, "left lung")
    assert np.array_equal(label_array(node, volume), two_lungs())


def test_different_transforms_are_refused(scene: Any, tmp_path: Path) -> None:
    node, volume = shown_lungs(tmp_path)
    volume.SetAndObserveTransformNodeID(transform().GetID())
    with pytest.raises(MaskError, match="different transforms"):
        label_array(node, volume)


def test_nodes_that_are_gone_are_said(scene: Any, tmp_path: Path) -> None:
    node, volume = shown_lungs(tmp_path)
    scene.RemoveNode(volume)
    with pytest.raises(SceneError, match="volume"):
        label_array(node, volume)
    with pytest.raises(SceneError, match="segmentation"):
        label_array(None, volume)


def test_a_full_disk_is_said_and_the_edit_stays(scene: Any, tmp_path: Path) -> None:
    node, volume = shown_lungs(tmp_path)
    folder = fresh_folder(tmp_path)
    (folder / "mask-0.raw").symlink_to("/dev/full")
    with pytest.raises(MaskError, match="No space left") as caught:
        written_mask(node, volume, folder)
    assert caught.value.code == "disk"
    assert np.array_equal(label_array(node, volume), two_lungs())


def test_terminology_is_read_by_slicer(scene: Any) -> None:
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    for kind, codes in (
        (RIGHT_LUNG_KIND, ("123037004", "39607008", "24028007")),
        (LEFT_LUNG_KIND, ("123037004", "39607008", "7771000")),
        (GROUND_GLASS_KIND, ("49755003", "1217294009", None)),
        (CONSOLIDATION_KIND, ("49755003", "95436008", None)),
    ):
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(kind.terminology, entry)
        found = entry.GetCategoryObject(), entry.GetTypeObject(), entry.GetTypeModifierObject()
        assert tuple(part.GetCodeValue() for part in found) == codes
        assert logic.SerializeTerminologyEntry(entry) == kind.terminology
        assert len(terminology_code(kind.terminology)) == 3
