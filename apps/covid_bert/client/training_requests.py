"""Training on the server, as MONAI Label has it."""

from __future__ import annotations

from typing import Any

from . import errors
from .answers import read_json
from .base import Requests
from .fields import plain_json
from .link import JsonBody
from .names import plain_name


class TrainingRequests(Requests):
    """Requests about training. Servers without it answer each of them with `NotFoundError`."""

    def training(self) -> dict[str, Any] | None:
        """Return the state of the newest training as the server describes it, or None where it knows of none."""
        try:
            return self._plain(self._link.ask("GET", "/train/", read_json))
        except errors.NotFoundError:
            return None

    def start_training(self, model: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Start a training and return how the server describes it.

        Parameters
        ----------
        model
            One of ``info()["trainers"]``.
        params
            The trainer's parameters.

        Raises
        ------
        NotFoundError, NotAllowedError, BusyError
            If the server does not train this, the token's role does not allow it, or another training runs.
        """
        route = f"/train/{plain_name(model, 'model')}"
        return self._plain(self._link.ask("POST", route, read_json, JsonBody(params or {})))

    def stop_training(self) -> dict[str, Any]:
        """Stop the training that runs, and return how the server describes it."""
        return self._plain(self._link.ask("DELETE", "/train/", read_json))

    def _plain(self, content: dict[str, Any]) -> dict[str, Any]:
        return {name: plain_json(value, self._token) for name, value in content.items()}
