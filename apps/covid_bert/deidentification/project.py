"""Pseudonyms of a project: a keyed hash, so that they are stable in it and tell nothing outside of it.

Nothing connects a pseudonym with a person but the project's secret and the person's identifier together. No list of
them is kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import stat
import uuid
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from covid_bert.errors import NotAllowedError, ParameterError
from covid_bert.files import write_private
from covid_bert.weights.location import home

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SECRET_BYTES = 32
# Dates move into the past by one to ten years, the same for all of a person's studies.
_LEAST_DAYS, _MOST_DAYS = 365, 3650


@dataclass(frozen=True)
class Project:
    """A research project with pseudonyms of its own.

    Parameters
    ----------
    name
        As the user calls it.
    secret
        32 random bytes. Whoever has them can find out whether an identifier belongs to a pseudonym.
    """

    name: str
    secret: bytes

    def patient(self, key: str) -> str:
        """Return the pseudonym of a person: ``P`` and 16 letters and digits, fit for an identifier and for a name.

        Parameters
        ----------
        key
            Issuer and identifier of the person.
        """
        return f"P{self._letters('patient', key, 16)}"

    def folder(self, kind: str, key: str) -> str:
        """Return the name of the folder of a study or series: `kind` and 12 letters and digits."""
        return f"{kind}-{self._letters(kind, key, 12)}"

    def uid(self, original: str) -> str:
        """Return the UID that takes the place of another one, wherever it occurs."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', original)[:16], version=4).int}"

    def days(self, key: str) -> int:
        """Return by how many days the dates of a person move into the past."""
        number = int.from_bytes(self._digest("days", key)[:8], "big")
        return _LEAST_DAYS + number % (_MOST_DAYS - _LEAST_DAYS)

    def _letters(self, purpose: str, key: str, count: int) -> str:
        return base64.b32encode(self._digest(purpose, key)).decode()[:count]

    def _digest(self, purpose: str, key: str) -> bytes:
        return hmac.digest(self.secret, f"{purpose}\0{key}".encode("utf-8", "surrogatepass"), hashlib.sha256)


def open_project(name: str) -> Project:
    """Return a project by its name; a new name gets a secret, in a file of mode 0600 in this program's data folder.

    Raises
    ------
    ParameterError
        If the name is not a plain one.
    NotAllowedError
        If others may read the secret, or it is damaged.
    """
    if _NAME.fullmatch(name) is None:
        raise ParameterError(
            "That is not a name for a project.",
            "Use at most 64 lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit.",
        )
    folder = home() / "projects"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{name}.secret"
    # Two first runs at once must not make two secrets.
    with FileLock(folder / f".{name}.lock", mode=0o600):
        if not path.exists():
            write_private(path, secrets.token_bytes(_SECRET_BYTES).hex() + "\n")
        return Project(name, _read(path))


def _read(path: Path) -> bytes:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise NotAllowedError(
            f"Others may read '{path.name}': its pseudonyms protect nobody.",
            "If nobody has read it, take their rights away (chmod 600); else choose another project.",
        )
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != _SECRET_BYTES:
        raise NotAllowedError(
            f"'{path.name}' is damaged: pseudonyms would not be those of before.",
            "Bring it back from a backup, or choose another project.",
        )
    return secret
