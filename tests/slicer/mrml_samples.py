"""Volumes, masks and results for the tests of nodes."""

from __future__ import annotations

import json
import sys
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
import vtk
from vtk.util import numpy_support

_MODULE = str(Path(__file__).resolve().parents[2] / "slicer_extension" / "CovidBert")
if _MODULE not in sys.path:  # where 3D Slicer puts the folder of a module
    sys.path.insert(0, _MODULE)

RESULT_FILE = Path(__file__).resolve().parent / "data" / "result.json"
SIZES = (12, 10, 9)  # along i, j, k: all different, so that a swap cannot hide
SPACING = (0.7, 0.8, 1.5)
ORIGIN = (-31.0, 17.5, -420.25)


def result_document() -> dict[str, Any]:
    """Return the JSON of a real result."""
    return json.loads(RESULT_FILE.read_text(encoding="utf-8"))


def fitted(document: dict[str, Any], slices: int) -> dict[str, Any]:
    """Return the JSON of a result as one of so many slices."""
    document["study"]["slices"] = slices
    document["slice_evidence"] = [each for each in document["slice_evidence"] if each["index"] < slices]
    return document


def document_for(volume: Any) -> dict[str, Any]:
    """Return the JSON of the result as one of a volume."""
    from CovidBertLib.geometry import slice_axis

    return fitted(result_document(), slice_axis(volume).count)


def orientations() -> list[np.ndarray]:
    """Return the affines of all 48 ways in which the axes of a file can lie along those of the patient."""
    found = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = 0.0
        for axis, (patient, sign) in enumerate(zip(order, signs, strict=True)):
            affine[patient, axis] = sign * SPACING[axis]
        affine[:3, 3] = ORIGIN
        found.append(affine)
    return found


def oblique(affine: np.ndarray, degrees: tuple[float, float, float] = (17.0, -23.0, 11.0)) -> np.ndarray:
    """Turn an affine about the three patient axes."""
    turn = vtk.vtkTransform()
    for angle, rotate in zip(degrees, (turn.RotateX, turn.RotateY, turn.RotateZ), strict=True):
        rotate(angle)
    matrix = np.array([[turn.GetMatrix().GetElement(row, column) for column in range(3)] for row in range(3)])
    turned = affine.copy()
    turned[:3, :3] = matrix @ affine[:3, :3]
    return turned


def to_matrix(affine: np.ndarray) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    for row, column in product(range(4), repeat=2):
        matrix.SetElement(row, column, affine[row, column])
    return matrix


def add_volume(affine: np.ndarray, values: np.ndarray, name: str = "CT", kind: str = "vtkMRMLScalarVolumeNode") -> Any:
    """Add a volume with values (k, j, i)."""
    image = vtk.vtkImageData()
    image.SetDimensions(*values.shape[2::-1])
    flat = values.reshape(-1, values.shape[3]) if values.ndim == 4 else values.ravel()
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(np.ascontiguousarray(flat), deep=True))
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(to_matrix(affine))
    node.CreateDefaultDisplayNodes()
    return node


def hounsfield(seed: int = 5, sizes: tuple[int, int, int] = SIZES) -> np.ndarray:
    """Return int16 values (k, j, i) of air, lung and soft tissue, mixed at random."""
    random = np.random.default_rng(seed)
    means = random.choice([-1000, -850, 40], sizes[::-1], p=[0.3, 0.3, 0.4])
    return (means + random.integers(-24, 25, sizes[::-1])).astype(np.int16)


def transform(degrees: float = 31.0) -> Any:
    """Add a linear transform that turns, moves and stretches."""
    turn = vtk.vtkTransform()
    turn.Translate(12.0, -45.0, 78.0)
    turn.RotateWXYZ(degrees, 0.3, -0.5, 0.8)
    turn.Scale(1.1, 0.9, 1.05)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "registration")
    node.SetMatrixTransformToParent(turn.GetMatrix())
    return node


def write_nrrd(path: Path, values: np.ndarray, affine: np.ndarray, type_: str = "uint8") -> Path:
    """Write values (k, j, i) as NRRD; `affine` takes (i, j, k, 1) to RAS."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    vectors = ["(" + ",".join(repr(float(value)) for value in vector) + ")" for vector in lps[:3].T]
    header = (
        f"NRRD0004\ntype: {type_}\ndimension: 3\nspace: left-posterior-superior\nendian: little\nencoding: raw\n"
        f"sizes: {' '.join(str(size) for size in values.shape[::-1])}\nkinds: domain domain domain\n"
        f"space directions: {' '.join(vectors[:3])}\nspace origin: {vectors[3]}\n\n"
    )
    path.write_bytes(header.encode() + np.ascontiguousarray(values).tobytes())
    return path


def picture(path: Path) -> np.ndarray:
    """Return the colours (rows, columns, 3) of a picture."""
    image = qt.QImage(str(path)).convertToFormat(qt.QImage.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)
