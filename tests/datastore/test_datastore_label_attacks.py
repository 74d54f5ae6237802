"""Label sets that no export has made: nothing of them comes in."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_sites import bring

from covid_bert.errors import ArchiveError, NotFoundError

Members = dict[str, bytes]


def packed(target: Path, members: Members, *, compression: int = zipfile.ZIP_STORED, mode: int = 0o600) -> Path:
    with zipfile.ZipFile(target, "w") as opened:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.external_attr, member.compress_type = mode << 16, compression
            opened.writestr(member, content)
    return target


def unpacked(archive: Path) -> Members:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def changed(edit: Callable[[dict[str, Any]], None]) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        manifest = json.loads(members["manifest.json"])
        edit(manifest)
        members["manifest.json"] = json.dumps(manifest).encode()

    return change


def first(**changes: Any) -> Callable[[Members], None]:
    return changed(lambda manifest: manifest["cases"][0]["versions"][0].update(changes))


def other_content(members: Members) -> None:
    name = next(name for name in members if name.startswith("files/"))
    members[name] = bytes(len(members[name]))


def longer_file(members: Members) -> None:
    name = next(name for name in members if name.startswith("files/"))
    members[name] += b"x"


def lost_file(members: Members) -> None:
    del members[next(name for name in members if name.startswith("files/"))]


def deep(members: Members) -> None:
    members["manifest.json"] = b"[" * 100_000


ATTACKS: dict[str, Callable[[Members], Any]] = {
    "zip slip": lambda members: members.update({"../evil": b"x"}),
    "absolute": lambda members: members.update({"/tmp/evil": b"x"}),
    "slip below files": lambda members: members.update({"files/../../evil": b"x"}),
    "further file": lambda members: members.update({f"files/{'0' * 64}": b"x"}),
    "folder": lambda members: members.update({"files/": b""}),
    "no manifest": lambda members: members.pop("manifest.json"),
    "empty manifest": lambda members: members.update({"manifest.json": b""}),
    "deep manifest": deep,
    "lost file": lost_file,
    "other content": other_content,
    "longer file": longer_file,
    "suffix that is a path": first(suffix="/../../../evil.nii.gz"),
    "suffix of no mask": first(suffix=".pkl"),
    "hash that is a path": first(sha256="../../evil"),
    "unknown tag": first(tag="../evil"),
    "author with a line": first(author="anna\nbert"),
    "no author": first(author=""),
    "no time": first(created="never"),
    "time without zone": first(created="2024-01-01T00:00:00"),
    "time of the future": first(created="2999-01-01T00:00:00+00:00"),
    "negative size": first(size=-1),
    "removal with a file": first(removed=True),
    "unknown field": first(path="/etc/passwd"),
    "long information": first(info={"label_info": "x" * 2**21}),
    "case twice": changed(lambda manifest: manifest["cases"].append(manifest["cases"][0])),
    "image that is a path": changed(lambda manifest: manifest["cases"][0].update(image_sha256="../a")),
    "unknown part": changed(lambda manifest: manifest["cases"][0].update(part="production")),
    "later form": changed(lambda manifest: manifest.update(schema_version=2)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_an_export_would_not_hold_is_refused(archive: Path, elsewhere: Path, tmp_path: Path, attack: str) -> None:
    members = unpacked(archive)
    ATTACKS[attack](members)
    source = packed(tmp_path / "attack.zip", members)
    before = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)
    with pytest.raises(ArchiveError):
        bring(source, elsewhere, tmp_path)
    assert sorted((elsewhere / "labels").glob("[!.]*")) == []
    made = {path for path in tmp_path.rglob("*") if "cache" not in path.parts} - set(before)
    assert {path.name for path in made} <= {"labels", ".split.json", ".split.lock", ".incoming"}


def test_links_bombs_and_damaged_files_are_refused(archive: Path, elsewhere: Path, tmp_path: Path) -> None:
    members = unpacked(archive)
    link = packed(tmp_path / "link.zip", members, mode=0o120777)
    zeros = bytes(2**22)
    version = {"author": "eve", "sha256": hashlib.sha256(zeros).hexdigest(), "size": len(zeros)}

    def add(manifest: dict[str, Any]) -> None:
        versions = manifest["cases"][0]["versions"]
        versions.append({**versions[0], **version})

    grown = {**members, f"files/{version['sha256']}": zeros}
    changed(add)(grown)
    bomb = packed(tmp_path / "bomb.zip", grown, compression=zipfile.ZIP_DEFLATED)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(archive.read_bytes()[:-100])
    garbage = tmp_path / "garbage.zip"
    garbage.write_bytes(np.random.default_rng(0).bytes(5000))
    twice = io.BytesIO(archive.read_bytes())
    with zipfile.ZipFile(twice, "a") as opened, pytest.warns(UserWarning, match="Duplicate"):
        opened.writestr("manifest.json", members["manifest.json"])
    (tmp_path / "twice.zip").write_bytes(twice.getvalue())
    for source in (link, bomb, cut, garbage, tmp_path / "twice.zip"):
        with pytest.raises(ArchiveError):
            bring(source, elsewhere, tmp_path)
    assert sorted((elsewhere / "labels").glob("[!.]*")) == []
    with pytest.raises(NotFoundError):
        bring(tmp_path / "none.zip", elsewhere, tmp_path)
