"""Unpacking from archives of others: what the manifest describes, and never more."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from covid_bert.datastore import unpacking
from covid_bert.datastore.unpacking import unpack

CONTENT = b"a label"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Endless(io.RawIOBase):
    """Grows for ever."""

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "all of it at once would fill the memory"
        return b"0" * size


@pytest.mark.parametrize("block", [1, 3, 2**20])
def test_what_the_manifest_describes(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_BLOCK", block)
    assert unpack(io.BytesIO(CONTENT), tmp_path / "label", size=len(CONTENT), sha256=SHA256)
    assert (tmp_path / "label").read_bytes() == CONTENT
    assert unpack(io.BytesIO(b""), tmp_path / "empty", size=0, sha256=hashlib.sha256().hexdigest())


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"s", b"a Label", b""])
def test_anything_else_is_told(tmp_path: Path, content: bytes) -> None:
    assert not unpack(io.BytesIO(content), tmp_path / "label", size=len(CONTENT), sha256=SHA256)


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1])
def test_never_more_than_described_is_written(tmp_path: Path, size: int) -> None:
    described = hashlib.sha256(b"0" * size).hexdigest()
    assert not unpack(Endless(), tmp_path / "label", size=size, sha256=described)
    assert (tmp_path / "label").stat().st_size <= size


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "label").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        unpack(io.BytesIO(CONTENT), tmp_path / "label", size=len(CONTENT), sha256=SHA256)
    assert (tmp_path / "label").read_bytes() == b"mine"
