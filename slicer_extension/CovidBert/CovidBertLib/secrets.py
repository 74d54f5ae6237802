"""The tokens of the servers, in a file that only this user can read: never in settings, scene or log."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import slicer

from .i18n import tr as _
from .problems import CovidBertError

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


class TokenFileError(CovidBertError):
    """The file of tokens cannot be written."""

    default_code = "token-file"


class TokenStore:
    """Tokens by address of the server.

    Parameters
    ----------
    folder
        Where the file lies; None for ``CovidBert`` beside Slicer's settings file, which is in the user's profile.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(slicer.app.slicerUserSettingsFilePath).parent / "CovidBert"

    @property
    def path(self) -> Path:
        """The file."""
        return self._folder / "tokens.json"

    def token(self, url: str) -> str:
        """Return the token for a server, "" for none."""
        return self._read().get(url, "")

    def save(self, url: str, token: str) -> None:
        """Keep the token for a server, or forget it where it is "".

        Raises
        ------
        TokenFileError
            If the file cannot be written. The token can still be used until Slicer ends.
        """
        tokens = self._read()
        if tokens.get(url, "") == token:
            return
        tokens.pop(url, None)
        if token:
            tokens[url] = token
        try:
            self._write(tokens)
        except OSError as error:
            raise TokenFileError(
                _("The token could not be kept: {reason}.").format(reason=error.strerror or _("unknown")),
                _("It is used until Slicer ends; make space or see who may write to {folder}.").format(
                    folder=self._folder
                ),
            ) from error

    def _read(self) -> dict[str, str]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {url: token for url, token in content.items() if isinstance(token, str)}

    def _write(self, tokens: dict[str, str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(_FOLDER_MODE)
        # mkstemp makes the file for this user only; the old one is replaced at once or not at all.
        number, name = tempfile.mkstemp(dir=self._folder, prefix="tokens-")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                json.dump(tokens, file)
            Path(name).chmod(_FILE_MODE)
            Path(name).replace(self.path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
