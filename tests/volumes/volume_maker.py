"""Small asymmetric chest phantoms, files of them in every orientation, and a check of error messages."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest

from covid_bert.errors import CovidBertError
from covid_bert.volumes import read

PATIENT_NAME = "Doe^Jane"
PATIENT_ID = "SECRET-4711"
SHAPE = (12, 20, 26)
SPACING = (2.5, 0.7, 0.9)  # slices, rows, columns
BEAD = (9, 4, 5)  # near the head, the front and the patient's right
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
ORIENTATIONS = [
    (axes, flips) for axes in itertools.permutations(range(3)) for flips in itertools.product((False, True), repeat=3)
]


def phantom(shape=SHAPE, seed=3):
    """HU (slices, rows, columns): air, body, two lungs of different size, liver on the patient's right, one bead."""
    z, y, x = (np.linspace(-1, 1, size)[axis] for axis, size in zip(np.ix_(*map(range, shape)), shape, strict=True))
    array = np.full(shape, -1000.0) + 0 * (x + y + z)
    array[np.broadcast_to((x / 0.9) ** 2 + (y / 0.8) ** 2 < 1, shape)] = 40
    array[((x + 0.4) / 0.3) ** 2 + (y / 0.5) ** 2 + (z / 0.9) ** 2 < 1] = -850
    array[((x - 0.4) / 0.25) ** 2 + (y / 0.4) ** 2 + (z / 0.9) ** 2 < 1] = -800
    array[np.broadcast_to((x < 0) & (x > -0.6) & (abs(y) < 0.5) & (z < -0.7), shape)] = 110
    array += np.random.default_rng(seed).integers(-20, 21, shape)
    if shape == SHAPE:
        array[BEAD] = 1200
    return array.astype(np.int16)


def canonical_affine(spacing=SPACING, origin=(30.0, 12.0, -140.0)):
    """(column, row, slice, 1) to RAS: columns to the left, rows to the back, slices to the head."""
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    affine[:3, 3] = origin
    return affine


AFFINE = canonical_affine()


def labels(array):
    """A mask with labels 1 and 2 in no symmetric pattern."""
    mask = (array < -500).astype(np.uint8)
    mask[:, :, array.shape[2] // 2 :] *= 2
    return mask


def stored(array, axes, flips):
    """Bring a canonical array to a file order (i, j, k), whose axis a is the axis axes[a] of (x, y, z)."""
    moved = array.transpose(2, 1, 0).transpose(axes)
    return moved[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]


def stored_affine(affine, shape, axes, flips):
    """The affine that belongs to `stored`, worked out from the index map."""
    sizes = shape[::-1]
    to_canonical = np.zeros((4, 4))
    to_canonical[3, 3] = 1
    for file_axis, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        to_canonical[axis, file_axis] = -1 if flip else 1
        to_canonical[axis, 3] = sizes[axis] - 1 if flip else 0
    return affine @ to_canonical


def save(path: Path, array, affine):
    """Write (i, j, k) with its RAS affine, as NIfTI by nibabel, else by ITK."""
    if ".nii" in path.name:
        nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array), affine), path)
        return path
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = itk.image_from_array(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing([float(value) for value in spacing])
    image.SetOrigin([float(value) for value in lps[:3, 3]])
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing)))
    itk.imwrite(image, str(path), compression=path.name.startswith("packed"))
    return path


def file_order(array):
    """Bring a canonical array to (columns, rows, slices)."""
    return np.asarray(array).transpose(2, 1, 0)


def nifti(path, array, affine=AFFINE, **fields):
    """Write (i, j, k) with nibabel, then header fields as given."""
    image = nibabel.Nifti1Image(array, affine)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def patch(path, offset, content):
    """Overwrite bytes of a file."""
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(bytes(data))
    return path


def load(path: Path):
    """Read (i, j, k) and the RAS affine of a file, without the code under test."""
    if ".nii" in path.name:
        image = nibabel.load(path)
        return np.asanyarray(image.dataobj), image.affine
    image = itk.imread(str(path))
    lps = np.eye(4)
    lps[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return itk.array_from_image(image).transpose(2, 1, 0), LPS_TO_RAS @ lps


def assert_clean(error: CovidBertError):
    """Every error says what is wrong and what to do, is JSON, and names no patient."""
    assert len(error.message) > 10
    assert len(error.hint) > 5
    text = json.dumps(error.to_json())
    assert "Doe" not in text
    assert "Jane" not in text
    assert PATIENT_ID not in text


def refused(error_class, path, **keywords):
    """Return the error that reading raises, after checking its class and its texts."""
    with pytest.raises(error_class) as caught:
        read(path, **keywords)
    assert type(caught.value) is error_class
    assert_clean(caught.value)
    return caught.value
