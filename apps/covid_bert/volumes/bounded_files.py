"""Files that strangers made, opened so that a number in them cannot ask for more than there is."""

from __future__ import annotations

import io
from pathlib import Path


class LimitError(ValueError):
    """A file asks for more than it is allowed; whoever reads it says which file."""


class BoundedFile(io.BufferedReader):
    """A file for parsers that believe every length which they read.

    Python makes room for what a read asks for before it looks how much is there: eight bytes can ask for 4 GiB.

    Parameters
    ----------
    path
        The file.
    at_once
        Most bytes of one read.
    together
        Most bytes of all reads.
    reads
        Most reads: parsers make an object, or several, of each.
    """

    def __init__(
        self, path: Path, *, at_once: int | None = None, together: int | None = None, reads: int | None = None
    ) -> None:
        # Read without a buffer first: the file is closed even where the rest fails.
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size
        self._at_once = self._size if at_once is None else at_once
        self._bytes_left, self._reads_left = together, reads

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes; all that are left for -1 or None.

        Raises
        ------
        LimitError
            If a limit is passed.
        """
        left = max(0, self._size - self.tell())
        size = left if size is None or size < 0 else min(size, left)
        if size > self._at_once:
            raise LimitError("more is asked for at once than is allowed")
        if self._bytes_left is not None:
            self._bytes_left -= size
        if self._reads_left is not None:
            self._reads_left -= 1
        if (self._bytes_left or 0) < 0 or (self._reads_left or 0) < 0:
            raise LimitError("more is asked for than is allowed")
        return super().read(size)
