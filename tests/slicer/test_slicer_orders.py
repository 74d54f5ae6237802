"""What the worker is made of: alone, of an older Python; files that name nobody; orders that are checked."""

from __future__ import annotations

import ast
import gzip
import hashlib
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from worker_process import EXTENSION, raw_volume

FOLDER = EXTENSION / "CovidBertLib"
MODULES = [FOLDER / "__init__.py", FOLDER / "worker.py", *sorted((FOLDER / "orders").glob("*.py"))]
volumes, packing, order, worker, client = (
    importlib.import_module(f"CovidBertLib.{name}")
    for name in ("orders.volumes", "orders.packing", "orders.order", "worker", "client")
)
HEADER = "NRRD0004\n# Meier\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\nPatient:=Meier\n"
HEADER += "space directions: (1,0,0) (0,-1,0) (0,0,2.5)\ncontent: Meier\nencoding: {}\nspace origin: (1,2,3)\n\n"
VOXELS = bytes(range(24))


def never() -> bool:
    return False


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_module_is_of_python_3_9_and_needs_nothing(path: Path) -> None:
    # What compares masks is loaded by those orders only, and from what Slicer's own Python has.
    bundled = {"numpy", "vtkmodules"} if path.name in {"labels.py", "surfaces.py"} else set()
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [str(node.module)]
        assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names, "CovidBertLib", *bundled}


def test_worker_starts_where_nothing_else_is() -> None:
    """-I and -S: no installed package, no folder of the user, not even the worker's own on the path."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(FOLDER / "worker.py")], input=b"{}\n", capture_output=True, timeout=120
    )
    assert b"Traceback" not in done.stderr
    assert (done.returncode, done.stderr) == (0, b"")


def test_module_of_the_panel_does_not_hide_one_of_python(tmp_path: Path) -> None:
    """The panel's folder holds names such as `secrets`; the worker lies in it and must not take them for Python's."""
    code = f"import runpy, sys; sys.path.insert(0, {str(FOLDER)!r}); runpy.run_path({str(FOLDER / 'worker.py')!r})\n"
    code += f"assert {str(FOLDER)!r} not in sys.path"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=tmp_path)


def test_packed_volume_is_the_volume_and_its_place(tmp_path: Path) -> None:
    voxels = np.arange(-60, 60).reshape(4, 5, 6)
    given = raw_volume(tmp_path / "Meier.raw", voxels, (0.1 + 0.2, 1 / 3, 5.0))
    volume = volumes.read_volume(order.Order(given))
    first, second = tmp_path / "first.nrrd", tmp_path / "second.nrrd"
    fractions: list[float] = []
    volumes.pack(volume, first, fractions.append, never)
    volumes.pack(volume, second, fractions.append, never)
    content = first.read_bytes()
    assert content == second.read_bytes()
    assert (first.stat().st_mode & 0o777, fractions[-1]) == (0o600, 1.0)
    header, _, compressed = content.partition(b"\n\n")
    assert np.array_equal(np.frombuffer(gzip.decompress(compressed), "<i2").reshape(4, 5, 6), voxels)
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines()[1:])
    assert set(fields) == {*packing._FIELDS, "encoding"}
    assert fields["space directions"] == f"({0.1 + 0.2!r},0.0,0.0) (0.0,{1 / 3!r},0.0) (0.0,0.0,5.0)"
    assert (fields["sizes"], fields["space origin"]) == ("6 5 4", "(-100.5,-90.0,3.0)")


def test_hash_tells_contents_apart_and_not_files(tmp_path: Path) -> None:
    def hash_of(name: str, voxels: np.ndarray, **changes: object) -> str:
        given = raw_volume(tmp_path / name, voxels)
        given["header"].update(changes)
        return volumes.content_hash(volumes.read_volume(order.Order(given)), lambda _: None, never)

    voxels = np.arange(512).reshape(8, 8, 8)
    known = hash_of("a.raw", voxels)
    assert known == hash_of("b.raw", voxels)
    assert len({known, hash_of("c.raw", voxels + 1), hash_of("d.raw", voxels, origin=[0, 0, 0])}) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "uint8"},
        {"sizes": [6, 5]},
        {"sizes": [6, 5, 0]},
        {"sizes": [6.0, 5, 4]},
        {"sizes": [True, 5, 4]},
        {"directions": [[1, 0, 0], [0, 1, 0]]},
        {"directions": [[1, 0, 0], [0, 1, 0], [0, 0, "1"]]},
        {"origin": [0, 0, float("nan")]},
        {"origin": None},
        {"sizes": [6, 5, 5]},
    ],
)
def test_volume_that_is_none_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    given = raw_volume(tmp_path / "a.raw", np.zeros((4, 5, 6)))
    given["header"].update(changes)
    with pytest.raises(client.ClientError) as caught:
        volumes.read_volume(order.Order(given))
    assert caught.value.code in ("bad-order", "local-file")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz"])
def test_mask_keeps_its_geometry_and_loses_all_else(tmp_path: Path, encoding: str) -> None:
    source, target = tmp_path / "source.nrrd", tmp_path / "target.nrrd"
    source.write_bytes(HEADER.format(encoding).encode() + (VOXELS if encoding == "raw" else gzip.compress(VOXELS)))
    packing.repack(source, target, never)
    header, _, compressed = target.read_bytes().partition(b"\n\n")
    assert gzip.decompress(compressed) == VOXELS
    assert b"Meier" not in header
    assert b"\nspace directions: (1,0,0) (0,-1,0) (0,0,2.5)\nspace origin: (1,2,3)\nencoding: gzip" in header


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"NRRD0004\n",
        b"not a mask\n\n" + VOXELS,
        HEADER.format("raw").encode(),
        HEADER.format("bzip2").encode() + VOXELS,
        HEADER.format("gzip").encode() + VOXELS,
        HEADER.format("gzip").encode() + gzip.compress(VOXELS)[:-9],
        HEADER.format("raw").replace("content: Meier", "data file: /etc/passwd").encode() + VOXELS,
        HEADER.format("raw").replace("sizes: 4 3 2\n", "").encode() + VOXELS,
    ],
)
def test_mask_that_is_none_is_refused_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    source, target = tmp_path / "source.nrrd", tmp_path / "target.nrrd"
    source.write_bytes(content)
    with pytest.raises(client.LocalFileError):
        packing.repack(source, target, never)
    assert not target.exists()


def test_fault_of_the_worker_is_told_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise KeyError("Meier")
    except KeyError as error:
        told = worker._internal(error)
    assert (told.code, "KeyError at test_slicer_orders.py:" in told.message) == ("internal", True)
    assert "Meier" not in f"{told}{capsys.readouterr()}"


def test_study_is_named_by_its_content() -> None:
    digest = hashlib.sha256(b"").hexdigest()
    assert client.names.is_plain_name(f"ct-{digest[:32]}")
