"""NIfTI, NRRD and MetaImage: damaged files, and files that are no volume."""

import gzip
import os
import struct

import itk
import numpy as np
import pytest
from volume_maker import AFFINE, file_order, nifti, patch, phantom, refused, save

from covid_bert.errors import (
    DimensionError,
    NotFoundError,
    ParameterError,
    TooFewSlicesError,
    TooLargeError,
    UnreadableFileError,
)
from covid_bert.volumes import read
from covid_bert.volumes.assembly import check_shape, voxel_limit

# ---------------------------------------------------------------- what is not there, or not a format


def test_missing_paths_and_unknown_formats(tmp_path):
    refused(NotFoundError, tmp_path / "none.nii.gz")
    (tmp_path / "empty").mkdir()
    refused(NotFoundError, tmp_path / "empty")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4")
    assert ".nrrd" in refused(UnreadableFileError, tmp_path / "report.pdf").hint
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("hello")
    assert ".txt" in refused(UnreadableFileError, tmp_path / "texts").message


def test_series_is_refused_where_there_are_none(tmp_path):
    refused(ParameterError, nifti(tmp_path / "ct.nii", file_order(phantom())), series="2")


# ---------------------------------------------------------------- damaged files


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("packed", ["", "packed"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97])
def test_truncated_files(tmp_path, suffix, packed, share, capfd):
    path = save(tmp_path / f"{packed}ct{suffix}", file_order(phantom()), AFFINE)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(UnreadableFileError, path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["ct.nii.gz", "packed.mha", "packed.nrrd"])
@pytest.mark.parametrize("position", [0.6, -5])
def test_damaged_compressed_data_is_noticed_by_its_checksum(tmp_path, name, position):
    path = save(tmp_path / name, file_order(phantom()), AFFINE)
    size = path.stat().st_size
    offset = int(size * position) if position > 0 else size + position
    patch(path, offset, bytes([path.read_bytes()[offset] ^ 0x55]))
    refused(UnreadableFileError, path)


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.nrrd", "ct.nhdr", "ct.mha", "ct.mhd"])
@pytest.mark.parametrize("content", [b"", b"Doe^Jane was here\n" * 40, b"\x89PNG\r\n\x1a\n" + bytes(500)])
def test_files_that_are_not_what_their_name_says(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(UnreadableFileError, tmp_path / name)


def test_plain_data_under_a_compressed_name(tmp_path):
    plain = nifti(tmp_path / "ct.nii", file_order(phantom()))
    plain.rename(tmp_path / "other.nii.gz")
    refused(UnreadableFileError, tmp_path / "other.nii.gz")


@pytest.mark.parametrize(("name", "data"), [("ct.mhd", "ct.raw"), ("ct.nhdr", "ct.raw")])
def test_detached_data_missing_or_short(tmp_path, name, data):
    path = save(tmp_path / name, file_order(phantom()), AFFINE)
    raw = (tmp_path / data).read_bytes()
    (tmp_path / data).write_bytes(raw[:-100])
    refused(UnreadableFileError, path)
    (tmp_path / data).unlink()
    refused(UnreadableFileError, path)


@pytest.mark.parametrize("name", ["ct.mhd", "ct.nhdr"])
def test_a_header_cannot_name_files_elsewhere(tmp_path, name):
    folder = tmp_path / "study"
    folder.mkdir()
    path = save(folder / name, file_order(phantom()), AFFINE)
    (folder / "ct.raw").rename(tmp_path / "ct.raw")
    for elsewhere in ("../ct.raw", str(tmp_path / "ct.raw"), "LIST"):
        changed = path.read_text().replace("ct.raw", elsewhere)
        (folder / f"moved{path.suffix}").write_text(changed)
        refused(UnreadableFileError, folder / f"moved{path.suffix}")


def test_endless_data_after_the_image(tmp_path):
    path = nifti(tmp_path / "ct.nii", file_order(phantom()))
    with gzip.open(tmp_path / "bomb.nii.gz", "wb") as stream:
        stream.write(path.read_bytes())
        stream.write(bytes(20 * 2**20))
    refused(UnreadableFileError, tmp_path / "bomb.nii.gz")


# ---------------------------------------------------------------- dimensions


def test_wrong_dimensions(tmp_path):
    array = file_order(phantom())
    refused(DimensionError, nifti(tmp_path / "time.nii", np.stack([array, array], axis=-1)))
    refused(DimensionError, nifti(tmp_path / "flat.nii", array[:, :, 0]))
    colours = np.zeros(array.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused(DimensionError, nifti(tmp_path / "rgb.nii", colours))
    vectors = itk.image_from_array(np.stack([phantom()] * 3, axis=-1), is_vector=True)
    for name in ("vectors.nrrd", "vectors.mha"):
        itk.imwrite(vectors, str(tmp_path / name))
        refused(DimensionError, tmp_path / name)
    for name in ("flat.nrrd", "flat.mha"):
        itk.imwrite(itk.image_from_array(phantom()[0]), str(tmp_path / name))
        refused(DimensionError, tmp_path / name)


def test_headers_that_claim_more_than_any_ct_has(tmp_path):
    path = nifti(tmp_path / "huge.nii", file_order(phantom()))
    patch(path, 40, struct.pack("<8h", 3, 30000, 30000, 30000, 1, 1, 1, 1))
    refused(DimensionError, path)
    with pytest.raises(DimensionError):
        check_shape((2048, 2048, 513), "huge")
    assert check_shape((2048, 1024, 1024), "large") == (2048, 1024, 1024)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_limit_of_voxels_is_held_by_the_header_alone(tmp_path, monkeypatch, suffix):
    path = save(tmp_path / f"packed{suffix}", file_order(phantom()), AFFINE)
    voxels = phantom().size
    with voxel_limit(voxels):
        assert read(path).array.size == voxels

    def no_voxels(*_):
        pytest.fail("voxels were read")

    monkeypatch.setattr("covid_bert.volumes.nifti._values", no_voxels)
    monkeypatch.setattr("covid_bert.volumes.itk_headers._unpacked_bytes", no_voxels)
    with voxel_limit(voxels - 1):
        assert refused(TooLargeError, path).http_status == 413
    monkeypatch.undo()
    assert read(path).array.size == voxels, "outside the block there is no limit"


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_too_few_slices(tmp_path, suffix):
    error = refused(TooFewSlicesError, save(tmp_path / f"slab{suffix}", file_order(phantom()[:7]), AFFINE))
    assert error.details["slices"] == 7
    read(save(tmp_path / f"enough{suffix}", file_order(phantom()[2:10]), AFFINE))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_pipe_in_a_folder_is_passed_over(tmp_path):
    """Opening a pipe that nobody writes to would wait for ever."""
    folder = tmp_path / "pipes"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(NotFoundError):
        read(folder)
    for name in ("study.nii.gz", "study.nrrd", "study.zip", "study.dcm"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(UnreadableFileError):
            read(tmp_path / name)
