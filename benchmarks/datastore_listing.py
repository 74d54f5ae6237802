"""How long it takes to list many studies, beside MONAI Label's own datastore on the same folder.

    python benchmarks/datastore_listing.py --studies 10000

Listing is what ``GET /datastore/?output=all`` needs: from the datastore to the bytes of the reply, MONAI Label's by
the encoder of its web framework. Each study is an empty file; every tenth has a final label.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fastapi.encoders import jsonable_encoder
from monailabel.datastore.local import LocalDatastore

from covid_bert.datastore.store import StudyDatastore

_SETTLED_SECONDS = 2.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: make(Path(temporary) / name, options.studies) for name in ("stock", "ours")}
        stock, opened_stock = timed(lambda: LocalDatastore(str(folders["stock"]), extensions=("*.nii.gz",)))
        ours, opened_ours = timed(lambda: StudyDatastore(str(folders["ours"])))
        time.sleep(_SETTLED_SECONDS)
        rows = [("open", opened_stock, opened_ours)]
        rows.append(("list, nothing changed", *medians(options.repeats, lambda: encoded(stock), ours.listing)))

        def after_file(store: LocalDatastore | StudyDatastore, folder: Path, listing: Callable[[], bytes]) -> None:
            os.utime(folder)
            store.refresh()
            listing()

        rows.append(
            (
                "list after a file came",
                *medians(
                    options.repeats,
                    lambda: after_file(stock, folders["stock"], lambda: encoded(stock)),
                    lambda: after_file(ours, folders["ours"], ours.listing),
                ),
            )
        )

        def change(store: LocalDatastore | StudyDatastore) -> None:
            store.update_image_info("study00001", {"site": "A"})

        rows.append(("change one study", *medians(options.repeats, lambda: change(stock), lambda: change(ours))))
        assert json.loads(ours.listing())["objects"].keys() == stock.json()["objects"].keys()
    print(f"{options.studies} studies, median of {options.repeats}, seconds")
    print(f"{'':24} {'stock':>8} {'ours':>8} {'ratio':>8}")
    for name, theirs, own in rows:
        print(f"{name:24} {theirs:8.3f} {own:8.3f} {own / theirs:8.3f}")


def make(folder: Path, studies: int) -> Path:
    (folder / "labels" / "final").mkdir(parents=True)
    for number in range(studies):
        name = f"study{number:05d}.nii.gz"
        (folder / name).touch()
        if number % 10 == 0:
            (folder / "labels" / "final" / name).touch()
    return folder


def encoded(store: LocalDatastore) -> bytes:
    return json.dumps(jsonable_encoder(store.json())).encode()


def timed(work: Callable[[], object]) -> tuple[object, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def medians(repeats: int, *works: Callable[[], object]) -> list[float]:
    return [statistics.median(timed(work)[1] for _ in range(repeats)) for work in works]


if __name__ == "__main__":
    main()
