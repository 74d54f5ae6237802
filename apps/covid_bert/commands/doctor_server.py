"""Checks of `covid-bert doctor` on what a server needs: tokens, TLS, port, studies, locks, jobs, audit log."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatch
from pathlib import Path

from filelock import FileLock, Timeout

from covid_bert.commands.doctor_check import FAULT, NOTE, OK, Check
from covid_bert.commands.doctor_installation import GIBIBYTE, LEAST_DISK
from covid_bert.commands.owner import name_of_owner
from covid_bert.server.audit import default_audit_folder
from covid_bert.server.audit_check import verify_audit_log
from covid_bert.server.certificate import check_certificate
from covid_bert.server.configuration import LOOPBACK_NAMES, ServerConfiguration, check_network
from covid_bert.server.jobs.database import DATABASE
from covid_bert.server.launch import SERVER_LOCK_NAME
from covid_bert.server.tokens import TokenFile, default_tokens_file
from covid_bert.weights.location import home

Configuration = ServerConfiguration | None
_SOON = timedelta(days=30)
_CLOCK_TOLERANCE = timedelta(minutes=5)
_LOCK_SECONDS = 2.0
_OTHERS = 0o077


def data_folder_owner() -> Check:
    """Whether this user is the one that the server runs as."""
    folder = home()
    if os.name != "nt" and folder.exists() and folder.stat().st_uid != os.geteuid():
        name = name_of_owner(folder)
        return Check("user", FAULT, f"the data folder belongs to {name}", f"Run this as {name} (sudo -u {name}).")
    return Check("user", OK, "the data folder is this user's")


def tokens(configuration: Configuration) -> Check:
    """Whether the file with the tokens can be used, and whether there are any."""
    chosen = configuration.tokens_file if configuration else None
    known = TokenFile(chosen or default_tokens_file()).tokens()
    if configuration is not None:
        check_network(configuration, tokens=bool(known), insecure_network=False)
    if not known:
        return Check(
            "tokens",
            NOTE,
            "there is none: every user of this computer may do everything",
            "Add one with `covid-bert token add NAME --role ROLE`.",
        )
    return Check("tokens", OK, f"{len(known)}")


def certificate(configuration: Configuration) -> Check:
    """Whether the certificate for TLS can be used, is private, current and for the names of the server."""
    if configuration is None or configuration.tls_certificate is None or configuration.tls_key is None:
        return Check("certificate", OK, "none is configured")
    check_certificate(configuration)
    key = configuration.tls_key.stat()
    # Root's key is read by the group of the server's user; nobody else's needs to be.
    private = 0o640 if key.st_uid == 0 else 0o600
    if os.name != "nt" and key.st_mode & _OTHERS & ~private:
        name = configuration.tls_key.name
        return Check("certificate", FAULT, f"other users may read {name}", f"Run `chmod {private:o}` on {name}.")
    from cryptography import x509

    found = x509.load_pem_x509_certificates(configuration.tls_certificate.read_bytes())[0]
    now, ends = datetime.now(timezone.utc), found.not_valid_after_utc
    if now < found.not_valid_before_utc:
        begins = f"it is valid from {found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        return Check("certificate", FAULT, begins, "Set the clock, or take another certificate.")
    if now > ends:
        return Check("certificate", FAULT, f"it ended on {ends:%Y-%m-%d}", "Renew it, and start the server again.")
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = {str(name.value).lower() for name in names}
    except x509.ExtensionNotFound:
        known = set()
    missing = sorted(host for host in configuration.hosts - LOOPBACK_NAMES if not _covered(host, known))
    if missing:
        return Check(
            "certificate", NOTE, f"it is not for {', '.join(missing)}", "Clients refuse these names; have it extended."
        )
    if now > ends - _SOON:
        return Check("certificate", NOTE, f"it ends on {ends:%Y-%m-%d}", "Renew it, and start the server again.")
    return Check("certificate", OK, f"valid until {ends:%Y-%m-%d}")


def port(configuration: Configuration) -> Check:
    """Whether the server's port is free, or used by the server."""
    host, number = (configuration.host, configuration.port) if configuration else ("127.0.0.1", 8000)
    subject = f"port {number}"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            if server_runs(configuration, elsewhere=configuration is None):
                return Check(subject, OK, "in use while a server runs")
            state = NOTE if configuration is None else FAULT
            return Check(subject, state, f"it cannot be used: {error.strerror}", "Choose another port or address.")
    return Check(subject, OK, "free")


def studies(configuration: Configuration) -> Check:
    """Whether the folder with the studies can be read and written, and has space."""
    if configuration is None:
        return Check("studies", OK, "no folder was given; --studies or --configuration names it")
    folder = configuration.studies
    if not folder.is_dir():
        return Check("studies", FAULT, f"{folder.name} is not there or no folder", "Make it, or correct `studies`.")
    for path in (folder, folder / "labels"):
        if path.exists() and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            text = f"{path.name} cannot be read and written by this user"
            return Check("studies", FAULT, text, "Give the user that the server runs as the rights (chown, chmod).")
    free = shutil.disk_usage(folder).free
    if free < LEAST_DISK:
        return Check("studies", FAULT, f"{free / GIBIBYTE:.1f} GiB free", "Free disk space before labels are refused.")
    return Check("studies", OK, f"readable and writable, {free / GIBIBYTE:.1f} GiB free")


def locks(configuration: Configuration) -> Check:
    """Whether a process holds a lock for so long that others must fail."""
    found = [home() / "audit" / "lock", default_tokens_file().with_suffix(".json.lock")]
    if configuration is not None:
        found += [configuration.studies / ".lock", configuration.studies / ".backup-snapshot.lock"]
    for path in found:
        if path.exists() and not _is_free(path, _LOCK_SECONDS):
            holder = _holder(path)
            who = f"process {holder}" if holder else "a process"
            return Check("locks", FAULT, f"{who} holds {path.name} of {path.parent.name}", "End it if it hangs.")
    return Check("locks", OK, "none is held for long")


def leftovers(configuration: Configuration) -> Check:
    """Whether a killed server or command left data behind, which may be a patient's."""
    if _uploads_of_killed_servers():
        return Check("leftovers", NOTE, "uploads of a killed server", "Start the server once: it removes them.")
    if configuration is not None and not server_runs(configuration, elsewhere=False):
        for pattern in (".backup-snapshot", ".restore-*"):
            for path in configuration.studies.glob(pattern):
                return Check("leftovers", NOTE, f"{path.name} of a killed command", "Remove that folder.")
    return Check("leftovers", OK, "none")


def jobs(_: Configuration) -> Check:
    """Whether the lists of jobs of all servers with this data folder are intact."""
    remedy = "Start the server: it moves the list aside and begins an empty one; jobs are submitted again."
    lists = sorted((home() / "jobs").glob(f"*/{DATABASE}"))
    for path in lists:
        address = f"{path.resolve().as_uri()}?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_LOCK_SECONDS)) as database:
                answer = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            return Check(
                "jobs", FAULT, f"the list cannot be read: {error}", "Mend its permissions, or free disk space."
            )
        except sqlite3.DatabaseError:
            answer = "damaged"
        if answer != "ok":
            return Check("jobs", FAULT, f"the list in {path.parent.name} is damaged", remedy)
    return Check("jobs", OK, f"{len(lists)} {'list, intact' if len(lists) == 1 else 'lists, all intact'}")


def audit_log(_: Configuration) -> Check:
    """Whether the audit log is whole, and the clock is not before its last line."""
    state = verify_audit_log(default_audit_folder())
    if state.findings:
        first = state.findings[0]
        text = f"{first.place}: {first.message.rstrip('.')}"
        return Check("audit log", FAULT, text, "Run `covid-bert audit verify`, and compare it with a copy.")
    if state.last_time is not None:
        last = datetime.fromisoformat(state.last_time)
        if last > datetime.now(timezone.utc) + _CLOCK_TOLERANCE:
            return Check("audit log", FAULT, "its last line is in the future: the clock was set back", "Set the clock.")
    return Check("audit log", OK, f"{state.lines} lines, none missing or changed")


def _covered(host: str, names: set[str]) -> bool:
    """Whether a certificate's names cover a host; a star stands for one part of a name."""
    with contextlib.suppress(ValueError):  # a name
        host = str(ipaddress.ip_address(host))
    return any(fnmatch(host, name) and host.count(".") == name.count(".") for name in names)


def server_runs(configuration: Configuration, *, elsewhere: bool = True) -> bool:
    """Whether a server with these studies runs, or, `elsewhere`, any with this data folder."""
    found = list((home() / "jobs").glob("*/lock")) if elsewhere else []
    if configuration is not None:
        found += [path for path in (configuration.studies / SERVER_LOCK_NAME,) if path.exists()]
    return not all(_is_free(path, 0) for path in found)


def _uploads_of_killed_servers() -> bool:
    """Whether a server's temporary folder is there whose lock nobody holds."""
    root = home() / "temporary"
    if not root.exists():
        return False
    # As servers do when they start: none is between making its folder and locking it.
    with FileLock(root / "lock", mode=0o600, timeout=_LOCK_SECONDS):
        locks = [folder / "lock" for folder in root.glob("server-*")]
        return any(not lock.exists() or _is_free(lock, 0) for lock in locks)


def _is_free(path: Path, seconds: float) -> bool:
    try:
        with FileLock(path, timeout=seconds):
            return True
    except Timeout:
        return False


def _holder(path: Path) -> int | None:
    """The process that holds a lock, where the system tells."""
    try:
        listed = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    inode = path.stat().st_ino
    fields = (line.split() for line in listed if "->" not in line)
    return next((int(field[4]) for field in fields if field[5].rsplit(":", 1)[-1] == str(inode)), None)


SERVER_CHECKS: tuple[Callable[[Configuration], Check], ...] = (
    *(tokens, certificate, port, studies, locks, leftovers, jobs, audit_log),
)
