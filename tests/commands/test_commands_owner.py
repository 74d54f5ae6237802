"""Root's commands do not put files in the way of a server that another user runs; restored labels are private."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import run

from covid_bert.commands import owner
from covid_bert.server.access import Role
from covid_bert.server.tokens import TokenFile, default_tokens_file
from covid_bert.weights.history import history
from covid_bert.weights.location import home
from covid_bert.weights.store import list_versions

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no owners of this kind")
OTHER = 12345


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch):
    """Make this root, and a file another user's."""

    def give(path: Path) -> None:
        if os.getuid() == 0:
            os.chown(path, OTHER, -1)
        else:
            monkeypatch.setattr(owner.os, "geteuid", lambda: 0)

    return give


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    (folder / "labels" / "final").mkdir(parents=True)
    (folder / "labels" / "final" / "a.nii.gz").write_bytes(b"mask")
    return folder


def test_root_changes_no_tokens_of_another_user(others) -> None:
    TokenFile(default_tokens_file()).add("anna", Role.READER)
    before = default_tokens_file().read_bytes()
    others(default_tokens_file())
    for command in (("add", "berta", "--role", "reader"), ("revoke", "anna")):
        code, shown = run("token", *command)
        assert code == 2
        assert "sudo -u" in shown
    assert default_tokens_file().read_bytes() == before


def test_root_adds_no_first_token_in_another_users_data_folder(others) -> None:
    others(home())
    assert run("token", "add", "anna", "--role", "reader")[0] == 2
    assert not default_tokens_file().exists()


def test_root_leaves_another_users_studies_alone(studies: Path, tmp_path: Path, others) -> None:
    archive = tmp_path / "labels.tar"
    assert run("backup", studies, archive)[0] == 0
    # The server's lock tells who runs it, whoever owns the folder.
    lock = studies / ".covid-bert-server.lock"
    lock.touch()
    others(lock)
    assert run("backup", studies, tmp_path / "second.tar")[0] == 2
    code, shown = run("restore", archive, studies, "--replace")
    assert (code, "sudo -u" in shown) == (2, True)
    assert not (tmp_path / "second.tar").exists()
    assert not list(studies.glob(".before-restore-*"))


def test_restored_labels_are_for_this_user_only(studies: Path, tmp_path: Path) -> None:
    archive, empty = tmp_path / "labels.tar", tmp_path / "empty"
    empty.mkdir()
    assert run("backup", studies, archive)[0] == 0
    before = os.umask(0o022)
    try:
        assert run("restore", archive, empty)[0] == 0
        assert os.umask(0o022) == 0o022, "the caller's own mask is as before"
    finally:
        os.umask(before)
    restored = list((empty / "labels").rglob("*"))
    assert restored
    assert not any(path.stat().st_mode & 0o077 for path in [empty / "labels", *restored])


def test_root_trains_on_no_studies_of_another_user(studies: Path, others) -> None:
    labels = studies / "labels"
    before = sorted(labels.rglob("*"))
    others(labels)
    for command in (("train", "lungs"), ("weights", "compare", "lungs", *[list_versions("default-lungs")[-1]] * 2)):
        code, shown = run(*command, "--studies", studies)
        assert (code, "sudo -u" in shown) == (2, True), shown
    assert sorted(labels.rglob("*")) == before, "no split that the server cannot read"
    assert not (home() / "retraining").exists()


def test_root_moves_no_pointer_in_another_users_data_folder(others) -> None:
    others(home())
    for command in (("publish", "lungs", list_versions("default-lungs")[-1]), ("rollback", "lungs")):
        code, shown = run("weights", *command)
        assert (code, "sudo -u" in shown) == (2, True), shown
    assert history("default-lungs") == []
    assert not (home() / "weights").exists()
