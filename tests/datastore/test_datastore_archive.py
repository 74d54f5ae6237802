"""The data set as one zip file has all files of each study."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from covid_bert.datastore.archive import write_archive
from covid_bert.errors import NotFoundError


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


def write_detached(folder: Path) -> Path:
    folder.mkdir()
    lines = ("ObjectType = Image", "NDims = 3", "DimSize = 2 2 2", "ElementType = MET_UCHAR")
    (folder / "apart.mhd").write_text("\n".join([*lines, "ElementDataFile = apart.raw", ""]))
    (folder / "apart.raw").write_bytes(b"12345678")
    return folder / "apart.mhd"


@pytest.mark.parametrize("linked", [False, True])
def test_voxels_behind_a_header_are_in_it(tmp_path: Path, linked: bool) -> None:
    header = write_detached(tmp_path / "studies")
    if linked:
        (tmp_path / "link").symlink_to(tmp_path / "studies", target_is_directory=True)
        header = tmp_path / "link" / header.name
    with zipfile.ZipFile(write_archive([{"image": str(header)}], b"{}")) as archive:
        assert set(archive.namelist()) == {"image/apart.mhd", "image/apart.raw", "metadata.json"}
        assert archive.read("image/apart.raw") == b"12345678"


def test_a_folder_comes_with_its_name(tmp_path: Path) -> None:
    inside = tmp_path / "studies" / "series" / "first"
    inside.mkdir(parents=True)
    (inside / "1.dcm").write_bytes(b"slice")
    with zipfile.ZipFile(write_archive([{"image": str(inside.parent)}], b"{}")) as archive:
        assert set(archive.namelist()) == {"image/series/first/1.dcm", "metadata.json"}


def test_nothing_is_left_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        write_archive([], b"{}")
    with pytest.raises(FileNotFoundError):
        write_archive([{"image": str(tmp_path / "gone.nii.gz")}], b"{}")
    assert list((tmp_path / "temporary").iterdir()) == []
