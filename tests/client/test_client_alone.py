"""The client's folder as other programs carry it: alone, with an older Python, without any package."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import covid_bert.client
from covid_bert.client import ClientError

FOLDER = Path(covid_bert.client.__file__).parent
MODULES = sorted(FOLDER.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_module_imports_the_standard_library_only(path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level in (0, 1), "a relative import stays inside the folder"
            names = [] if node.level else [str(node.module)]
        else:
            continue
        assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_module_is_of_python_3_9(path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_annotations_are_not_evaluated(path) -> None:
    """``str | None`` is no expression of Python 3.9; outside of annotations it must not stand."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    uses_annotations = any(isinstance(node, (ast.arg, ast.AnnAssign)) for node in ast.walk(tree))
    assert imports or not uses_annotations
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            if getattr(node, field, None) is not None:
                setattr(node, field, None)
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            operands = ast.unparse(node)
            assert "None" not in operands, f"{operands} is evaluated when the module is imported"


def test_folder_works_where_there_is_nothing_else(tmp_path) -> None:
    shutil.copytree(FOLDER, tmp_path / "carried", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from carried import Client, ClientError\n"
        "print(Client('http://127.0.0.1:8000'))\n"
        "loaded = {name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names\n"
        "print(sorted(loaded - {'carried', '__main__'} & {'covid_bert', 'torch', 'numpy', 'requests', 'pydantic'}))\n"
    )
    # -I: no folder and no variable of the environment; -S: no installed packages.
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["Client('http://127.0.0.1:8000')", "[]"], done.stderr


def test_every_error_can_be_caught_by_the_package() -> None:
    errors = [getattr(covid_bert.client, name) for name in covid_bert.client.__all__ if name.endswith("Error")]
    assert {kind.__name__ for kind in _below(ClientError)} | {"ClientError"} == {kind.__name__ for kind in errors}
    codes = [kind.default_code for kind in errors]
    assert len(codes) == len(set(codes))
    assert all(kind.__doc__ for kind in errors)


def _below(kind: type) -> set[type]:
    return {kind for child in kind.__subclasses__() for kind in (child, *_below(child))}
