"""Data flows one way; MONAI Label stays in its corner; files stay small; the documentation follows the code."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from covid_bert.systems.result import StudyResult

PACKAGE = Path(__file__).resolve().parent.parent / "apps" / "covid_bert"
DOCS = PACKAGE.parent.parent / "docs"
FLOW = [
    *("volumes", "networks", "weights", "segmentation", "lungs", "lesions", "phantom", "synthesis", "clips", "systems"),
    *("report", "deidentification", "training", "evaluation", "retraining", "active_learning"),
]
ENTRIES = [
    *("client", "datastore", "pacs", "router", "tasks", "server", "commands", "main"),
    *("cli", "cli_groups", "cli_operations", "cli_route", "cli_training"),
]
COMMON = {"errors", "files", "databases", "progress", "logs", "workers", "__init__"}
MONAILABEL_USERS = {"datastore", "tasks", "server", "main", "commands"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_goes_back(path: Path) -> None:
    here = part_of(path)
    assert here in {*FLOW, *ENTRIES, *COMMON}, f"{here} has no place in the flow"
    for name in imports(path):
        if not name.startswith("covid_bert."):
            continue
        there = name.split(".")[1]
        if there in COMMON or there == here or there.isupper() or there.startswith("__"):
            continue
        if here in COMMON:
            pytest.fail(f"{path.name} is used by all and must not import {name}")
        if here in FLOW:
            assert there in FLOW, f"{path.name} imports {name}, a way in from outside"
            assert FLOW.index(there) < FLOW.index(here), f"{path.name} imports {name}, against the flow"


@pytest.mark.parametrize("path", sorted((PACKAGE / "pacs").glob("*.py")), ids=lambda path: path.name)
def test_what_is_beside_the_pacs_needs_no_server(path: Path) -> None:
    for name in imports(path):
        assert name.split(".")[1:2] not in (["tasks"], ["server"], ["commands"]) or not name.startswith("covid_bert.")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_ways_in_import_monailabel(path: Path) -> None:
    if any(name.split(".")[0] in {"monailabel", "fastapi", "uvicorn"} for name in imports(path)):
        assert part_of(path) in MONAILABEL_USERS


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300


def test_light_imports_stay_light() -> None:
    code = (
        "import sys, covid_bert.cli, covid_bert.weights; "
        "print([name for name in ('torch', 'itk', 'monai', 'monailabel', 'matplotlib') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_documented_schema_is_the_one_in_use() -> None:
    documented = json.loads((DOCS / "result.schema.json").read_text())
    assert documented == StudyResult.model_json_schema(), "run: python docs/write_result_schema.py"
