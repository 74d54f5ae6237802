"""Which files a study consists of."""

from __future__ import annotations

from pathlib import Path

import pytest

from covid_bert.errors import UnreadableFileError
from covid_bert.volumes import read
from covid_bert.volumes.study_files import header_facts, is_detached_header, study_files, voxel_file, voxels_apart

META = "ObjectType = Image\nNDims = 3\nDimSize = 8 8 8\nElementType = MET_SHORT\nElementDataFile = {}\n"
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 8 8 8\nencoding: raw\ndata file: {}\n\n"


@pytest.mark.parametrize(("name", "text"), [("ct.mhd", META), ("ct.nhdr", NRRD), ("CT.MHD", META)])
@pytest.mark.parametrize("voxels", ["ct.raw", "below/ct.raw", "./ct.raw"])
def test_a_header_and_its_voxels_are_one_study(tmp_path: Path, name: str, text: str, voxels: str) -> None:
    header = tmp_path / name
    header.write_text(text.format(voxels))
    assert is_detached_header(header)
    assert study_files(header) == [header], "the voxels are missing"
    place = (tmp_path / voxels).resolve()
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(bytes(1024))
    assert study_files(header) == [header, place]
    assert header_facts(header) == header_facts(_renamed(header, text))


def _renamed(header: Path, text: str) -> Path:
    other = header.with_name(f"other{header.suffix}")
    other.write_text(text.format("other.raw"))
    return other


@pytest.mark.parametrize(
    "voxels", ["../ct.raw", "LOCAL", "local", "LIST", "ct%03d.raw", "ct\0.raw", "x" * 300, "circle"]
)
def test_voxels_that_are_not_read_are_not_named(tmp_path: Path, voxels: str) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "circle").symlink_to(folder / "circle")
    for place in (tmp_path / "ct.raw", folder / "LOCAL", folder / "local"):
        place.write_bytes(bytes(1024))
    header = folder / "ct.mhd"
    header.write_text(META.format(voxels))
    assert voxel_file(header) is None
    assert study_files(header) == [header]
    with pytest.raises(UnreadableFileError):
        read(header)


def test_other_studies(tmp_path: Path) -> None:
    (tmp_path / "series" / "below").mkdir(parents=True)
    files = [tmp_path / "series" / "a.dcm", tmp_path / "series" / "below" / "b.dcm"]
    for file in files:
        file.write_bytes(b"x")
    assert study_files(tmp_path / "series") == files
    assert study_files(tmp_path / "gone.nii.gz") == [tmp_path / "gone.nii.gz"]
    # A copy of a header under a name that is not one; only who asks for its voxels gets them.
    (tmp_path / "ct.raw").write_bytes(bytes(1024))
    (tmp_path / ".removed-ct").write_text(META.format("ct.raw"))
    assert voxels_apart(tmp_path / ".removed-ct") is None
    assert voxel_file(tmp_path / ".removed-ct") == tmp_path / "ct.raw"
