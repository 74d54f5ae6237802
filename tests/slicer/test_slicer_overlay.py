"""The location map over the CT, and jumps of the slice views to slices and points of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from mrml_samples import (
    SIZES,
    add_volume,
    document_for,
    fitted,
    hounsfield,
    oblique,
    orientations,
    picture,
    result_document,
    transform,
    write_nrrd,
)

from CovidBertLib.geometry import index_to_patient, patient_to_scene
from CovidBertLib.overlay import (
    HIGHEST,
    THRESHOLD,
    hide_overlay,
    legend_of,
    overlay_shown,
    set_threshold,
    show_overlay,
)
from CovidBertLib.result import parse
from CovidBertLib.scene import show
from CovidBertLib.views import (
    jump_to_point,
    jump_to_position,
    jump_to_slice,
    shown_slice,
    slice_positions,
    view_along_slices,
)

NAMES = ("Red", "Yellow", "Green")


@pytest.fixture
def shown(scene: Any, tmp_path: Path) -> Any:
    return add_map(tmp_path)


def add_map(folder: Path) -> Any:
    affine = orientations()[0]
    values = np.random.default_rng(1).integers(0, 256, SIZES[::-1]).astype(np.uint8)
    volume = add_volume(affine, hounsfield())
    return show(volume, parse(document_for(volume)), {"location": write_nrrd(folder / "map.nrrd", values, affine)})


def composites() -> list[Any]:
    return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")


def middle_of(name: str) -> np.ndarray:
    matrix = slicer.util.getNode(f"vtkMRMLSliceNode{name}").GetSliceToRAS()
    return np.array([matrix.GetElement(row, 3) for row in range(3)])


def test_a_new_map_changes_no_view(shown: Any) -> None:
    assert composites()
    assert not overlay_shown(shown.location)


def test_the_map_is_shown_over_its_volume_and_taken_away(shown: Any) -> None:
    show_overlay(shown.volume, shown.location, 0.4)
    assert overlay_shown(shown.location)
    for composite in composites():
        assert composite.GetBackgroundVolumeID() == shown.volume.GetID()
        assert composite.GetForegroundVolumeID() == shown.location.GetID()
        assert composite.GetForegroundOpacity() == pytest.approx(0.4)
    assert legend_of(shown.location).GetVisibility()

    hide_overlay(shown.location)

    assert not overlay_shown(shown.location)
    assert not legend_of(shown.location).GetVisibility()
    assert {composite.GetBackgroundVolumeID() for composite in composites()} == {shown.volume.GetID()}


def test_hiding_leaves_the_foreground_of_others(shown: Any) -> None:
    other = add_volume(orientations()[0], hounsfield(), "PET")
    for composite in composites():
        composite.SetForegroundVolumeID(other.GetID())
    hide_overlay(shown.location)
    assert {composite.GetForegroundVolumeID() for composite in composites()} == {other.GetID()}


def test_low_values_are_transparent_and_the_scale_is_fixed(shown: Any) -> None:
    display = shown.location.GetDisplayNode()
    assert display.GetApplyThreshold()
    assert (display.GetLowerThreshold(), display.GetUpperThreshold()) == (THRESHOLD, HIGHEST)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, HIGHEST)
    assert not display.GetAutoWindowLevel()
    set_threshold(shown.location, 0)
    assert display.GetLowerThreshold() > 0  # 0 is outside the lungs
    set_threshold(shown.location, 60)
    assert display.GetLowerThreshold() == 60


def test_the_legend_says_what_the_numbers_are(shown: Any) -> None:
    legend = legend_of(shown.location)
    assert "probability" in legend.GetTitleText().lower()  # of the fixture's lesion network
    assert legend.GetTitleText().endswith("%")
    assert legend.GetLabelFormat() == "%.0f"


def test_the_legend_leaves_the_middle_of_a_view_free(scene: Any, render_slice: Any, tmp_path: Path) -> None:
    slicer.app.layoutManager().sliceWidget("Red").sliceView().renderWindow()  # views are there before legends
    shown = add_map(tmp_path)
    show_overlay(shown.volume, shown.location)
    seen = picture(render_slice("Red", tmp_path / "with.png"))
    legend_of(shown.location).SetVisibility(False)
    changed = (seen != picture(render_slice("Red", tmp_path / "without.png"))).any(axis=(0, 2))
    assert changed.any()
    assert not changed[: int(0.6 * changed.size)].any()


def test_a_map_of_scores_has_another_title(scene: Any, tmp_path: Path) -> None:
    document = fitted(result_document(), 9)
    document["location_map"]["method"] = "Grad-CAM of the last feature map"
    affine = orientations()[0]
    path = write_nrrd(tmp_path / "m.nrrd", np.zeros(SIZES[::-1], np.uint8), affine)
    nodes = show(add_volume(affine, hounsfield()), parse(document), {"location": path})
    assert "maximum" in legend_of(nodes.location).GetTitleText()


def test_colours_grow_lighter(shown: Any) -> None:
    table = shown.location.GetDisplayNode().GetColorNode()
    colours = np.array([_colour(table, index) for index in range(256)])
    # CIE 1931 luminance of sRGB; grows without a step back for a perceptual map.
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luminance) >= 0)
    assert np.all(np.diff(luminance[::8]) > 0), "the table's colours are of 8 bits: neighbours may be one"


# Linear sRGB as people without one kind of cones see it (Machado, Oliveira and Fernandes 2009, severity 1).
VISION = {
    "all cones": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def cielab(colours: np.ndarray, vision: str) -> np.ndarray:
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(VISION[vision]).T, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = seen @ to_xyz.T / [0.95047, 1.0, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@pytest.mark.parametrize("vision", VISION)
def test_no_segment_has_a_colour_of_the_map(scene: Any, vision: str) -> None:
    """Distances in CIELAB; 2 are just seen, 25 are another colour at a glance."""
    from CovidBertLib.overlay import map_colour
    from CovidBertLib.segments import KINDS

    table = cielab(np.array([map_colour(percent) for percent in range(20, 101)]), vision)
    segments = cielab(np.array([kind.colour for kinds in KINDS.values() for kind in kinds]), vision)
    assert np.linalg.norm(segments[:, None] - table, axis=-1).min() > 25


def test_colours_of_an_older_scene_are_not_taken(scene: Any, tmp_path: Path) -> None:
    older = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", "older")
    older.SetAttribute("CovidBert.LocationColours", "1")
    affine = orientations()[0]
    path = write_nrrd(tmp_path / "m.nrrd", np.zeros(SIZES[::-1], np.uint8), affine)
    volume = add_volume(affine, hounsfield())
    nodes = show(volume, parse(document_for(volume)), {"location": path})
    assert nodes.location.GetDisplayNode().GetColorNode() is not older


def _colour(table: Any, index: int) -> tuple[float, ...]:
    rgba = [0.0] * 4
    assert table.GetColor(index, rgba)
    return tuple(rgba[:3])


def test_maps_of_a_scene_share_their_colours(scene: Any, shown: Any, tmp_path: Path) -> None:
    affine = orientations()[0]
    path = write_nrrd(tmp_path / "m.nrrd", np.zeros(SIZES[::-1], np.uint8), affine)
    again = show(shown.volume, parse(document_for(shown.volume)), {"location": path})
    first, second = (nodes.location.GetDisplayNode().GetColorNode() for nodes in (shown, again))
    assert first is second


@pytest.mark.parametrize("moved", [False, True], ids=["plain", "transformed"])
def test_a_jump_goes_to_the_slice(scene: Any, moved: bool) -> None:
    parent = transform(9.0).GetID() if moved else None
    for affine in [*orientations(), *(oblique(straight) for straight in orientations()[::9])]:
        volume = add_volume(affine, hounsfield())
        volume.SetAndObserveTransformNodeID(parent)
        positions = slice_positions(volume)
        assert np.all(np.diff(positions) > 0)  # 0 is at the foot
        for index in (0, 3, len(positions) - 1):
            jump_to_slice(volume, index)
            assert shown_slice(volume) == index
        jump_to_position(volume, float(positions[4]) + 0.1)
        assert shown_slice(volume) == 4
        jump_to_slice(volume, 10_000)
        assert shown_slice(volume) == len(positions) - 1
        assert view_along_slices(volume).GetLayoutName() == "Red"
        scene.RemoveNode(volume)


def test_a_jump_keeps_what_the_other_views_show(scene: Any) -> None:
    volume = add_volume(orientations()[0], hounsfield())
    jump_to_point(volume, (-28.0, 20.0, -415.0))
    before = {name: slicer.util.getNode(f"vtkMRMLSliceNode{name}").GetSliceOffset() for name in NAMES}
    jump_to_slice(volume, 7)
    after = {name: slicer.util.getNode(f"vtkMRMLSliceNode{name}").GetSliceOffset() for name in NAMES}
    assert after["Red"] == pytest.approx(slice_positions(volume)[7])
    assert [after[name] for name in NAMES[1:]] == pytest.approx([before[name] for name in NAMES[1:]])


@pytest.mark.parametrize("moved", [False, True], ids=["plain", "transformed"])
def test_a_jump_to_a_point_brings_it_to_the_middle_of_all_views(scene: Any, moved: bool) -> None:
    volume = add_volume(oblique(orientations()[3]), hounsfield())
    if moved:
        volume.SetAndObserveTransformNodeID(transform().GetID())
    point = (index_to_patient(volume) @ [5, 2, 7, 1])[:3]
    jump_to_point(volume, tuple(point))
    for name in NAMES:
        assert middle_of(name) == pytest.approx(patient_to_scene(volume, point))


def test_a_view_outside_of_the_study_shows_no_slice(scene: Any) -> None:
    volume = add_volume(orientations()[0], hounsfield())
    jump_to_point(volume, (0.0, 0.0, 5000.0))
    assert shown_slice(volume) is None


def test_positions_are_those_of_the_result(scene: Any) -> None:
    document = result_document()
    count = document["study"]["slices"]
    spacing = document["study"]["spacing_mm"]
    first = document["slice_evidence"][0]
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    affine[2, 3] = first["position_mm"] - first["index"] * spacing[0]
    volume = add_volume(affine, np.zeros((count, 9, 9), np.int16))
    for evidence in document["slice_evidence"]:
        assert slice_positions(volume)[evidence["index"]] == pytest.approx(evidence["position_mm"])
