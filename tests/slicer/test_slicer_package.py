"""The extension as a package: what CMake installs, what the Extensions Index reads, what Slicer's Python can run."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from needed import REPOSITORY

EXTENSION = REPOSITORY / "slicer_extension"
MODULE = EXTENSION / "CovidBert"
# The properties of slicer-extension-catalog-entry-schema-v1.0.1.json, and which of them must be there.
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.1.json#"
)
REQUIRED = {"$schema", "category", "scm_url"}
KINDS = {
    **dict.fromkeys(("$schema", "category", "scm_url", "scm_revision", "scm_type", "build_subdirectory"), str),
    "build_dependencies": list,
    "enabled": bool,
    "tier": int,
}
BUNDLED = {"ctk", "numpy", "qt", "slicer", "vtk", "vtkmodules", "DICOMLib", "SampleData", "CovidBertLib"}


def sources() -> list[Path]:
    return [MODULE / "CovidBert.py", *sorted((MODULE / "CovidBertLib").rglob("*.py")), *client()]


def client() -> list[Path]:
    return sorted((REPOSITORY / "apps" / "covid_bert" / "client").glob("*.py"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder that CMake makes from the root of the repository, as the Extensions Index does."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("there is no cmake")
    folder = tmp_path_factory.mktemp("build")
    slicer_folder = REPOSITORY / "tests" / "slicer" / "data" / "cmake"
    options = [f"-DSlicer_DIR={slicer_folder}", "-DCMAKE_C_COMPILER_WORKS=1", "-DCMAKE_CXX_COMPILER_WORKS=1"]
    done = subprocess.run([cmake, "-S", REPOSITORY, "-B", folder, *options], capture_output=True, text=True)
    if "No CMAKE_C" in done.stderr:
        pytest.skip("there is no compiler, which CMake wants to see")
    assert done.returncode == 0, done.stderr
    return folder


def test_every_file_is_installed(built: Path) -> None:
    module = built / "module"
    wanted = {path.relative_to(MODULE) for path in sources()[: -len(client())]}
    wanted = {path for path in wanted if path.parts[:2] != ("CovidBertLib", "client")}
    wanted |= {Path("CovidBertLib", "client", path.name) for path in client()}
    wanted |= {path.relative_to(MODULE) for path in (MODULE / "Resources").rglob("*") if path.suffix in (".ui", ".png")}
    assert {path.relative_to(module) for path in module.rglob("*") if path.is_file()} == wanted
    assert not (module / "CovidBertLib" / "client").is_symlink()


def test_installed_worker_runs_by_itself(built: Path, tmp_path: Path) -> None:
    order = {"kind": "check", "server": {"url": "http://127.0.0.1:9", "token": None}, "folder": str(tmp_path)}
    worker = built / "module" / "CovidBertLib" / "worker.py"
    with subprocess.Popen(
        [sys.executable, str(worker)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()  # the end of the input would cancel the order
        events = [json.loads(line) for line in process.stdout]
    assert events[-1]["code"] == "unreachable"


def test_tests_are_registered(built: Path) -> None:
    text = "".join(path.read_text() for path in built.rglob("CTestTestfile.cmake"))
    assert "py_CovidBert.py" in text
    assert "py_CovidBertTest.py" in text


def test_extensions_index_finds_all_it_shows(built: Path) -> None:
    facts = dict(line.split("=", 1) for line in (built / "extension.txt").read_text().splitlines() if "=" in line)
    assert facts["DEPENDS"] == "NA", "no package and no other extension to install"
    assert "not a medical device" in facts["DESCRIPTION"]
    for name in ("HOMEPAGE", "ICONURL", "SCREENSHOTURLS"):
        assert facts[name].startswith("https://")
    assert facts["ICONURL"].endswith("/slicer_extension/CovidBert.png")
    entry = json.loads((EXTENSION / "CovidBert.json").read_text())
    assert facts["CATEGORY"] == entry["category"]
    assert facts["HOMEPAGE"] == entry["scm_url"]


def test_check_of_the_extensions_index_finds_what_it_reads_as_text() -> None:
    """It looks into the root's CMakeLists.txt without running it, and for a license beside it."""
    text = (REPOSITORY / "CMakeLists.txt").read_text()
    assert re.findall(r"project\s*\(\s*([^\s\)]+)", text) == ["CovidBert"], "named as the entry's file is"
    address = json.loads((EXTENSION / "CovidBert.json").read_text())["scm_url"]
    assert re.findall(r'set\(EXTENSION_HOMEPAGE "([^"]+)"\)', text) == [address]
    raw = address.replace("https://github.com/", "https://raw.githubusercontent.com/")
    branch = json.loads((EXTENSION / "CovidBert.json").read_text())["scm_revision"]
    for name in ("ICONURL", "SCREENSHOTURLS"):
        (found,) = re.findall(rf'set\(EXTENSION_{name} "([^"]+)"\)', text)
        for url in found.split():
            start, _, path = url.partition(f"/{branch}/")
            assert start == raw
            assert (REPOSITORY / path).is_file()
    assert "Apache License" in (REPOSITORY / "LICENSE.txt").read_text()


def test_address_of_the_repository_is_nowhere_else() -> None:
    """It is set at the publication: no third place may be left behind."""
    address = json.loads((EXTENSION / "CovidBert.json").read_text())["scm_url"].rpartition("github.com/")[2]
    files = [path for path in EXTENSION.rglob("*") if path.suffix in (".py", ".txt", ".ui", ".json", ".cmake")]
    files += [REPOSITORY / "CMakeLists.txt", REPOSITORY / "docs" / "slicer.md", REPOSITORY / "README.md"]
    holding = {path.name for path in files if path.is_file() and address in path.read_text("utf-8")}
    assert holding == {"CovidBert.json", "CMakeLists.txt"}


def test_entry_of_the_extensions_index() -> None:
    entry = json.loads((EXTENSION / "CovidBert.json").read_text())
    assert REQUIRED <= set(entry) <= set(KINDS)
    assert {name: type(value) for name, value in entry.items()} == {name: KINDS[name] for name in entry}
    assert (entry["$schema"], entry["scm_type"]) == (SCHEMA, "git")
    assert entry["tier"] in (1, 3, 5)


def test_icons_are_as_painted() -> None:
    image = pytest.importorskip("PIL.Image")
    sys.path.insert(0, str(EXTENSION))
    try:
        from paint_icon import paint
    finally:
        sys.path.remove(str(EXTENSION))
    for path in (EXTENSION / "CovidBert.png", MODULE / "Resources" / "Icons" / "CovidBert.png"):
        with image.open(path) as icon:
            assert icon.size == (128, 128)
            # Other versions of Pillow scale a little differently.
            pairs = zip(icon.convert("RGBA").tobytes(), paint().tobytes(), strict=True)
            assert max(abs(a - b) for a, b in pairs) <= 8


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_source_runs_on_slicers_python_without_packages(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"), feature_version=(3, 9))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [str(node.module)]
        for name in names:
            top = name.split(".")[0]
            assert top in BUNDLED or top in sys.stdlib_module_names or top == "__future__", (
                f"{path.name} imports {name}"
            )
        calls = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        assert not (calls and (node.value.id, node.attr) == ("time", "sleep")) or "client" in path.parts, path.name


def test_module_file_only_wires() -> None:
    assert len((MODULE / "CovidBert.py").read_text("utf-8").splitlines()) <= 150
