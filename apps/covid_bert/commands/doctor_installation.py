"""Checks of `covid-bert doctor` on the installation: packages, device, memory, disk, clock, weights."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from covid_bert.commands.doctor_check import FAULT, NOTE, OK, Check
from covid_bert.weights.location import home

GIBIBYTE = 2**30
LEAST_DISK = 2 * GIBIBYTE
_LEAST_MEMORY = 6 * GIBIBYTE
_DAY = 86_400.0
_CONTROL_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def versions_found() -> Check:
    """Versions of Python and of what results depend on."""
    from covid_bert.commands.manifest import versions

    return Check("versions", OK, ", ".join(f"{name} {version}" for name, version in versions().items()))


def packages() -> Check:
    """Whether all packages are there in the versions that the project asks for."""
    try:
        declared = importlib.metadata.requires("covid-bert") or []
    except importlib.metadata.PackageNotFoundError:
        return Check("packages", NOTE, "covid-bert is not installed, so they cannot be compared", "Install it by pip.")
    unfit = unfit_packages(declared)
    if unfit:
        wanted = " ".join(f"'{requirement}'" for _, requirement in unfit)
        found = ", ".join(finding for finding, _ in unfit)
        return Check("packages", FAULT, found, f"Run `pip install {wanted}`.")
    return Check("packages", OK, "all are there in versions that fit")


def unfit_packages(declared: Iterable[str]) -> list[tuple[str, str]]:
    """Return what is found and what is needed for each package that is missing or of another version.

    Parameters
    ----------
    declared
        Requirements as in ``pyproject.toml``; those of the extra ``server`` count if MONAI Label is installed.
    """
    from packaging.requirements import Requirement

    unfit = []
    extras = ("", "server") if _version("monailabel") else ("",)
    for requirement in map(Requirement, declared):
        if requirement.marker is not None and not any(requirement.marker.evaluate({"extra": one}) for one in extras):
            continue
        version = _version(requirement.name)
        wanted = f"{requirement.name}{requirement.specifier}"
        if version is None:
            unfit.append((f"{requirement.name} is missing", wanted))
        elif not requirement.specifier.contains(version, prereleases=True):
            unfit.append((f"{requirement.name} is {version}", wanted))
    return unfit


def device() -> Check:
    """What networks run on, and that it computes."""
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        try:
            torch.ones(8, 8, device="cuda").matmul(torch.ones(8, 8, device="cuda")).sum().item()
        except RuntimeError:
            return Check("device", FAULT, f"{names} does not compute", "Install a driver and a PyTorch that fit it.")
        return Check("device", OK, f"CUDA: {names}")
    abilities = torch.cpu.get_capabilities()
    threads = torch.get_num_threads()
    if abilities.get("avx512_bf16") or abilities.get("amx_bf16"):
        return Check("device", OK, f"CPU with bfloat16, {threads} threads")
    return Check(
        "device", NOTE, f"CPU without bfloat16, {threads} threads", "Studies take longer; a CUDA card helps."
    )  # fmt: skip


def memory() -> Check:
    """Memory of the machine or, if that is less, of the container or service."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return Check("memory", NOTE, "not known on this system")
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # Absent, or the word "max", without a limit.
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(_CONTROL_GROUP_LIMIT.read_text()))
    text = f"{total / GIBIBYTE:.1f} GiB"
    if total < _LEAST_MEMORY:
        return Check("memory", FAULT, text, "Long studies need 4 GiB for the program alone; add memory.")
    return Check("memory", OK, text)


def data_folder() -> Check:
    """Whether the program's data folder has space and may be written to."""
    folder = home()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK | os.X_OK) and existing.is_dir()
    if free < LEAST_DISK or not writable:
        return Check(
            "data folder",
            FAULT,
            f"{free / GIBIBYTE:.1f} GiB free, {'' if writable else 'not '}writable",
            "Set COVID_BERT_HOME to a folder with space that may be written to.",
        )
    return Check("data folder", OK, f"{folder}, {free / GIBIBYTE:.1f} GiB free")


def clock() -> Check:
    """Whether the clock could be right: expiry of results, sessions and certificates depends on it."""
    made = Path(__file__).stat().st_mtime
    if time.time() < made - _DAY:
        days = (made - time.time()) / _DAY
        return Check(
            "clock", FAULT, f"it says a time {days:.0f} days before this program was installed", "Set the clock (NTP)."
        )
    return Check("clock", OK, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def compressed_dicom() -> Check:
    """Whether compressed DICOM files can be read."""
    from pydicom.pixel_data_handlers import gdcm_handler

    if gdcm_handler.is_available():
        return Check("compressed DICOM", OK, "JPEG, JPEG-LS, JPEG 2000 and RLE")
    return Check("compressed DICOM", FAULT, "the GDCM decoder is missing", "Run `pip install python-gdcm`.")


def monai_label() -> Check:
    """Whether there is a server at all."""
    version = _version("monailabel")
    if version is None:
        return Check(
            "MONAI Label",
            NOTE,
            "it is not installed: no `serve` and `demo`",
            "On Python 3.10 or 3.11: `pip install 'covid-bert[server]'`.",
        )
    return Check("MONAI Label", OK, version)


def weights() -> Check:
    """Whether installed and shipped weights are intact."""
    from covid_bert.weights.verify import verify_installed

    findings = verify_installed()
    if findings:
        text = findings[0].message.rstrip(".") + (f", and {len(findings) - 1} more" if len(findings) > 1 else "")
        remedy = "Import or fetch them again; shipped ones come with covid-bert. `covid-bert weights verify` lists all."
        return Check("weights", FAULT, text, remedy)
    return Check("weights", OK, "all installed weights are intact")


def trained_systems() -> Check:
    """Whether every system has weights."""
    from covid_bert.systems import SYSTEMS, default_configuration
    from covid_bert.weights import live

    untrained = [
        name
        for name, entry in SYSTEMS.items()
        if any(live(part.weights) is None for part in entry.configurations[default_configuration(name)].parts.values())
    ]
    if untrained:
        return Check(
            "trained systems",
            NOTE,
            f"untrained: {', '.join(untrained)}",
            "Their scores mean nothing until weights are installed: `covid-bert weights list`.",
        )
    return Check("trained systems", OK, "all systems have weights")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


INSTALLATION_CHECKS: tuple[Callable[[], Check], ...] = (
    *(versions_found, packages, device, memory, data_folder, clock),
    *(compressed_dicom, monai_label, weights, trained_systems),
)
