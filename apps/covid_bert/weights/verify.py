"""Checking everything that is installed or shipped: checksums, names and shapes of tensors, pointers, leftovers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from safetensors import SafetensorError, safe_open

from covid_bert.errors import WeightsError
from covid_bert.progress import Progress
from covid_bert.weights.files import sha256_of
from covid_bert.weights.history import unreadable_lines
from covid_bert.weights.installing import STAGING_PREFIX
from covid_bert.weights.layouts import expected_shapes, mismatches
from covid_bert.weights.location import weights_root
from covid_bert.weights.store import installed, list_names, list_versions, live_version
from covid_bert.weights.version_folder import InstalledWeights


class Problem(str, Enum):
    """What can be wrong with installed weights."""

    MANIFEST = "manifest"
    MISSING = "missing-file"
    CHECKSUM = "checksum"
    UNKNOWN_NETWORK = "unknown-network"
    TENSORS = "tensors"
    POINTER = "pointer"
    FILE = "file"
    HISTORY = "history"
    LEFTOVER = "leftover"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Parameters
    ----------
    name, version
        Which weights; the version is empty for a finding about the name as a whole.
    problem
        Kind.
    message
        Sentence for the user.
    """

    name: str
    version: str
    problem: Problem
    message: str


def verify_installed(progress: Progress | None = None) -> list[Finding]:
    """Check all installed and shipped weights, reading every file anew.

    Parameters
    ----------
    progress
        Gets the stage ``verify``.

    Returns
    -------
    list of Finding
        Empty if all is well.

    Raises
    ------
    CancelledError
        If the user cancelled.
    """
    progress = progress or Progress()
    findings: list[Finding] = []
    names = list_names()
    with progress.stage("verify"):
        for index, name in enumerate(names):
            progress.update("verify", index / len(names))
            findings += _check_name(name)
    return findings


def _check_name(name: str) -> list[Finding]:
    findings = []
    versions = list_versions(name)
    for version in versions:
        try:
            weights = installed(name, version)
        except WeightsError as error:
            findings.append(Finding(name, version, Problem.MANIFEST, error.message))
        else:
            findings += _check_version(weights)
            findings += _check_files(weights)
    findings += _check_pointer(name, versions)
    damaged = unreadable_lines(name)
    if damaged:
        message = f"{name}: {damaged} lines of the history cannot be read; what they say was live is not gone back to."
        findings.append(Finding(name, "", Problem.HISTORY, message))
    findings += [
        Finding(
            name,
            "",
            Problem.LEFTOVER,
            f"{name}: {item.name} is left of an interrupted import; it can be removed.",
        )
        for item in sorted((weights_root() / name).glob(f"{STAGING_PREFIX}*"))
    ]
    return findings


def _check_pointer(name: str, versions: list[str]) -> list[Finding]:
    try:
        pointed = live_version(name)
    except WeightsError as error:
        return [Finding(name, "", Problem.POINTER, error.message)]
    if pointed is None or pointed in versions:
        return []
    message = f"{name}: the live version is said to be {pointed!r}, which is not installed."
    return [Finding(name, "", Problem.POINTER, message)]


def _check_files(weights: InstalledWeights) -> list[Finding]:
    """Further files of a version: without them it can be used, but not what it says of itself."""
    findings = []
    for name in weights.manifest.files:
        try:
            weights.read_file(name)
        except WeightsError as error:
            findings.append(Finding(weights.name, weights.version, Problem.FILE, error.message))
    return findings


def _check_version(weights: InstalledWeights) -> list[Finding]:
    def finding(problem: Problem, message: str) -> list[Finding]:
        return [Finding(weights.name, weights.version, problem, f"{weights.name} {weights.version}: {message}")]

    if not weights.path.is_file():
        return finding(Problem.MISSING, "the file is missing.")
    actual = sha256_of(weights.path)
    if actual != weights.sha256:
        return finding(Problem.CHECKSUM, "the file was changed: its SHA-256 is not the one in the manifest.")
    expected = expected_shapes(weights.manifest.architecture)
    if expected is None:
        return finding(Problem.UNKNOWN_NETWORK, f"the network {weights.manifest.architecture} is not known here.")
    try:
        with safe_open(weights.path, framework="pt") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return finding(Problem.TENSORS, "the file is not a safetensors file.")
    problems = mismatches(found, expected)
    return finding(Problem.TENSORS, f"{'; '.join(problems)}.") if problems else []
