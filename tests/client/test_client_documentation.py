"""The example of the client's page works, and its table names every error."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import job_server
import pytest
from job_server import IMAGE
from scripted_server import TOKEN

import covid_bert.client
from needed import REPOSITORY

PAGE = (REPOSITORY / "docs" / "client.md").read_text(encoding="utf-8")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "segment.py"
    path.write_text(code, encoding="utf-8")
    (tmp_path / "study.nii.gz").write_bytes(b"voxels")
    return path


def run(example: Path, url: str, token: str) -> subprocess.CompletedProcess[str]:
    apps = Path(covid_bert.client.__file__).parents[2]
    return subprocess.run(
        [sys.executable, str(example), url, "study.nii.gz", "lungs.nii.gz"],
        cwd=example.parent,
        env={"PYTHONPATH": str(apps), "COVID_BERT_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_example_segments_an_uploaded_study(example) -> None:
    with job_server.running() as server:
        done = run(example, server.url, TOKEN)
        assert server.sessions == {}, "the upload is removed"
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "running read 10%"
    assert done.stdout.splitlines()[-1] == "lungs: 5000 ml"
    assert (example.parent / "lungs.nii.gz").read_bytes() == IMAGE


def test_example_says_what_is_wrong(example) -> None:
    with job_server.running() as server:
        done = run(example, server.url, TOKEN[::-1])
    assert (done.returncode, done.stderr) == (1, "It is unauthorized. Ask its administrator for a new one.\n")
    assert not (example.parent / "lungs.nii.gz").exists()


def test_page_names_every_error() -> None:
    table = set(re.findall(r"`(\w+Error)`", PAGE.split("## Errors")[1]))
    assert table == {name for name in covid_bert.client.__all__ if name.endswith("Error")}
