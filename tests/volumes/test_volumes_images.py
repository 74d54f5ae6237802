"""Folders of slice images, and zip files."""

import io
import stat
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_maker import make_series
from PIL import Image
from volume_maker import load, phantom, refused

from covid_bert.errors import (
    ArchiveError,
    DimensionError,
    InvalidValuesError,
    MixedSeriesError,
    NotComputedTomographyError,
    NotFoundError,
    ParameterError,
    UnreadableFileError,
)
from covid_bert.volumes import Unit, gray8_slices, read, to_gray8, write_mask
from covid_bert.volumes.archive import ArchiveLimits, unpacked

GRAY = to_gray8(phantom())


def images(folder, suffix=".png", slices=GRAY, start=1):
    folder.mkdir(parents=True, exist_ok=True)
    for index, slice_ in enumerate(slices):
        Image.fromarray(slice_).save(folder / f"{start + index}{suffix}", quality=95)
    return folder


def test_slices_come_in_natural_order_as_displayed(tmp_path):
    volume = read(images(tmp_path / "ct_scan_3"))
    np.testing.assert_array_equal(volume.array, GRAY)
    assert (volume.unit, volume.array.dtype, volume.spacing_known) == (Unit.GRAY8, np.uint8, False)
    assert volume.spacing == (1.0, 1.0, 1.0)
    assert volume.source.slice_names[:2] == ("1.png", "2.png")
    assert volume.source.slice_names[-1] == "12.png"
    assert volume.source.file_format == "images"
    # Columns run from the patient's right to the left, rows to the back, slices up.
    np.testing.assert_array_equal(np.diag(volume.affine), [-1, -1, 1, 1])
    np.testing.assert_array_equal(gray8_slices(volume, indices=[3, 1]), GRAY[[3, 1]])
    written, affine = load(write_mask((GRAY > 9).astype(np.uint8), volume, tmp_path / "m.nii.gz"))
    np.testing.assert_array_equal(written.transpose(2, 1, 0), GRAY > 9)
    np.testing.assert_array_equal(affine, volume.affine)


def test_jpeg_and_a_single_slice(tmp_path):
    volume = read(images(tmp_path / "one", ".jpg", GRAY[5:6], start=0))
    assert volume.shape == (1, 20, 26)
    assert np.abs(volume.array.astype(int) - GRAY[5]).mean() < 6


def test_upper_case_suffixes_and_other_files(tmp_path):
    folder = images(tmp_path / "scan", ".JPEG")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / ".hidden.png").write_bytes(b"x")
    assert read(folder).shape == (12, 20, 26)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_colour_images_become_gray(tmp_path, mode):
    folder = tmp_path / "scan"
    folder.mkdir()
    for index, slice_ in enumerate(GRAY):
        Image.fromarray(slice_).convert(mode).save(folder / f"{index}.png")
    assert np.abs(read(folder).array.astype(int) - GRAY).max() <= 1


def test_mixed_sizes_are_resized_to_512(tmp_path):
    folder = images(tmp_path / "scan")
    big = Image.fromarray(GRAY[4]).resize((512, 512), Image.Resampling.BILINEAR)
    big.save(folder / "5.png")
    volume = read(folder)
    assert volume.shape == (12, 512, 512)
    assert any("512" in warning for warning in volume.warnings)
    np.testing.assert_array_equal(volume.array[4], np.asarray(big))
    expected = Image.fromarray(GRAY[7]).resize((512, 512), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(volume.array[7], np.asarray(expected))


def test_turned_pictures_are_read_as_displayed(tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored picture has to be turned by 90 degrees to the right
    Image.fromarray(np.rot90(GRAY[5])).save(folder / "0.png", exif=exif)
    np.testing.assert_array_equal(read(folder).array[0], GRAY[5])


def test_images_of_more_bits_are_refused(tmp_path):
    folder = images(tmp_path / "scan")
    Image.fromarray(GRAY[0].astype(np.uint16) << 8).save(folder / "3.png")
    assert "3.png" in refused(UnreadableFileError, folder).message


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
def test_truncated_images(tmp_path, suffix, share):
    folder = images(tmp_path / "scan", suffix, np.kron(GRAY, np.ones((1, 6, 6), np.uint8)))
    content = (folder / f"4{suffix}").read_bytes()
    (folder / f"4{suffix}").write_bytes(content[: int(len(content) * share)])
    assert f"4{suffix}" in refused(UnreadableFileError, folder).message


def test_masks_empty_and_huge_images(tmp_path):
    refused(NotComputedTomographyError, images(tmp_path / "masks", slices=(GRAY > 99).astype(np.uint8) * 255))
    refused(InvalidValuesError, images(tmp_path / "black", slices=np.zeros_like(GRAY)))
    folder = images(tmp_path / "huge", slices=GRAY[:1])
    Image.new("L", (5000, 10)).save(folder / "9.png")
    refused(DimensionError, folder)


def test_several_folders_of_images_and_a_series_choice(tmp_path):
    images(tmp_path / "study" / "a")
    assert read(tmp_path / "study").shape == (12, 20, 26)
    refused(ParameterError, tmp_path / "study", series="1")
    images(tmp_path / "study" / "b")
    refused(MixedSeriesError, tmp_path / "study")


# ---------------------------------------------------------------- zip


def zipped(path, folder=None, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")) if folder else ():
            archive.write(file, file.relative_to(folder.parent))
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(autouse=True)
def private_temporary_folder(tmp_path, monkeypatch):
    """Whatever an archive was unpacked to is gone after each test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def test_a_zip_of_a_series_and_of_images(tmp_path):
    make_series(tmp_path / "series", phantom())
    path = zipped(tmp_path / "study.zip", tmp_path / "series", **{"__MACOSX/._IM0001.dcm": b"x"})
    volume = read(path)
    np.testing.assert_array_equal(volume.array, phantom())
    assert volume.source.path == path
    np.testing.assert_array_equal(read(zipped(tmp_path / "i.ZIP", images(tmp_path / "scan"))).array, GRAY)


def test_a_zip_of_two_series_offers_the_choice(tmp_path):
    make_series(tmp_path / "study" / "a", phantom(), number=1)
    make_series(tmp_path / "study" / "b", phantom(seed=8), number=2)
    path = zipped(tmp_path / "study.zip", tmp_path / "study")
    assert len(refused(MixedSeriesError, path).details["series"]) == 2
    np.testing.assert_array_equal(read(path, series="2").array, phantom(seed=8))


def test_the_folder_is_private_and_removed_after_errors(tmp_path, private_temporary_folder):
    path = zipped(tmp_path / "a.zip", **{"a.txt": b"x"})
    with unpacked(path) as folder:
        assert folder.name == "a"
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        assert (folder / "a.txt").read_bytes() == b"x"
    with pytest.raises(RuntimeError), unpacked(path):
        raise RuntimeError
    refused(UnreadableFileError, path)
    refused(NotFoundError, zipped(tmp_path / "empty.zip"))


@pytest.mark.parametrize(
    "name", ["../evil.dcm", "a/../../evil.dcm", "/etc/evil.dcm", "..\\evil.dcm", "C:\\evil.dcm", "a/b/../../../evil"]
)
def test_members_outside_the_folder(tmp_path, name):
    refused(ArchiveError, zipped(tmp_path / "slip.zip", **{"good.txt": b"x", name: b"evil"}))
    assert not list(Path(tmp_path).rglob("*evil*"))


def test_links_nested_archives_and_doubles(tmp_path):
    link = zipfile.ZipInfo("link.dcm")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(ArchiveError, tmp_path / "link.zip")
    for name in ("inner.zip", "a/inner.TAR", "volume.nii.gz"):
        refused(ArchiveError, zipped(tmp_path / "nested.zip", **{name: b"x"}))
    with zipfile.ZipFile(tmp_path / "double.zip", "w") as archive:
        archive.writestr("a.dcm", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.dcm", "2")
    refused(ArchiveError, tmp_path / "double.zip")


def test_bombs(tmp_path):
    path = zipped(tmp_path / "bomb.zip", **{f"{index}.dcm": bytes(2**25) for index in range(9)})
    assert path.stat().st_size < 2**20
    assert "compressed" in refused(ArchiveError, path).message

    many = zipped(tmp_path / "many.zip", **{f"{index}.txt": b"" for index in range(20_001)})
    assert "20001" in refused(ArchiveError, many).message

    small = zipped(tmp_path / "small.zip", **{"a": b"12345", "b": b"12345"})
    with pytest.raises(ArchiveError), unpacked(small, ArchiveLimits(total_bytes=9)):
        pass
    with unpacked(small, ArchiveLimits(total_bytes=10)) as folder:
        assert len(list(folder.iterdir())) == 2


def test_a_member_that_lies_about_its_size(tmp_path):
    content = bytearray(zipped(tmp_path / "lie.zip", **{"a.dcm": b"x" * 100_000}).read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 24 : central + 28] = (50).to_bytes(4, "little")
    (tmp_path / "lie.zip").write_bytes(content)
    refused(ArchiveError, tmp_path / "lie.zip")


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "checksum", "encrypted"])
def test_damaged_archives(tmp_path, damage):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.dcm", bytes(range(256)) * 20)
    content = bytearray(buffer.getvalue())
    if damage == "checksum":
        content[200] ^= 1
    elif damage == "encrypted":
        content[content.index(b"PK\x01\x02") + 8] |= 1
    else:
        content = {"empty": b"", "text": b"Doe^Jane " * 99, "cut": content[:900]}[damage]
    (tmp_path / "broken.zip").write_bytes(content)
    refused(ArchiveError, tmp_path / "broken.zip")
