"""Masks land voxel-exact in the scene, and a scene that was saved shows the result again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from mask_tools import label_array, write_copies
from mrml_samples import (
    SIZES,
    add_volume,
    document_for,
    hounsfield,
    oblique,
    orientations,
    result_document,
    transform,
    write_nrrd,
)

from CovidBertLib.export import VolumeCopy
from CovidBertLib.overlay import legend_of, show_overlay
from CovidBertLib.problems import ResultError, SceneError
from CovidBertLib.result import parse
from CovidBertLib.scene import find, find_all, remove, show
from CovidBertLib.segments import KINDS, LESIONS, LUNGS


def lung_labels(affine: np.ndarray) -> np.ndarray:
    """Return random labels (k, j, i): 1 only in the patient's right half, 2 only in the left."""
    labels = np.random.default_rng(11).integers(0, 2, SIZES[::-1]).astype(np.uint8)
    k, j, i = np.indices(labels.shape)
    place = np.stack([i, j, k], -1) @ affine[0, :3]
    return np.where(place > np.median(place), labels, 2 * labels).astype(np.uint8)


def labels_in_scene(node: Any, volume: Any, mask: str) -> np.ndarray:
    """Read a segmentation as 3D Slicer exports it, on the volume's grid."""
    found = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    for kind in KINDS[mask]:
        inside = slicer.util.arrayFromSegmentBinaryLabelmap(node, kind.identifier, volume)
        found[inside != 0] = kind.label
    return found


@pytest.fixture
def shown(scene: Any, tmp_path: Path) -> Any:
    """A shown result of three files."""
    affine = oblique(orientations()[0])
    volume = add_volume(affine, hounsfield())
    return show(volume, parse(document_for(volume)), files_for(affine, tmp_path))


def files_for(affine: np.ndarray, folder: Path) -> dict[str, Path]:
    random = np.random.default_rng(3)
    return {
        "lungs": write_nrrd(folder / "a.nrrd", lung_labels(affine), affine),
        "lesions": write_nrrd(folder / "b.nrrd", random.integers(0, 3, SIZES[::-1]).astype(np.uint8), affine),
        "location": write_nrrd(folder / "c.nrrd", random.integers(0, 256, SIZES[::-1]).astype(np.uint8), affine),
    }


@pytest.mark.parametrize("moved", [False, True], ids=["plain", "transformed"])
@pytest.mark.parametrize("turned", [False, True], ids=["straight", "oblique"])
def test_masks_land_voxel_exact(scene: Any, tmp_path: Path, turned: bool, moved: bool) -> None:
    parent = transform().GetID() if moved else None
    for straight in orientations():
        affine = oblique(straight) if turned else straight
        volume = add_volume(affine, hounsfield())
        volume.SetAndObserveTransformNodeID(parent)
        labels = lung_labels(affine)

        nodes = show(volume, parse(document_for(volume)), {"lungs": write_nrrd(tmp_path / "m.nrrd", labels, affine)})

        assert nodes.lungs.GetTransformNodeID() == volume.GetTransformNodeID() == parent
        assert np.array_equal(labels_in_scene(nodes.lungs, volume, LUNGS), labels)
        assert np.array_equal(label_array(nodes.lungs, volume), labels)
        right, left = (_middle(nodes.lungs, kind.identifier) for kind in KINDS[LUNGS])
        assert right[0] > left[0]  # RAS: the right lung lies towards the patient's right
        remove(nodes)
        scene.RemoveNode(volume)


def _middle(node: Any, identifier: str) -> np.ndarray:
    """Return the middle of a segment's voxels in the patient's RAS, from the segmentation's own geometry."""
    image = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(identifier, image)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    extent = image.GetExtent()
    values = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    places = np.argwhere(values.reshape([extent[2 * a + 1] - extent[2 * a] + 1 for a in (2, 1, 0)]))[:, ::-1]
    places = places + np.array(extent[::2])
    return np.array(matrix.MultiplyPoint((*places.mean(0), 1.0)))[:3]


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_masks_written_by_the_server_come_back_exact(scene: Any, tmp_path: Path, suffix: str) -> None:
    volumes = pytest.importorskip("covid_bert.volumes", exc_type=ImportError)
    for affine in [*orientations()[::5], *(oblique(straight) for straight in orientations()[::5])]:
        node = add_volume(affine, hounsfield(sizes=(34, 30, 32)))
        copy = VolumeCopy(node, tmp_path)
        write_copies([copy])
        exported = copy.order
        values = np.fromfile(exported["raw"], "<i2").reshape(exported["header"]["sizes"][::-1])
        study = volumes.read(write_nrrd(tmp_path / "study.nrrd", values, affine, "int16"))
        # On the server: labels on the canonical grid, whose columns run towards the patient's left.
        canonical = np.random.default_rng(2).integers(0, 2, study.shape).astype(np.uint8)
        canonical[:, :, study.shape[2] // 2 :] *= 2
        path = volumes.write_mask(canonical, study, tmp_path / f"mask{suffix}")
        nodes = show(node, parse(document_for(node)), {"lungs": path})
        back = write_nrrd(tmp_path / "back.nrrd", labels_in_scene(nodes.lungs, node, LUNGS), affine)
        assert np.array_equal(volumes.read_mask(back, study), canonical)
        right, left = (_middle(nodes.lungs, kind.identifier) for kind in KINDS[LUNGS])
        assert right[0] > left[0]
        remove(nodes)
        scene.RemoveNode(node)


@pytest.mark.parametrize("order", orientations()[1::6])
def test_a_file_with_its_axes_in_another_order_is_turned(scene: Any, tmp_path: Path, order: np.ndarray) -> None:
    affine = orientations()[0]
    labels = lung_labels(affine)
    # Which of the volume's axes each axis of the file follows, and whether backwards.
    source = np.abs(np.linalg.inv(affine)[:3, :3] @ (order[:3, :3] / np.linalg.norm(order[:3, :3], axis=0))).argmax(0)
    signs = np.sign(np.einsum("ij,ij->j", order[:3, :3], affine[:3, source]))
    file_affine = affine.copy()
    file_affine[:3, :3] = affine[:3, source] * signs
    for axis in range(3):
        if signs[axis] < 0:
            file_affine[:3, 3] += affine[:3, source[axis]] * (SIZES[source[axis]] - 1)
    moved = labels.transpose(2, 1, 0).transpose(source)
    moved = moved[tuple(slice(None, None, int(sign)) for sign in signs)].transpose(2, 1, 0)
    volume = add_volume(affine, hounsfield())

    nodes = show(volume, parse(document_for(volume)), {"lungs": write_nrrd(tmp_path / "m.nrrd", moved, file_affine)})

    assert np.array_equal(labels_in_scene(nodes.lungs, volume, LUNGS), labels)


def test_lesions_and_location_land_voxel_exact(scene: Any, tmp_path: Path) -> None:
    affine = oblique(orientations()[29])
    volume = add_volume(affine, hounsfield())
    files = files_for(affine, tmp_path)
    nodes = show(volume, parse(document_for(volume)), files)
    header = files["lesions"].read_bytes().index(b"\n\n") + 2
    lesions = np.frombuffer(files["lesions"].read_bytes()[header:], np.uint8).reshape(SIZES[::-1])
    assert np.array_equal(labels_in_scene(nodes.lesions, volume, LESIONS), lesions)
    header = files["location"].read_bytes().index(b"\n\n") + 2
    stored = np.frombuffer(files["location"].read_bytes()[header:], np.uint8).reshape(SIZES[::-1])
    percent = slicer.util.arrayFromVolume(nodes.location)
    assert np.abs(percent - stored * (100 / 255)).max() <= 0.5
    matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
    volume.GetIJKToRASMatrix(matrices[0])
    nodes.location.GetIJKToRASMatrix(matrices[1])
    assert all(
        matrices[0].GetElement(row, column) == pytest.approx(matrices[1].GetElement(row, column), abs=1e-12)
        for row in range(4)
        for column in range(4)
    )


def test_a_side_without_a_voxel_is_still_a_segment(scene: Any, tmp_path: Path) -> None:
    affine = orientations()[0]
    only_right = (lung_labels(affine) == 1).astype(np.uint8)
    volume = add_volume(affine, hounsfield())
    lungs = show(
        volume, parse(document_for(volume)), {"lungs": write_nrrd(tmp_path / "m.nrrd", only_right, affine)}
    ).lungs
    assert list(lungs.GetSegmentation().GetSegmentIDs()) == [kind.identifier for kind in KINDS[LUNGS]]
    assert not slicer.util.arrayFromSegmentBinaryLabelmap(lungs, KINDS[LUNGS][1].identifier, volume).any()


def test_each_result_makes_new_nodes(shown: Any, tmp_path: Path) -> None:
    edited = shown.lungs.GetSegmentation().GetSegment(KINDS[LUNGS][0].identifier)
    edited.SetName("edited by hand")
    affine = oblique(orientations()[0])
    again = show(shown.volume, parse(document_for(shown.volume)), files_for(affine, tmp_path))

    assert again.lungs is not shown.lungs
    assert again.lungs.GetName() != shown.lungs.GetName()
    assert edited.GetName() == "edited by hand"
    assert [found.record for found in find(shown.volume)] == [again.record, shown.record]
    other = add_volume(affine, hounsfield(), name="other")
    assert find(other) == find(None) == []


def test_nodes_lie_under_the_volume_and_outlive_it(scene: Any, shown: Any) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    parent = hierarchy.GetItemByDataNode(shown.volume)
    assert parent
    for node in (shown.lungs, shown.lesions, shown.location, shown.record):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == parent
    scene.RemoveNode(shown.volume)
    assert shown.lungs.GetScene() is scene  # no edit is lost
    assert find_all()[0].volume is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("size", "grid"),
        ("shift", "grid"),
        ("spacing", "grid"),
        ("label", "values"),
        ("damage", "damaged"),
        ("gone", "missing"),
    ],
)
def test_a_file_that_does_not_fit_leaves_the_scene_as_it_was(
    scene: Any, tmp_path: Path, change: str, message: str
) -> None:
    affine = orientations()[0]
    volume = add_volume(affine, hounsfield())
    files = files_for(affine, tmp_path)
    wrong, labels = affine.copy(), lung_labels(affine)
    if change == "size":
        labels = labels[:-1]
    elif change == "shift":
        wrong[0, 3] += 0.2
    elif change == "spacing":
        wrong[:3, 0] *= 1.05
    elif change == "label":
        labels[0, 0, 0] = 3
    write_nrrd(files["lesions"], labels, wrong)
    if change == "damage":
        files["lesions"].write_bytes(b"NRRD0004\nnonsense")
    elif change == "gone":
        files["lesions"].unlink()
    before = scene.GetNumberOfNodes()

    with pytest.raises(ResultError, match=message):
        show(volume, parse(document_for(volume)), files)

    assert scene.GetNumberOfNodes() == before


def test_a_volume_that_is_gone_is_said(scene: Any, tmp_path: Path) -> None:
    volume = add_volume(orientations()[0], hounsfield())
    scene.RemoveNode(volume)
    with pytest.raises(SceneError, match="no longer in the scene"):
        show(volume, parse(result_document()), files_for(orientations()[0], tmp_path))


def test_remove_takes_the_nodes_and_leaves_the_volume(scene: Any, shown: Any) -> None:
    kinds = ("vtkMRMLSegmentationNode", "vtkMRMLTextNode", "vtkMRMLColorLegendDisplayNode")
    remove(shown)
    assert [scene.GetNumberOfNodesByClass(kind) for kind in kinds] == [0, 0, 0]
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert find_all() == []
    remove(shown)  # again: nothing left to do


def test_a_saved_scene_shows_the_result_again(scene: Any, shown: Any, tmp_path: Path) -> None:
    show_overlay(shown.volume, shown.location)
    shown.volume.SetAndObserveTransformNodeID(transform().GetID())
    for node in (shown.lungs, shown.lesions, shown.location):
        node.SetAndObserveTransformNodeID(shown.volume.GetTransformNodeID())
    first = show(shown.volume, shown.result(), {})
    lungs, lesions = (labels_in_scene(n, shown.volume, m) for n, m in ((shown.lungs, LUNGS), (shown.lesions, LESIONS)))
    percent = slicer.util.arrayFromVolume(shown.location).copy()
    path = tmp_path / "study.mrb"
    assert slicer.util.saveScene(str(path))
    scene.Clear(0)
    assert find_all() == []
    slicer.util.loadScene(str(path))

    volume = slicer.util.getNode("CT")
    newest, again = find(volume)
    assert newest.lungs is None
    assert newest.result() == again.result() == first.result()
    assert np.array_equal(labels_in_scene(again.lungs, volume, LUNGS), lungs)
    assert np.array_equal(labels_in_scene(again.lesions, volume, LESIONS), lesions)
    assert np.array_equal(slicer.util.arrayFromVolume(again.location), percent)
    assert label_array(again.lungs, volume).shape == lungs.shape
    segment = again.lungs.GetSegmentation().GetSegment(KINDS[LUNGS][0].identifier)
    assert segment.GetColor() == pytest.approx(KINDS[LUNGS][0].colour, abs=1e-4)
    assert again.location.GetDisplayNode().GetColorNode().GetNumberOfColors() == 256
    assert again.location.GetDisplayNode().GetApplyThreshold()
    assert legend_of(again.location) is not None


def test_the_record_names_no_patient(scene: Any, tmp_path: Path) -> None:
    affine = orientations()[0]
    volume = add_volume(affine, hounsfield(), name="DOE^JOHN")
    record = show(volume, parse(document_for(volume)), files_for(affine, tmp_path)).record
    assert json.loads(record.GetText()) == document_for(volume)
    attributes = {name: record.GetAttribute(name) for name in record.GetAttributeNames()}
    assert "DOE" not in record.GetText() + repr(attributes) + repr(record.GetDescription())


def test_a_record_that_was_changed_is_refused(shown: Any) -> None:
    shown.record.SetText("{}")
    with pytest.raises(ResultError):
        shown.result()
