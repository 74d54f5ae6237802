"""The audit log: private, chained, and complete; what is removed or changed is found."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from covid_bert.cli import app
from covid_bert.errors import OutputError, ServerError
from covid_bert.server import audit as module
from covid_bert.server.audit import AuditLog, default_audit_folder
from covid_bert.server.audit_check import verify_audit_log

STUDY = "MarkerStudy"
DOWNLOADS = {
    *("/datastore/image", "/datastore/label", "/datastore/label/version", "/datastore/dataset"),
    *("/jobs/{identifier}/file", "/session/{session_id}"),
}


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit")


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for file in AuditLog(folder).files() for line in file.read_text().splitlines()]


def faults(log: AuditLog) -> list[str]:
    return [finding.message for finding in verify_audit_log(log.folder).findings]


def test_what_a_kill_left_beside_the_log_is_removed_with_the_next_line(log: AuditLog) -> None:
    log.append("one")
    left = log.folder / f".{'0' * 32}.json"
    left.write_text("half a note")
    log.append("two")
    assert not left.exists()
    assert faults(log) == []


def filled(log: AuditLog, count: int = 5) -> Path:
    for number in range(count):
        log.append("label-written", token="anna", role="annotator", study=f"{STUDY}{number}")
    return log.folder / "audit.jsonl"


def test_lines_are_chained_private_and_name_no_study(log: AuditLog) -> None:
    file = filled(log)
    written = lines(log.folder)
    assert [line["number"] for line in written] == [1, 2, 3, 4, 5]
    assert [line["previous"] for line in written[1:]] == [line["seal"] for line in written[:-1]]
    assert STUDY not in file.read_text()
    assert re.fullmatch("[0-9a-f]{32}", written[0]["study"])
    assert written[0]["study"] != written[1]["study"]
    log.append("label-written", study=f"{STUDY}0")
    assert lines(log.folder)[-1]["study"] == written[0]["study"]
    if os.name != "nt":
        assert log.folder.stat().st_mode & 0o777 == 0o700
        assert {path.name: path.stat().st_mode & 0o777 for path in log.folder.iterdir()} == dict.fromkeys(
            ("audit.jsonl", "head.json", "key", "lock"), 0o600
        )
    assert faults(log) == []


def test_another_key_gives_other_names(tmp_path: Path) -> None:
    names = set()
    for folder in ("a", "b"):
        log = AuditLog(tmp_path / folder)
        log.append("label-written", study=STUDY)
        names.add(lines(log.folder)[0]["study"])
    assert len(names) == 2


def change(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text().replace(old, new, 1))


def drop(file: Path, *numbers: int) -> None:
    kept = [line for index, line in enumerate(file.read_text().splitlines(keepends=True)) if index not in numbers]
    file.write_text("".join(kept))


def swap(file: Path) -> None:
    first, second, *rest = file.read_text().splitlines(keepends=True)
    file.write_text("".join([second, first, *rest]))


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda file: change(file, '"anna"', '"bert"'), "This line was changed."),
        (lambda file: drop(file, 0), "After line number 0 comes 2"),
        (lambda file: drop(file, 2), "After line number 2 comes 4"),
        (lambda file: drop(file, 4), "The last lines are missing: 4 are there of 5."),
        (lambda file: file.unlink(), "The last lines are missing: 0 are there of 5."),
        (swap, "After line number 0 comes 2"),
        (lambda file: file.write_text(file.read_text() + "x\n"), "This is not a whole line"),
        (lambda file: (file.parent / "head.json").unlink(), "The note on the last line is missing"),
        (lambda file: change(file.parent / "head.json", '"number": 5', '"number": 4'), "The note on the last line is"),
    ],
)
def test_each_kind_of_tampering_is_found(log: AuditLog, tamper, message: str) -> None:
    file = filled(log)
    assert faults(log) == []
    tamper(file)
    assert any(message in fault for fault in faults(log)), faults(log)


def test_lines_cut_off_stay_found_when_more_are_added(log: AuditLog) -> None:
    drop(filled(log), 3, 4)
    log.append("label-removed")
    assert faults(log)[0] == "After line number 3 comes 6: lines are missing or out of order."


def test_a_forged_line_with_a_good_chain_needs_the_key(log: AuditLog) -> None:
    file = filled(log)
    shutil.copytree(log.folder, log.folder.parent / "forged")
    forged = AuditLog(log.folder.parent / "forged")
    (forged.folder / "key").write_bytes(b"x" * 32)
    drop(forged.folder / "audit.jsonl", 4)
    forged.append("label-removed", token="mallory")
    file.write_text((forged.folder / "audit.jsonl").read_text())
    assert "This line was changed." in faults(log)


def test_a_genuine_line_of_another_copy_does_not_fit_in(log: AuditLog) -> None:
    file = filled(log)
    other = AuditLog(shutil.copytree(log.folder, log.folder.parent / "other"))
    log.append("image-removed")
    log.append("label-written")
    other.append("label-removed")
    written, (*_, foreign) = file.read_text().splitlines(), (other.folder / "audit.jsonl").read_text().splitlines()
    assert faults(other) == []
    written[5] = foreign
    file.write_text("\n".join([*written, ""]))
    assert faults(log) == ["This line does not follow the one before it."]


def test_without_its_key_the_log_is_not_continued(log: AuditLog) -> None:
    filled(log)
    (log.folder / "key").unlink()
    with pytest.raises(ServerError, match="move the log's folder elsewhere"):
        log.append("label-written")
    with pytest.raises(ServerError):
        verify_audit_log(log.folder)


def test_what_the_hint_for_a_lost_key_says_begins_a_new_log(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(log)
    (log.folder / "key").write_bytes(b"short")
    with pytest.raises(ServerError, match="a new log is begun"):
        log.append("label-written")
    log.folder.rename(log.folder.with_name("old"))
    log.append("label-written")
    assert [line["number"] for line in lines(log.folder)] == [1]

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ServerError, match="another user"):
        module.AuditKey(log.folder)


def test_rotation_keeps_the_chain(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", megabytes=0.001)
    filled(log, 12)
    assert len(log.files()) > 3
    assert [line["number"] for line in lines(log.folder)] == list(range(1, 13))
    assert faults(log) == []
    log.files()[1].unlink()
    assert "lines are missing" in faults(log)[0]


def test_a_kill_between_moving_the_file_and_beginning_a_new_one(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    filled(log).replace(log.folder / "audit-000000000005.jsonl")
    log.append("label-written")
    assert len(log.files()) == 2
    assert faults(log) == []


@pytest.mark.parametrize("left", ['{"number": 6, "time', "x" * 100])
def test_a_line_that_a_kill_cut_short_is_taken_off(log: AuditLog, left: str) -> None:
    file = filled(log)
    file.write_text(file.read_text() + left)
    assert "This is not a whole line of the log." in faults(log)
    log.append("label-written")
    assert faults(log) == []
    assert len(lines(log.folder)) == 6


def test_a_kill_between_a_line_and_its_note_is_no_fault(log: AuditLog) -> None:
    filled(log)
    noted = (log.folder / "head.json").read_text()
    log.append("label-written")
    (log.folder / "head.json").write_text(noted)
    assert faults(log) == []
    log.append("label-written")
    assert faults(log) == []
    assert len(lines(log.folder)) == 7


def test_a_full_disk_leaves_the_log_as_it_was(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    file = filled(log)
    before, write = file.read_text(), os.write

    def half(handle: int, content: bytes) -> int:
        if len(content) > 100:
            return write(handle, content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", half)
        with pytest.raises(OutputError, match="No space"):
            log.append("label-written", facts={"long": "x" * 50})
    assert file.read_text() == before
    log.append("label-written")
    assert faults(log) == []


def test_each_line_is_synchronised(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    synchronised, fsync = [], os.fsync
    monkeypatch.setattr(
        module.os, "fsync", lambda handle: (synchronised.append(os.fstat(handle).st_ino), fsync(handle))
    )
    filled(log, 2)
    assert synchronised.count((log.folder / "audit.jsonl").stat().st_ino) == 2


def test_several_processes_write_one_chain(log: AuditLog) -> None:
    code = (
        "import sys; from pathlib import Path; from covid_bert.server.audit import AuditLog\n"
        "for _ in range(20): AuditLog(Path(sys.argv[1])).append('label-written', study='x')"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(log.folder)]) for _ in range(3)]
    assert [process.wait(300) for process in processes] == [0, 0, 0]
    assert faults(log) == []
    assert len(lines(log.folder)) == 60


def test_commands_record_tokens_and_verify() -> None:
    runner = CliRunner()
    shown = runner.invoke(app, ["token", "add", "anna", "--role", "reader"]).output
    runner.invoke(app, ["token", "revoke", "anna"])
    folder = default_audit_folder()
    assert [(line["action"], line["outcome"]) for line in lines(folder)] == [
        *(("token-added", "begun"), ("token-added", "done"), ("token-revoked", "done")),
    ]
    assert shown.split()[0] not in (folder / "audit.jsonl").read_text()
    result = runner.invoke(app, ["audit", "verify"])
    assert (result.exit_code, "All 3 lines" in result.output) == (0, True)
    AuditLog(folder).append("label-written", study=STUDY)
    assert runner.invoke(app, ["audit", "name", STUDY]).output.strip() == lines(folder)[-1]["study"]
    change(folder / "audit.jsonl", '"anna"', '"bert"')
    result = runner.invoke(app, ["audit", "verify"])
    assert (result.exit_code, "audit.jsonl:1: This line was changed." in result.output) == (1, True)


def test_a_change_has_a_line_before_it_and_one_after_it(log: AuditLog) -> None:
    with log.change("label-written", study=STUDY):
        assert [line["outcome"] for line in lines(log.folder)] == ["begun"]
    with pytest.raises(ValueError, match="disk"), log.change("label-written", study=STUDY):
        raise ValueError("disk")
    assert [line["outcome"] for line in lines(log.folder)] == ["begun", "done", "begun", "failed"]
    assert faults(log) == []


def test_a_change_is_not_made_where_it_cannot_be_recorded(log: AuditLog) -> None:
    log.folder.write_text("no folder")
    made = []
    with pytest.raises(OutputError), log.change("label-written", study=STUDY):
        made.append(STUDY)
    assert made == []
