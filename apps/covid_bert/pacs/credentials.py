"""Who this program is for an archive. No value is shown, written or told in a message."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from requests.auth import AuthBase, HTTPBasicAuth
from requests.models import PreparedRequest

from covid_bert.errors import ParameterError
from covid_bert.pacs.settings import PASSWORD_VARIABLE, TOKEN_VARIABLE, USER_VARIABLE, PacsSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KEYS = frozenset({"user", "password", "token"})


class _Bearer(AuthBase):
    """Sends a token; nothing shows it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the token to a request."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def read_credentials(settings: PacsSettings, environment: Mapping[str, str] = os.environ) -> AuthBase | None:
    """Return what logs in to an archive; None where nothing is given.

    Parameters
    ----------
    settings
        Of the archive.
    environment
        ``COVID_BERT_PACS_USER`` and ``_PASSWORD``, or ``_TOKEN``; read where there is no file.

    Raises
    ------
    ParameterError
        If the file cannot be read, or by others than its owner, or it is not clear what it says. No value is told.
    """
    if settings.credentials is not None:
        given = _of_file(settings.credentials)
        source = f"The file {settings.credentials.name}"
    else:
        names = {"user": USER_VARIABLE, "password": PASSWORD_VARIABLE, "token": TOKEN_VARIABLE}
        given = {key: environment[name] for key, name in names.items() if environment.get(name)}
        source = "The environment"
    if set(given) == {"token"}:
        return _Bearer(given["token"])
    if set(given) == {"user", "password"}:
        # As bytes: requests would send Latin-1, which has not all letters.
        return HTTPBasicAuth(given["user"].encode(), given["password"].encode())
    if given or settings.credentials is not None:
        raise ParameterError(
            f"{source} does not say how to log in to the archive.", "Give user and password, or token."
        )
    return None


def _of_file(path: Path) -> dict[str, str]:
    try:
        if os.name != "nt" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ParameterError(f"Others may read the file {path.name}, which holds a password.", "Use chmod 600.")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(
            f"The file {path.name} cannot be read: {error.strerror}.", "See who may read it, or name another."
        ) from error
    except ValueError:
        # The parser's message quotes the line.
        raise ParameterError(f"The file {path.name} is not TOML.", 'Write lines like user = "name".') from None
    if set(values) - _KEYS or not all(isinstance(value, str) and value for value in values.values()):
        raise ParameterError(f"The file {path.name} holds other things than texts for user, password, token.", "")
    return values
