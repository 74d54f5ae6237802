"""Kill a writer at random moments, again and again, and look whether anything it had confirmed is lost or damaged.

python tests/datastore/kill_writes.py --rounds 300
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from small_images import write_image, write_mask

from covid_bert.datastore.store import StudyDatastore
from covid_bert.datastore.study_labels import StudyLabel

_LONGEST_SECONDS = 0.25


@dataclass
class Confirmed:
    """What writers were told is kept."""

    labels: dict[tuple[str, int], str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    information: set[str] = field(default_factory=set)


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def run(rounds: int, seed: int = 0) -> Confirmed:
    """Kill a writer `rounds` times; return what was confirmed.

    Raises
    ------
    AssertionError
        If something is lost or damaged.
    """
    confirmed = Confirmed()
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder, material = Path(temporary) / "studies", Path(temporary) / "material"
        folder.mkdir()
        material.mkdir()
        write_image(folder / "chest.nii.gz")
        for number in range(4):
            write_mask(material / f"mask{number}.nii.gz", number + 1)
        # Read once: what is forked from here knows the image's grid.
        StudyDatastore(str(folder)).save_label("chest", str(material / "mask0.nii.gz"), "final", {})
        for number in range(rounds):
            _one_round(folder, material, number, dice, confirmed)
            _check(folder, confirmed)
    return confirmed


def _one_round(folder: Path, material: Path, number: int, dice: random.Random, confirmed: Confirmed) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            _write(folder, material, number, writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        assert told.readline(), "the writer has started"
        time.sleep(dice.uniform(0, _LONGEST_SECONDS))
        os.kill(child, signal.SIGKILL)
        # A line that was cut off was not told.
        lines = [line for line in told.read().split(b"\n")[:-1] if line]
    os.waitpid(child, 0)
    for kind, name, value in map(json.loads, lines):
        if kind == "information":
            confirmed.information.add(name)
        elif kind == "image":
            confirmed.images[name] = value
        else:
            confirmed.labels[kind, name] = value


def _write(folder: Path, material: Path, number: int, told: int) -> None:
    store = StudyDatastore(str(folder))

    def tell(*what: object) -> None:
        os.write(told, json.dumps(what).encode() + b"\n")

    os.write(told, b"started\n")
    for step in range(10_000):
        mask = material / f"mask{step % 4}.nii.gz"
        store.save_label("chest", str(mask), "final", {"user": "anna"})
        tell("final", store.get_label_info("chest", "final")["version"], digest(mask))
        key = f"{number}-{step}"
        upload = material / f"{key}.nii"
        upload.write_bytes(b"\0" * 344 + b"n+1\0" + key.encode() * 3000)
        tell("image", store.add_image("", str(upload), {"key": key}), digest(upload))
        store.update_image_info("chest", {f"round{number % 20}": step})
        tell("information", f"round{number % 20}", step)
        label = StudyLabel(study_class="covid", certainty="certain", comment=key)
        version = store.save_study_label("chest", label, "anna")
        tell("study", version.number, version.sha256)


def _check(folder: Path, confirmed: Confirmed) -> None:
    store = StudyDatastore(str(folder))
    assert not list(folder.glob("*damaged*")), "the index was damaged"
    index = json.loads((folder / "datastore_v2.json").read_bytes())
    for tag in ("final", "study"):
        versions = {version.number: version for version in store.versions("chest", tag)}
        wanted = {number: value for (kind, number), value in confirmed.labels.items() if kind == tag}
        assert wanted.keys() <= versions.keys(), "a confirmed version is lost"
        for number, version in versions.items():
            assert digest(store.version_path("chest", tag, number)) == version.sha256
            assert version.sha256 == wanted.get(number, version.sha256)
        if versions:
            newest = max(versions)
            assert digest(store.get_label_uri("chest", tag)) == versions[newest].sha256, "an old version is shown"
            assert index["objects"]["chest"]["labels"][tag]["info"]["version"] == newest
    offered = set(store.list_images())
    assert confirmed.images.keys() <= offered, "a confirmed image is lost"
    for name, value in confirmed.images.items():
        assert digest(store.get_image_uri(name)) == value, "an image is damaged"
        assert store.get_image_info(name)["key"] == name
    for name in offered - {"chest"} - confirmed.images.keys():
        # Killed between the last step and the answer: there, and whole.
        assert Path(store.get_image_uri(name)).read_bytes()[348:] == name.encode() * 3000
    assert confirmed.information <= store.get_image_info("chest").keys()
    left = [path.name for path in folder.rglob(".*") if path.name not in {".lock", ".incoming", ".versions"}]
    assert not left, "unfinished files are left"
    assert not list((folder / ".incoming").glob("*/*"))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    found = run(options.rounds, options.seed)
    print(
        f"{options.rounds} kills in {time.perf_counter() - start:.0f} s: {len(found.labels)} confirmed label versions "
        f"and {len(found.images)} confirmed images, none lost or damaged"
    )


if __name__ == "__main__":
    sys.exit(main())
