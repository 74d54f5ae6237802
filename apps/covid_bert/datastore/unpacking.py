"""Taking a file out of an archive that somebody else has made."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO

_BLOCK = 2**20


def unpack(content: IO[bytes], target: Path, *, size: int, sha256: str) -> bool:
    """Write a member of an archive, and return whether it is the one that the archive's manifest describes.

    Never more is written than was described, whatever the member grows to while it is unpacked.

    Parameters
    ----------
    content
        Of the member.
    target
        Does not exist yet; what is no such file is left for the caller to remove, with the folder.
    size, sha256
        In bytes, and of the content, as the manifest has them.

    Raises
    ------
    OSError
        If there is something already, or it cannot be written.
    """
    digest, left = hashlib.sha256(), size
    with target.open("xb") as file:
        # Once all is there, one byte more tells of too much.
        while block := content.read(min(_BLOCK, left) or 1):
            if len(block) > left:
                return False
            left -= len(block)
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return left == 0 and digest.hexdigest() == sha256
