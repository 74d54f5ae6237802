"""What `covid-bert token` and `audit` say when there is nothing, or when the audit log cannot be written."""

from __future__ import annotations

import shutil

from command_line import run

from covid_bert.server.audit import default_audit_folder
from covid_bert.server.tokens import TokenFile, default_tokens_file


def test_no_token_is_said_with_how_to_make_one() -> None:
    code, shown = run("token", "list")
    assert (code, "token add" in shown) == (0, True)


def test_no_audit_log_is_told_from_a_whole_one() -> None:
    code, shown = run("audit", "verify")
    assert (code, "COVID_BERT_HOME" in shown) == (1, True)
    run("token", "add", "anna", "--role", "reader")
    assert run("audit", "verify")[0] == 0
    shutil.rmtree(default_audit_folder())
    assert run("audit", "verify")[0] == 1


def test_one_fault_is_counted_as_one() -> None:
    for name in ("anna", "berta"):
        run("token", "add", name, "--role", "reader")
    file = default_audit_folder() / "audit.jsonl"
    file.write_text(file.read_text().splitlines(keepends=True)[0])
    code, shown = run("audit", "verify")
    assert (code, "1 fault in 1 lines" in shown) == (1, True)


def test_where_the_audit_log_cannot_be_written_tokens_are_revoked_and_none_is_added() -> None:
    for name in ("anna", "berta"):
        run("token", "add", name, "--role", "reader")
    (default_audit_folder() / "key").unlink()
    code, shown = run("token", "add", "carla", "--role", "reader")
    assert code == 9
    assert "This is the token" not in shown
    assert "The key of the audit log" in shown
    assert [token.name for token in TokenFile(default_tokens_file()).tokens()] == ["anna", "berta"]
    code, shown = run("token", "revoke", "berta")
    assert (code, "The token of berta is revoked" in shown) == (9, True)
    assert [token.name for token in TokenFile(default_tokens_file()).tokens()] == ["anna"]
