"""The file of tokens: hashes only, for its owner only, whole at any time, and followed while a server runs."""

from __future__ import annotations

import hmac
import json
import os
import threading
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from covid_bert.cli import app
from covid_bert.errors import NotFoundError, OutputError, ParameterError, ServerError
from covid_bert.server import tokens as module
from covid_bert.server.access import ACCESS, Role
from covid_bert.server.tokens import LiveTokens, TokenFile


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "data" / "tokens.json")


def test_only_hashes_are_kept_and_only_the_owner_may_look(file: TokenFile) -> None:
    secret = file.add("anna", Role.READER)
    assert secret not in file.path.read_text()
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert len(secret) >= 43, "256 bits"
    assert file.add("bert", Role.ADMIN) != secret
    assert [(token.name, token.role) for token in file.tokens()] == [("anna", Role.READER), ("bert", Role.ADMIN)]


def test_a_reader_changes_no_study_and_only_the_administrator_removes_or_takes_all() -> None:
    of_all = {("GET", "/datastore/dataset"), ("POST", "/batch/infer/{model}"), ("DELETE", "/batch/infer")}
    for (method, path), entry in ACCESS.items():
        changes = method not in {"GET", "HEAD"}
        # What everybody's results come from.
        of_models = changes and path.startswith(("/train/", "/weights"))
        if (method, path) in of_all or of_models or (method == "DELETE" and path.startswith("/datastore/")):
            assert entry.role is Role.ADMIN, (method, path)
        elif changes and path.startswith(("/datastore/", "/activelearning/", "/scoring/")):
            assert entry.role is Role.ANNOTATOR, (method, path)
        elif entry.role is None:
            assert path in {"/healthz", "/readyz", "/version", "/auth/", "/auth/token"}
        else:
            assert entry.role is Role.READER, (method, path)


@pytest.mark.skipif(os.name == "nt", reason="modes")
def test_a_file_that_others_may_read_or_change_is_refused(file: TokenFile) -> None:
    file.add("anna", Role.READER)
    for mode in (0o640, 0o604, 0o620, 0o602):
        file.path.chmod(mode)
        with pytest.raises(ServerError, match="0600"):
            file.tokens()


@pytest.mark.skipif(os.name == "nt", reason="modes")
def test_a_folder_in_which_others_may_exchange_the_file_is_refused(file: TokenFile) -> None:
    file.add("anna", Role.READER)
    for mode in (0o770, 0o707):
        file.path.parent.chmod(mode)
        with pytest.raises(ServerError, match="folder"):
            file.tokens()
    for mode in (0o755, 0o1777):
        file.path.parent.chmod(mode)
        assert file.tokens()


def test_what_a_kill_left_beside_the_file_is_removed_with_the_next_change(file: TokenFile) -> None:
    file.add("anna", Role.READER)
    folder = file.path.parent
    abandoned, being_written = folder / f".{'a' * 32}.json", folder / f".{'b' * 32}.json"
    others = [folder / f".{'c' * 32}.nii", folder / ".hidden.json"]
    for path in (abandoned, being_written, *others):
        path.write_text("{}")
    for path in (abandoned, *others):
        os.utime(path, (0, 0))
    file.revoke("anna")
    assert not abandoned.exists()
    assert all(path.exists() for path in (being_written, *others))


@pytest.mark.parametrize("content", ["", "{", '{"tokens": [{"name": "a"}]}', '{"tokens": [], "more": 1}'])
def test_a_damaged_file_is_an_error_and_not_a_server_without_tokens(file: TokenFile, content: str) -> None:
    file.add("anna", Role.READER)
    file.path.write_text(content)
    with pytest.raises(ServerError):
        LiveTokens(file)


def test_a_file_that_may_not_be_read_is_another_users_and_not_damaged(file: TokenFile, monkeypatch) -> None:
    file.add("anna", Role.READER)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    # Root, as which tests may run, can read every file.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ServerError, match="another user") as caught:
        file.tokens()
    assert "remove" not in caught.value.hint


def test_a_lock_that_may_not_be_taken_is_a_typed_error(file: TokenFile, monkeypatch) -> None:
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.FileLock, "acquire", refuse)
    for change in (lambda: file.add("anna", Role.READER), lambda: file.revoke("anna")):
        with pytest.raises(OutputError, match="Permission denied"):
            change()


def test_a_change_does_not_wait_for_ever_for_another(file: TokenFile, monkeypatch) -> None:
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.1)
    file.path.parent.mkdir()
    with FileLock(f"{file.path}.lock"), pytest.raises(OutputError, match="another process"):
        file.add("anna", Role.READER)
    assert file.add("anna", Role.READER), "the lock is free again"


@pytest.mark.parametrize("name", ["", "a b", "../a", ".a", "x" * 65, "a\n"])
def test_odd_names_are_refused(file: TokenFile, name: str) -> None:
    with pytest.raises(ParameterError, match="a letter or digit first"):
        file.add(name, Role.READER)


def test_a_name_may_begin_with_a_digit(file: TokenFile) -> None:
    assert file.add("3rd-floor", Role.READER)


def test_a_name_is_taken_once_and_revoked_once(file: TokenFile) -> None:
    file.add("anna", Role.READER)
    with pytest.raises(ParameterError, match="already"):
        file.add("anna", Role.ADMIN)
    file.revoke("anna")
    with pytest.raises(NotFoundError):
        file.revoke("anna")


def test_tokens_added_at_the_same_time_are_all_kept(file: TokenFile) -> None:
    threads = [threading.Thread(target=file.add, args=(f"user{number}", Role.READER)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(file.tokens()) == 8


def test_a_running_server_follows_changes(file: TokenFile) -> None:
    live = LiveTokens(file)
    assert not live.required
    secret = file.add("anna", Role.READER)
    assert live.required
    assert live.match(secret).name == "anna"
    assert live.match(secret[:-1]) is None
    assert live.match(json.loads(file.path.read_text())["tokens"][0]["sha256"]) is None, "a hash is not a token"
    file.revoke("anna")
    assert live.match(secret) is None


def test_how_long_a_comparison_takes_tells_nothing_of_the_tokens(file: TokenFile, monkeypatch) -> None:
    secrets = [file.add(name, Role.READER) for name in ("anna", "bert", "carl")]
    live, compare = LiveTokens(file), hmac.compare_digest
    compared = []

    def watched(kept: str, sent: str) -> bool:
        compared.append(kept)
        return compare(kept, sent)

    monkeypatch.setattr("covid_bert.server.tokens.hmac.compare_digest", watched)
    for sent in (*secrets, "cb_wrong"):
        live.match(sent)
    assert compared == 4 * [token.sha256 for token in file.tokens()], "all of them, whichever fits"


def test_without_its_last_token_a_running_server_does_not_open(file: TokenFile) -> None:
    file.add("anna", Role.READER)
    live = LiveTokens(file)
    file.revoke("anna")
    assert live.required
    file.path.unlink()
    assert live.required


def test_a_file_damaged_while_the_server_runs_closes_it(file: TokenFile) -> None:
    secret = file.add("anna", Role.READER)
    live = LiveTokens(file)
    file.path.write_text("{")
    for _ in range(2):
        with pytest.raises(ServerError):
            live.match(secret)


def test_commands_show_a_token_once(tmp_path: Path) -> None:
    options = ["--tokens-file", str(tmp_path / "tokens.json")]
    runner = CliRunner()
    added = runner.invoke(app, ["token", "add", "anna", "--role", "annotator", *options])
    assert added.exit_code == 0
    secret = added.stdout.splitlines()[0]
    assert LiveTokens(TokenFile(tmp_path / "tokens.json")).match(secret).role is Role.ANNOTATOR
    listed = runner.invoke(app, ["token", "list", *options])
    assert "anna" in listed.stdout
    assert secret not in listed.stdout
    revoked = runner.invoke(app, ["token", "revoke", "anna", *options])
    assert revoked.exit_code == 0
    assert "No token is left" in revoked.output
    assert "anna" not in runner.invoke(app, ["token", "list", *options]).stdout
