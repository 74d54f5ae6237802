"""The partial file of a download, and whether it may be continued."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from covid_bert.files import write_atomically


@dataclass(frozen=True)
class PartialFile:
    """What has arrived of a download so far, and which file on the server it is a part of.

    Parameters
    ----------
    destination
        Where the whole file will lie. The part lies beside it with ``.part`` appended.
    """

    destination: Path

    @property
    def path(self) -> Path:
        """The part."""
        return self.destination.with_name(f"{self.destination.name}.part")

    @property
    def _note(self) -> Path:
        return self.destination.with_name(f"{self.destination.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def validator(self, url: str) -> str | None:
        """The server's mark of the file that the part belongs to; None if the part cannot be continued from `url`."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            return str(note["validator"]) if note["url"] == url and self.size > 0 else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, url: str, validator: str | None) -> None:
        """Start an empty part; without a validator it cannot be continued later."""
        self.discard()
        if validator is not None:
            write_atomically(self._note, json.dumps({"url": url, "validator": validator}))

    def discard(self) -> None:
        """Remove the part and its note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Move the part to its destination."""
        self.path.replace(self.destination)
        self._note.unlink(missing_ok=True)
