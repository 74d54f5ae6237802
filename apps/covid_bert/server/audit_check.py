"""Checking the audit log: every line is there, unchanged and in its place."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path

from covid_bert.server.audit import START, AuditKey, AuditLog, lines_of, parse, read_head


@dataclass(frozen=True)
class AuditFinding:
    """One thing that is wrong with the log.

    Parameters
    ----------
    place
        File and line, or the file.
    message
        What is wrong, in one sentence.
    """

    place: str
    message: str


@dataclass(frozen=True)
class AuditState:
    """What a check found.

    Parameters
    ----------
    lines
        How many lines there are.
    last_time
        Time of the last one, ISO 8601; None if there is none.
    findings
        What is wrong; empty if all is well.
    """

    lines: int
    last_time: str | None
    findings: tuple[AuditFinding, ...]


def verify_audit_log(folder: Path) -> AuditState:
    """Read the whole log and check its chain.

    Parameters
    ----------
    folder
        Of the log.

    Raises
    ------
    ServerError
        If there are lines and no key to check them with.
    """
    files = AuditLog(folder).files()
    if not files and not (folder / "key").exists():
        return AuditState(0, None, ())
    key = AuditKey(folder)
    findings: list[AuditFinding] = []
    number, previous, lines, last_time = 0, START, 0, None
    seals: dict[int, str] = {}
    for file in files:
        for position, raw in enumerate(lines_of(file), start=1):
            place = f"{file.name}:{position}"
            content = parse(raw)
            if content is None or not raw.endswith(b"\n"):
                findings.append(AuditFinding(place, "This is not a whole line of the log."))
                continue
            seal = content.pop("seal")
            if not hmac.compare_digest(key.seal(content), seal):
                findings.append(AuditFinding(place, "This line was changed."))
            if content["number"] != number + 1:
                message = f"After line number {number} comes {content['number']}: lines are missing or out of order."
                findings.append(AuditFinding(place, message))
            elif content.get("previous") != previous:
                findings.append(AuditFinding(place, "This line does not follow the one before it."))
            number, previous, lines, last_time = content["number"], seal, lines + 1, str(content.get("time"))
            seals[number] = seal
    findings += _check_end(folder, key, number, seals)
    return AuditState(lines, last_time, tuple(findings))


def _check_end(folder: Path, key: AuditKey, number: int, seals: dict[int, str]) -> list[AuditFinding]:
    head = read_head(folder, key)
    if head is None:
        # Before the first line there is neither.
        return [AuditFinding("head.json", "The note on the last line is missing or was changed.")] if number else []
    noted, seal = head
    if noted > number:
        return [AuditFinding("audit.jsonl", f"The last lines are missing: {number} are there of {noted}.")]
    if seals.get(noted) != seal:
        return [AuditFinding("head.json", f"Line {noted} is not the one that was noted.")]
    # A kill between a line and its note leaves one more, which the next line puts right.
    return [] if number - noted <= 1 else [AuditFinding("head.json", "The note on the last line is too old.")]
