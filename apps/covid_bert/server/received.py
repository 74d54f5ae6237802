"""A file of a request under a plain name of its own, gone when the request is answered."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from covid_bert.datastore.names import UPLOAD_PREFIX
from covid_bert.errors import OutputError


@contextmanager
def received(content: BinaryIO, suffix: str) -> Iterator[Path]:
    """Copy an upload into a folder of its own (mode 0700) while the block runs.

    Parameters
    ----------
    content
        What was sent.
    suffix
        Of the file that is made, for readers that look at names.

    Yields
    ------
    Path
        The file.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with ExitStack() as kept:
        try:
            made = tempfile.TemporaryDirectory(prefix=UPLOAD_PREFIX, ignore_cleanup_errors=True)
            path = Path(kept.enter_context(made)) / f"upload{suffix}"
            with path.open("wb") as written:
                shutil.copyfileobj(content, written)
        except OSError as error:
            raise not_kept(error) from error
        yield path


def not_kept(error: OSError) -> OutputError:
    """Make the error for an upload that finds no place on the disk."""
    return OutputError(
        f"The upload cannot be kept: {error.strerror}.", "The operator must make room on the server's disk."
    )
