"""Tokens: named, with a role, in a file of the program's data folder that holds only their hashes."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from covid_bert.errors import NotFoundError, OutputError, ParameterError, ServerError, TokensUnusableError
from covid_bert.files import remove_abandoned, write_private
from covid_bert.server.access import Role
from covid_bert.weights.location import home

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_TOKEN_BYTES = 32
_PREFIX = "cb_"
_OTHERS, _OTHERS_WRITE = 0o077, 0o022
_ABANDONED_SECONDS = 60.0
_LOCK_SECONDS = 10.0


class Token(BaseModel):
    """A token as it is kept.

    Parameters
    ----------
    name
        Who uses it.
    role
        What it allows.
    sha256
        SHA-256 of the token: 256 random bits need no slower hash.
    created
        ISO 8601, UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN)
    role: Role
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: str


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[Token, ...] = ()


def default_tokens_file() -> Path:
    """The tokens' file where no other is chosen."""
    return home() / "tokens.json"


class TokenFile:
    """The tokens of a file.

    Parameters
    ----------
    path
        The file; it is made with mode 0600 when the first token is added.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def tokens(self) -> tuple[Token, ...]:
        """Return the tokens, none if there is no file.

        Raises
        ------
        ServerError
            If the file is damaged or another user's, or others may read or change it, or put another one in its place.
        """
        try:
            with self.path.open("rb") as file:
                if os.name != "nt" and os.fstat(file.fileno()).st_mode & _OTHERS:
                    raise ServerError(
                        f"Other users may read or change {self.path.name}.", "Give it the mode 0600 (chmod 600)."
                    )
                if os.name != "nt" and _open_to_others(self.path.parent):
                    raise ServerError(
                        f"Other users may write in the folder of {self.path.name}.",
                        "Take their right away (chmod go-w on the folder).",
                    )
                return _Content.model_validate_json(file.read()).tokens
        except FileNotFoundError:
            return ()
        except PermissionError as error:
            raise ServerError(
                f"The file {self.path.name} or its folder belongs to another user.",
                "Run this as that user (sudo -u), or choose another file of tokens or another COVID_BERT_HOME.",
            ) from error
        except (OSError, ValidationError) as error:
            raise ServerError(
                f"The file {self.path.name} cannot be read or is damaged.",
                "Bring it back from a copy, or remove it and add the tokens again.",
            ) from error

    def add(self, name: str, role: Role) -> str:
        """Add a token and return it; it cannot be shown again.

        Raises
        ------
        ParameterError
            If the name is taken or is not one.
        OutputError
            If the file cannot be written.
        """
        if re.fullmatch(NAME_PATTERN, name) is None:
            raise ParameterError(
                "That is not a name for a token.",
                "Use at most 64 letters, digits, '.', '_' and '-', a letter or digit first.",
            )
        secret = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        created = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with self._changing():
            known = self.tokens()
            if any(token.name == name for token in known):
                raise ParameterError(
                    f"There is a token named {name} already.", "Revoke it first, or take another name."
                )
            self._write((*known, Token(name=name, role=role, sha256=_hash(secret), created=created)))
        return secret

    def revoke(self, name: str) -> None:
        """Remove a token.

        Raises
        ------
        NotFoundError
            If there is none of that name.
        OutputError
            If the file cannot be written.
        """
        with self._changing():
            known = self.tokens()
            left = tuple(token for token in known if token.name != name)
            if left == known:
                raise NotFoundError("There is no token with that name.", "List them with `covid-bert token list`.")
            self._write(left)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        lock = FileLock(f"{self.path}.lock", mode=0o600)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout as error:
            raise OutputError(
                "The tokens cannot be written: another process is changing them.",
                "Try again; if it is so each time, end that process.",
            ) from error
        except OSError as error:
            raise _unwritable(error) from error
        try:
            yield
        finally:
            lock.release()

    def _write(self, tokens: tuple[Token, ...]) -> None:
        content = json.dumps(_Content(tokens=tokens).model_dump(mode="json"), indent=2) + "\n"
        try:
            # The folder may be one in which others write too.
            remove_abandoned(self.path.parent, self.path.suffix, seconds=_ABANDONED_SECONDS)
            write_private(self.path, content)
        except OSError as error:
            raise _unwritable(error) from error


class LiveTokens:
    """The tokens of a running server, which follows changes of the file.

    Parameters
    ----------
    file
        Where they are kept.

    Raises
    ------
    ServerError
        If the file is damaged, or other users may read or change it.
    """

    def __init__(self, file: TokenFile) -> None:
        self._file = file
        # The file's state and what it held then, replaced as one: threads that read it at one moment cannot mix them.
        self._known: tuple[tuple[int, ...] | None, tuple[Token, ...]] = (None, ())
        self._required = False
        self._read()

    @property
    def required(self) -> bool:
        """Whether requests need a token; once they do, they do until the server ends, also when none is left.

        Raises
        ------
        TokensUnusableError
            If the file has become unusable.
        """
        self._refresh()
        return self._required

    def match(self, secret: str) -> Token | None:
        """Return the token that was sent, or None; each comparison takes the same time.

        Raises
        ------
        TokensUnusableError
            If the file has become unusable.
        """
        self._refresh()
        sent, found = _hash(secret), None
        for token in self._known[1]:
            if hmac.compare_digest(token.sha256, sent):
                found = token
        return found

    def _refresh(self) -> None:
        try:
            self._read()
        except ServerError as error:
            # The hint is for the operator; who calls cannot follow it.
            raise TokensUnusableError(error.message, "Its operator must mend the file of tokens.") from error

    def _read(self) -> None:
        state = self._state()
        if state is None or state != self._known[0]:
            # Kept only after a good reading: a damaged file is an error at each request until it is mended.
            self._known = state, self._file.tokens()
            self._required = self._required or bool(self._known[1])

    def _state(self) -> tuple[int, ...] | None:
        try:
            found = self._file.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _open_to_others(folder: Path) -> bool:
    mode = folder.stat().st_mode
    # With the sticky bit, as of /tmp, they cannot replace the files of others.
    return bool(mode & _OTHERS_WRITE) and not mode & stat.S_ISVTX


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _unwritable(error: OSError) -> OutputError:
    return OutputError(
        f"The tokens cannot be written: {error.strerror}.",
        "See whom the file and its folder belong to, and run this as that user, or choose another file.",
    )
