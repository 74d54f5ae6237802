"""Checks of files that arrive: a mask must lie on its image's grid, an image must be one."""

from __future__ import annotations

import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from covid_bert.datastore.mask_names import relabelled
from covid_bert.errors import BusyError, UnreadableFileError
from covid_bert.lungs.mask import LUNG_LABELS
from covid_bert.volumes import NativeGrid, Source, Unit, Volume, read, read_mask, write_mask
from covid_bert.volumes.study_files import state_files

_KEPT_GRIDS = 256
_MOST_WAITING = 8
_RETRY_SECONDS = 10
_MAGIC = {".nii.gz": (0, b"\x1f\x8b"), ".nii": (344, b"n+"), ".nrrd": (0, b"NRRD"), ".zip": (0, b"PK")}
_HEADER_BYTES = 2**16


# Mask, image, and what the mask's values stand for; see `GridCheck.check`.
MaskCheck = Callable[[Path, Path, Mapping[int, int] | None], None]


class Turns:
    """Lets one mask at a time be checked: several would only need their memory together."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._places = threading.BoundedSemaphore(_MOST_WAITING)

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a turn.

        Raises
        ------
        BusyError
            If too many wait; each would hold a thread of the server.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError("Many masks are being checked just now.", "Try again later.", retry_after=_RETRY_SECONDS)
        try:
            with self._turn:
                yield
        finally:
            self._places.release()


class GridCheck:
    """Compares masks with their images, whose grids are kept after the first time."""

    def __init__(self) -> None:
        self._grids: OrderedDict[tuple[object, ...], Volume] = OrderedDict()

    def check(self, mask: Path, image: Path, values: Mapping[int, int] | None = None) -> None:
        """Check a mask's size, place and values; one call at a time.

        Parameters
        ----------
        mask
            The file that arrived.
        image
            File or folder of its study.
        values
            What its values stand for, see `covid_bert.datastore.mask_names.named_values`: where they are not our own
            labels, it is written again with those.

        Raises
        ------
        InputError
            If the mask is damaged, has another size than the image, lies elsewhere (the message says whether
            spacing, direction or origin differ), or holds other values than the whole numbers 0 to 255, or than
            those that stand for something; or if the image cannot be read.
        OutputError
            If it cannot be written again.
        """
        labels = self.labels(mask, image)
        if values is None:
            return
        changed = relabelled(labels, values)
        if not np.array_equal(changed, labels):
            self.write(changed, image, mask)

    def write(self, labels: npt.NDArray[np.uint8], image: Path, mask: Path) -> None:
        """Write the labels of lungs, on the canonical grid of an image, as a mask on the image's own.

        Raises
        ------
        InputError
            If the image cannot be read, or the format of the mask cannot hold its grid.
        OutputError
            If it cannot be written.
        """
        grid = replace(self.outline(image), array=np.broadcast_to(np.uint8(0), labels.shape))
        write_mask(labels, grid, mask, names=LUNG_LABELS)

    def labels(self, mask: Path, image: Path) -> npt.NDArray[np.uint8]:
        """Return a mask's values on the canonical grid of its image (slices, rows, columns); errors as in `check`."""
        if mask.stat().st_size == 0:
            raise UnreadableFileError("The file of the mask is empty.", "Export the mask and send it again.")
        return read_mask(mask, self.outline(image))

    def outline(self, image: Path) -> Volume:
        """Return an image's geometry, without its values.

        Raises
        ------
        InputError
            If the image cannot be read.
        """
        key = state_of(image)
        if key not in self._grids:
            self._grids[key] = _without_values(read(image).native, image)
            while len(self._grids) > _KEPT_GRIDS:
                self._grids.popitem(last=False)
        return self._grids[key]


def check_image(file: Path, suffix: str) -> None:
    """Check that an image which arrived is of its format and names no other file; its voxels are read later.

    Parameters
    ----------
    file
        The file that arrived.
    suffix
        One of `covid_bert.datastore.names.UPLOAD_SUFFIXES`.

    Raises
    ------
    UnreadableFileError
        If it is not.
    """
    with file.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
    position, magic = _MAGIC.get(suffix, (0, b""))
    if not start or not start[position:].startswith(magic):
        raise UnreadableFileError("The file is empty or not of its format.", "Export the study and send it again.")
    if suffix == ".zip" and not zipfile.is_zipfile(file):
        raise UnreadableFileError("The zip file is cut short or damaged.", "Pack the series and send it again.")
    if suffix in (".nrrd", ".mha") and _names_another_file(start):
        raise UnreadableFileError(
            "The file is only a header; its voxels lie in another file.", "Convert it to one .nrrd, .mha or .nii.gz."
        )


def _names_another_file(header: bytes) -> bool:
    for line in header.split(b"\n"):
        name, _, value = line.partition(b":" if header.startswith(b"NRRD") else b"=")
        plain = name.strip().lower().replace(b" ", b"")
        if plain == b"datafile" or (plain == b"elementdatafile" and value.strip().upper() != b"LOCAL"):
            return True
        if plain == b"elementdatafile" or (header.startswith(b"NRRD") and not line.strip()):
            return False
    return not header.startswith(b"NRRD")


def _without_values(grid: NativeGrid, image: Path) -> Volume:
    empty = np.broadcast_to(np.uint8(0), grid.shape[::-1])
    return Volume(empty, np.eye(4), Unit.GRAY8, Source(image, ""), grid)


def state_of(image: Path) -> tuple[object, ...]:
    """What changes whenever a file of the image changes."""
    states = [(path, path.stat()) for path in (state_files(image) if image.is_dir() else [image])]
    return tuple((str(path), state.st_ino, state.st_size, state.st_mtime_ns) for path, state in states)
