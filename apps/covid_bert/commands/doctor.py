"""`covid-bert doctor`: what of this installation works, and how to mend what does not."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from covid_bert.commands.manifest import versions
from covid_bert.errors import CovidBertError
from covid_bert.systems import SYSTEMS, default_configuration
from covid_bert.weights import live
from covid_bert.weights.location import home
from covid_bert.weights.verify import verify_installed

OK, NOTE, FAULT = "ok", "note", "fault"
_GIBIBYTE = 2**30


@dataclass(frozen=True)
class Check:
    """One line: `state` is ok, note (works, with a limit) or fault (something the user asked for cannot work)."""

    subject: str
    state: str
    finding: str
    remedy: str = ""


def examine() -> list[Check]:
    """Run all checks; one that breaks is itself a fault."""
    return [
        _guarded(check) for check in (_python, _torch, _memory, _disk, _decoders, _server, _port, _weights, _systems)
    ]


def doctor(console: Console) -> int:
    """Print the checks; the exit code is 1 if there is a fault."""
    checks = examine()
    table = Table(title="covid-bert doctor")
    for column in ("", "what", "finding", "what to do"):
        table.add_column(column, overflow="fold")
    colours = {OK: "green", NOTE: "yellow", FAULT: "red"}
    for check in checks:
        table.add_row(f"[{colours[check.state]}]{check.state}[/]", check.subject, check.finding, check.remedy)
    console.print(table)
    return int(any(check.state == FAULT for check in checks))


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except CovidBertError as error:
        return Check(check.__name__.strip("_"), FAULT, error.message, error.hint)
    except Exception as error:
        return Check(check.__name__.strip("_"), FAULT, f"{type(error).__name__}: {error}", "Install covid-bert again.")


def _python() -> Check:
    found = versions()
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    return Check("versions", OK if sys.version_info >= (3, 10) else FAULT, text, "")


def _torch() -> Check:
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Check("device", OK, f"CUDA: {names}")
    abilities = torch.cpu.get_capabilities()
    if abilities.get("avx512_bf16") or abilities.get("amx_bf16"):
        return Check("device", OK, f"CPU with bfloat16, {torch.get_num_threads()} threads")
    return Check(
        "device",
        NOTE,
        f"CPU without bfloat16, {torch.get_num_threads()} threads",
        "Studies take longer; a CUDA card helps.",
    )


def _memory() -> Check:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return Check("memory", NOTE, "not known on this system")
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIBIBYTE
    if total < 6:
        return Check("memory", FAULT, f"{total:.1f} GiB", "Long studies need 4 GiB for the program alone; add memory.")
    return Check("memory", OK, f"{total:.1f} GiB")


def _disk() -> Check:
    folder = home()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / _GIBIBYTE
    writable = os.access(existing, os.W_OK)
    if free < 2 or not writable:
        return Check(
            "data folder", FAULT, f"{free:.1f} GiB free, {'' if writable else 'not '}writable",
            "Set COVID_BERT_HOME to a folder with space that may be written to.",
        )  # fmt: skip
    return Check("data folder", OK, f"{folder}, {free:.1f} GiB free")


def _decoders() -> Check:
    from pydicom.pixel_data_handlers import gdcm_handler

    if gdcm_handler.is_available():
        return Check("compressed DICOM", OK, "JPEG, JPEG-LS, JPEG 2000 and RLE")
    return Check("compressed DICOM", FAULT, "the GDCM decoder is missing", "Run `pip install python-gdcm`.")


def _server() -> Check:
    try:
        import monailabel
    except ImportError:
        return Check(
            "server", NOTE, "MONAI Label is not installed: no `serve` and `demo`",
            "On Python 3.10 or 3.11: `pip install 'covid-bert[server]'`.",
        )  # fmt: skip
    return Check("server", OK, f"MONAI Label {monailabel.__version__}")


def _port() -> Check:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8000))
        except OSError:
            return Check("port 8000", NOTE, "in use", "Start the server with --port and another number.")
    return Check("port 8000", OK, "free")


def _weights() -> Check:
    findings = verify_installed()
    if findings:
        first = findings[0]
        return Check("weights", FAULT, f"{first.name}: {first.message}", "Run `covid-bert weights verify`.")
    return Check("weights", OK, "all installed weights are intact")


def _systems() -> Check:
    untrained = [
        name
        for name, entry in SYSTEMS.items()
        if any(live(part.weights) is None for part in entry.configurations[default_configuration(name)].parts.values())
    ]
    if untrained:
        return Check(
            "trained systems", NOTE, f"untrained: {', '.join(untrained)}",
            "Their scores mean nothing until weights are installed: `covid-bert weights list`.",
        )  # fmt: skip
    return Check("trained systems", OK, "all systems have weights")
