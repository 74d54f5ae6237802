"""Studies in several files are sent as one: most clients can open a NIfTI file, and none a folder of DICOM files."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covid_bert.datastore.checks import Turns
from covid_bert.datastore.names import UPLOAD_PREFIX
from covid_bert.datastore.sending import download_name
from covid_bert.progress import Progress
from covid_bert.server.reader import Reader
from covid_bert.server.received import not_kept

if TYPE_CHECKING:
    from covid_bert.workers import Compute, Outcome


class WholeStudies:
    """Writes studies as NIfTI files, in a worker process, which the first one starts.

    Parameters
    ----------
    most_voxels
        Larger studies are refused.
    """

    def __init__(self, most_voxels: int) -> None:
        self._reader = Reader(functools.partial(open_writing, most_voxels), "a study")
        self._turns = Turns()

    def write(self, image: Path) -> Path:
        """Write a study as one file on its own grid, in a new folder of its own, which the caller removes.

        Parameters
        ----------
        image
            File or folder of the study.

        Returns
        -------
        Path
            The file; its name is the one that `download_name` gives.

        Raises
        ------
        InputError
            If the study cannot be read.
        BusyError
            If too many wait for it.
        OutputError
            If it cannot be written.
        TooLongError, NotReadyError
            As `Reader.ask`.
        """
        try:
            path = Path(tempfile.mkdtemp(prefix=UPLOAD_PREFIX)) / download_name(image)
        except OSError as error:
            raise not_kept(error) from error
        try:
            with self._turns.take():
                self._reader.ask({"image": str(image), "path": str(path)})
        except BaseException:
            remove_written(path)
            raise
        return path

    def close(self) -> None:
        """End the process."""
        self._reader.close()


def remove_written(path: Path) -> None:
    """Remove what `WholeStudies.write` has written."""
    shutil.rmtree(path.parent, ignore_errors=True)


def open_writing(most_voxels: int) -> Compute:
    """Return what the process calls for each study.

    Parameters
    ----------
    most_voxels
        Larger studies are refused.
    """
    from covid_bert.volumes import read, write_study
    from covid_bert.volumes.assembly import voxel_limit

    def compute(request: dict[str, Any], _: Progress, __: Path) -> Outcome:
        with voxel_limit(most_voxels):
            write_study(read(Path(request["image"])), Path(request["path"]))
        return {}, {}

    return compute
