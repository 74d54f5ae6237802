"""Every kind of write that a client sends, what was acknowledged of it, and whether that is still there and whole."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import requests

from server.processes import Server
from server.studies import random_image, random_mask, sha256

# The study that labels are saved for.
BASE = "base"
TIMEOUT_SECONDS = 300.0


@dataclass
class Findings:
    """What a check found.

    Parameters
    ----------
    lost
        Acknowledged writes that are not there.
    corrupt
        What is offered and was never sent so.
    left
        Files that nobody needs, or that must be gone.
    notes
        What else is worth to be known, of the last check.
    """

    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __iadd__(self, other: Findings) -> Findings:
        """Add what is new; a check that is made again names the same things again."""
        for mine, theirs in ((self.lost, other.lost), (self.corrupt, other.corrupt), (self.left, other.left)):
            mine += [line for line in theirs if line not in mine]
        self.notes = other.notes or self.notes
        return self


class RefusedError(Exception):
    """The server answered with an error; `status` says which."""

    def __init__(self, reply: requests.Response) -> None:
        super().__init__(f"{reply.status_code} {reply.text[:200]}")
        self.status = reply.status_code


class Kind(Protocol):
    """One kind of write. `write` is called by several threads."""

    name: str
    # Seconds within which a kill comes, or longer where writing takes long.
    within: float

    def write(self, url: str, generator: np.random.Generator) -> None:
        """Send one; note it before, and note when it is acknowledged."""

    def acknowledged(self) -> int:
        """Return how many were acknowledged."""

    def check(self, server: Server) -> Findings:
        """Look whether all of that is there."""


class _Noted:
    """What was sent and what was acknowledged, by key."""

    def __init__(self) -> None:
        self.sent: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        self._lock = threading.Lock()

    def send(self, key: str, value: str) -> None:
        with self._lock:
            self.sent[key] = value

    def keep(self, key: str, value: str) -> None:
        with self._lock:
            self.kept[key] = value


class Images:
    """Uploads of studies."""

    name, within = "image", 1.5

    def __init__(self) -> None:
        self._noted = _Noted()
        self._whole: set[str] = set()

    def write(self, url: str, generator: np.random.Generator) -> None:
        """Upload a study under an id of its own."""
        content = random_image(generator)
        key = f"study-{sha256(content)[:16]}"
        self._noted.send(key, sha256(content))
        put(f"{url}/datastore/image", params={"image": key}, files={"file": (f"{key}.nii", content)})
        self._noted.keep(key, sha256(content))

    def acknowledged(self) -> int:
        """Return how many were acknowledged."""
        return len(self._noted.kept)

    def check(self, server: Server) -> Findings:
        """Look for all in the list, and download those that were not seen whole before."""
        found = Findings()
        listed = get(f"{server.url}/datastore/", params={"output": "all"}).json()["objects"]
        found.lost = [f"image {key}" for key in self._noted.kept if key not in listed]
        for key in {*listed} & {*self._noted.sent} - self._whole:
            content = get(f"{server.url}/datastore/image", params={"image": key}).content
            if sha256(content) == self._noted.sent[key]:
                self._whole.add(key)
            else:
                found.corrupt.append(f"image {key}: {len(content)} bytes")
        return found


class Labels:
    """Masks for one study, each a new version."""

    name, within = "label", 1.5

    def __init__(self) -> None:
        # By hash, which is what the server's record of a version holds too.
        self._noted = {tag: _Noted() for tag in ("final", "original")}
        self._whole: set[tuple[str, int]] = set()

    def write(self, url: str, generator: np.random.Generator) -> None:
        """Save a mask under one of both tags."""
        tag = ("final", "original")[int(generator.integers(2))]
        content = random_mask(generator)
        self._noted[tag].send(sha256(content), "")
        put(f"{url}/datastore/label", params={"image": BASE, "tag": tag}, files={"label": ("mask.nii.gz", content)})
        self._noted[tag].keep(sha256(content), "")

    def acknowledged(self) -> int:
        """Return how many were acknowledged."""
        return sum(len(noted.kept) for noted in self._noted.values())

    def check(self, server: Server) -> Findings:
        """Compare the versions with what was sent, and the label that is offered with the newest one."""
        found = Findings()
        for tag, noted in self._noted.items():
            versions = versions_of(server.url, tag)
            hashes = {version["sha256"] for version in versions}
            found.lost += [f"label {tag} {digits[:12]}" for digits in noted.kept if digits not in hashes]
            found.corrupt += check_versions(server.url, tag, versions, set(noted.sent), self._whole)
            if versions:
                shown = get(f"{server.url}/datastore/label", params={"label": BASE, "tag": tag}).content
                if sha256(shown) != versions[-1]["sha256"]:
                    found.corrupt.append(f"label {tag}: not the newest version is offered")
        return found


class StudyLabels:
    """What a reader says about a study, each a new version."""

    name, within = "study label", 1.0

    def __init__(self) -> None:
        self._noted = _Noted()
        self._whole: set[tuple[str, int]] = set()

    def write(self, url: str, generator: np.random.Generator) -> None:
        """Save one with a comment of its own."""
        comment = generator.bytes(500).hex()
        body = {"study_class": "covid", "certainty": "probable", "comment": comment}
        reply = put(f"{url}/datastore/study-label", params={"image": BASE}, json=body)
        version = reply.json()["version"]
        self._noted.keep(version["sha256"], comment)

    def acknowledged(self) -> int:
        """Return how many were acknowledged."""
        return len(self._noted.kept)

    def check(self, server: Server) -> Findings:
        """Compare the versions with what was acknowledged."""
        found = Findings()
        versions = versions_of(server.url, "study")
        hashes = {version["sha256"] for version in versions}
        found.lost = [f"study label {digits[:12]}" for digits in self._noted.kept if digits not in hashes]
        found.corrupt = check_versions(server.url, "study", versions, hashes, self._whole)
        if versions:
            newest = get(f"{server.url}/datastore/study-label", params={"image": BASE}).json()["version"]["number"]
            if newest != versions[-1]["number"]:
                found.corrupt.append("study label: not the newest version is offered")
        return found


class Information:
    """What is known of a study beside its file: the index alone is written."""

    name, within = "information", 1.0

    def __init__(self) -> None:
        self._noted = _Noted()

    def write(self, url: str, generator: np.random.Generator) -> None:
        """Give one of a hundred fields a new, higher value, each thread its own fields."""
        key = f"field-{threading.get_native_id() % 10}-{int(generator.integers(10))}"
        value = int(self._noted.sent.get(key, "0")) + 1
        self._noted.send(key, str(value))
        put(f"{url}/datastore/image/info", params={"image": BASE}, data={"info": json.dumps({key: value})})
        self._noted.keep(key, str(value))

    def acknowledged(self) -> int:
        """Return how many were acknowledged."""
        return sum(int(value) for value in self._noted.kept.values())

    def check(self, server: Server) -> Findings:
        """Compare each field with the last value that was acknowledged, and the last one that was sent."""
        found = Findings()
        known: dict[str, Any] = get(f"{server.url}/datastore/image/info", params={"image": BASE}).json()
        for key, value in self._noted.kept.items():
            if int(known.get(key, 0)) < int(value):
                found.lost.append(f"information {key}")
            elif int(known[key]) > int(self._noted.sent[key]):
                found.corrupt.append(f"information {key}")
        return found


def versions_of(url: str, tag: str) -> list[dict[str, Any]]:
    """Return the records of the versions of a label of `BASE`, the first one first."""
    reply = get(f"{url}/datastore/label/versions", params={"label": BASE, "tag": tag})
    versions: list[dict[str, Any]] = reply.json()["versions"]
    return versions


def check_versions(
    url: str, tag: str, versions: Iterable[dict[str, Any]], sent: set[str], whole: set[tuple[str, int]]
) -> list[str]:
    """Download the versions that are not in `whole`, add those that are, and return what is wrong with the others."""
    wrong = []
    for version in versions:
        number = version["number"]
        if (tag, number) in whole:
            continue
        query: dict[str, Any] = {"label": BASE, "tag": tag, "version": number}
        content = get(f"{url}/datastore/label/version", params=query).content
        if sha256(content) == version["sha256"] and version["sha256"] in sent:
            whole.add((tag, number))
        else:
            wrong.append(f"label {tag}, version {number}: {len(content)} bytes")
    return wrong


def get(url: str, **options: Any) -> requests.Response:
    """Send a GET; `RefusedError` for any other answer than a good one."""
    return _answered(requests.get(url, timeout=TIMEOUT_SECONDS, **options))


def put(url: str, **options: Any) -> requests.Response:
    """Send a PUT; errors as in `get`."""
    return _answered(requests.put(url, timeout=TIMEOUT_SECONDS, **options))


def post(url: str, **options: Any) -> requests.Response:
    """Send a POST; errors as in `get`."""
    return _answered(requests.post(url, timeout=TIMEOUT_SECONDS, **options))


def _answered(reply: requests.Response) -> requests.Response:
    if not reply.ok:
        raise RefusedError(reply)
    return reply
