"""The benchmarks, which run by hand only, ask for nothing that the package does not have any more."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

from needed import REPOSITORY

FOLDER = REPOSITORY / "benchmarks"


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_what_is_imported_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("covid_bert"):
            continue
        try:
            module = importlib.import_module(node.module)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("covid_bert"):
                raise
            pytest.skip(f"{error.name} is not installed")
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            assert hasattr(module, alias.name) or importlib.util.find_spec(whole), whole
