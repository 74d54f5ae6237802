"""The exported file holds the voxels and their place; what cannot be a CT is refused with a plain message."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mask_tools import write_copies
from mrml_samples import add_volume, hounsfield, oblique, orientations, transform

from CovidBertLib.export import VolumeCopy
from CovidBertLib.geometry import axis_order
from CovidBertLib.problems import ExportError, SceneError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def export_volume(volume: Any, folder: Path) -> dict[str, Any]:
    copy = VolumeCopy(volume, folder)
    write_copies([copy])
    return copy.order


def read_back(order: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return values (k, j, i) and the affine to RAS from what was exported."""
    header = order["header"]
    values = np.fromfile(order["raw"], "<i2").reshape(header["sizes"][::-1])
    affine = np.eye(4)
    affine[:3, :3] = np.array(header["directions"]).T
    affine[:3, 3] = header["origin"]
    return values, LPS @ affine


def test_voxels_and_place_are_exact(scene: Any, tmp_path: Path) -> None:
    values = hounsfield()
    for affine in [*orientations(), *(oblique(straight) for straight in orientations())]:
        volume = add_volume(affine, values)
        order = export_volume(volume, tmp_path)
        exported, place = read_back(order)
        assert np.array_equal(exported, values)
        # MRML keeps directions and spacing apart, which rounds in the last digits.
        assert np.allclose(place, affine, rtol=0, atol=1e-12)
        assert order["header"]["type"] == "int16"
        assert order["header"]["endian"] == "little"
        scene.RemoveNode(volume)


def test_transforms_are_left_out(scene: Any, tmp_path: Path) -> None:
    volume = add_volume(orientations()[0], hounsfield())
    volume.SetAndObserveTransformNodeID(transform().GetID())
    assert np.allclose(read_back(export_volume(volume, tmp_path))[1], orientations()[0], atol=1e-12)


def test_the_file_is_only_for_its_owner_and_has_no_name(scene: Any, tmp_path: Path) -> None:
    order = export_volume(add_volume(orientations()[0], hounsfield(), name="DOE^JOHN 1970"), tmp_path)
    assert stat.S_IMODE(Path(order["raw"]).stat().st_mode) == 0o600
    assert "DOE" not in repr(order)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_other_types_keep_their_values(scene: Any, tmp_path: Path, dtype: type) -> None:
    values = np.abs(hounsfield() % 100).astype(dtype)
    assert np.array_equal(read_back(export_volume(add_volume(orientations()[0], values), tmp_path))[0], values)


def test_fractions_of_hounsfield_units_are_rounded(scene: Any, tmp_path: Path) -> None:
    values = hounsfield().astype(np.float32) + np.float32(0.25)
    exported = read_back(export_volume(add_volume(orientations()[0], values), tmp_path))[0]
    assert np.array_equal(exported, hounsfield())


def _bad(values: np.ndarray, index: tuple[int, int, int], value: float) -> np.ndarray:
    values[index] = value
    return values


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (hounsfield().astype(np.uint8), "vtkMRMLLabelMapVolumeNode", "label map"),
        (np.zeros((9, 10, 12, 3), np.uint8), "vtkMRMLVectorVolumeNode", "colour, vector"),
        (np.zeros((9, 10, 12, 3), np.int16), "vtkMRMLScalarVolumeNode", "colours or vectors"),
        (np.zeros((1, 10, 12), np.int16), "vtkMRMLScalarVolumeNode", "single image"),
        (np.zeros((7, 10, 12), np.int16), "vtkMRMLScalarVolumeNode", "7 slices"),
        (_bad(hounsfield().astype(np.float32), (8, 9, 11), np.nan), "vtkMRMLScalarVolumeNode", "not numbers"),
        (_bad(hounsfield().astype(np.float64), (0, 0, 0), np.inf), "vtkMRMLScalarVolumeNode", "not numbers"),
        (_bad(hounsfield().astype(np.int32), (8, 9, 11), 40_000), "vtkMRMLScalarVolumeNode", "beyond those of a CT"),
        (_bad(hounsfield().astype(np.float32), (8, 9, 11), -1e9), "vtkMRMLScalarVolumeNode", "beyond those of a CT"),
        (np.random.default_rng(3).random((9, 10, 12)), "vtkMRMLScalarVolumeNode", "not Hounsfield"),
    ],
)
def test_what_cannot_be_a_ct_is_refused(
    scene: Any, tmp_path: Path, values: np.ndarray, kind: str, message: str
) -> None:
    volume = add_volume(orientations()[0], values, kind=kind)
    with pytest.raises(ExportError, match=message) as caught:
        export_volume(volume, tmp_path)
    assert caught.value.hint
    assert not list(tmp_path.glob("*.raw"))


def test_a_volume_without_image_or_scene_is_refused(scene: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no image"):
        export_volume(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"), tmp_path)
    gone = add_volume(orientations()[0], hounsfield())
    scene.RemoveNode(gone)
    for volume in (gone, None):
        with pytest.raises(SceneError, match="no longer in the scene"):
            export_volume(volume, tmp_path)


def test_a_folder_that_cannot_be_written_is_said(scene: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export_volume(add_volume(orientations()[0], hounsfield()), tmp_path / "missing")
    assert caught.value.code == "disk"


def test_a_full_disk_is_said(scene: Any, tmp_path: Path) -> None:
    (tmp_path / "volume.raw").symlink_to("/dev/full")
    with pytest.raises(ExportError, match="No space left") as caught:
        export_volume(add_volume(orientations()[0], hounsfield(sizes=(40, 40, 40))), tmp_path)
    assert caught.value.code == "disk"


def test_axes_are_those_of_nibabel() -> None:
    nibabel = pytest.importorskip("nibabel")
    for affine in orientations():
        for turned in (affine, oblique(affine), oblique(affine, (50.0, 38.0, -44.0))):
            expected = [(int(axis), int(sign)) for axis, sign in nibabel.orientations.io_orientation(turned)]
            assert list(axis_order(turned)) == expected
