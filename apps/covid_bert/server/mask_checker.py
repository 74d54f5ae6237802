"""Masks that clients send are decoded in a process of their own, whose end is not the server's."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covid_bert.progress import Progress
from covid_bert.server.reader import MOST_SECONDS, Reader

if TYPE_CHECKING:
    from covid_bert.workers import Compute, Outcome


class MaskChecker:
    """`GridCheck` in a worker process, which the first mask starts.

    Parameters
    ----------
    most_voxels
        Larger studies are refused by what their header says.
    most_seconds
        A check that takes longer is given up.
    """

    def __init__(self, most_voxels: int, *, most_seconds: float = MOST_SECONDS) -> None:
        self._reader = Reader(functools.partial(open_check, most_voxels), "a mask", most_seconds=most_seconds)

    @property
    def pid(self) -> int | None:
        """The process's id, None before the first mask."""
        return self._reader.pid

    def check(self, mask: Path, image: Path, values: Mapping[int, int] | None = None) -> None:
        """Check a mask; see `covid_bert.datastore.checks.GridCheck.check`.

        Raises
        ------
        InputError
            If it does not fit its image, or ends the process that decodes it.
        TooLongError, NotReadyError
            As `Reader.ask`.
        """
        self._reader.ask({"mask": str(mask), "image": str(image), "values": values})

    def close(self) -> None:
        """End the process, and with it a check that still runs."""
        self._reader.close()


def open_check(most_voxels: int) -> Compute:
    """Return what the process calls for each mask.

    Parameters
    ----------
    most_voxels
        Larger studies are refused by what their header says.
    """
    from covid_bert.datastore.checks import GridCheck
    from covid_bert.volumes.assembly import voxel_limit

    grids = GridCheck()

    def compute(request: dict[str, Any], _: Progress, __: Path) -> Outcome:
        with voxel_limit(most_voxels):
            # JSON has texts for keys.
            values = None if request["values"] is None else {int(key): to for key, to in request["values"].items()}
            grids.check(Path(request["mask"]), Path(request["image"]), values)
        return {}, {}

    return compute
