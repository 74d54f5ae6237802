"""Versions of the server's models: what they are worth, which is live, publish and roll back."""

from __future__ import annotations

from typing import Any

from .answers import invalid_answer, read_json
from .base import Requests
from .fields import plain_json
from .link import JsonBody
from .names import plain_name


class WeightsRequests(Requests):
    """Requests about weights. Servers without them answer each with `NotFoundError`."""

    def weights(self) -> list[dict[str, Any]]:
        """Return the models that can be trained again.

        Returns
        -------
        list of dict
            Each with ``model``, ``name``, ``live``, ``warning`` and ``versions``, the newest first: dictionaries with
            ``version``, ``state`` (``live``, ``candidate``, ``former``, ``shipped`` or ``damaged``), ``created``,
            ``trained_on``, ``demonstration``, ``metrics``, ``gate`` and ``needs_word`` (why it goes live only with
            ``despite_gate``, or None).

        Raises
        ------
        InvalidAnswerError
            If the server's answer is no such list.
        """
        models = self._link.ask("GET", "/weights", read_json).get("models")
        if not isinstance(models, list):
            raise invalid_answer("holds no list of models")
        return [self._model(item) for item in models]

    def weights_version(self, model: str, version: str) -> dict[str, Any]:
        """Return ``version``, as in `weights`, and ``record``: how it came about, or None.

        Parameters
        ----------
        model
            One of `weights`.
        version
            One of the model's.
        """
        route = f"/weights/{plain_name(model, 'model')}/{plain_name(version, 'version')}"
        found = plain_json(self._link.ask("GET", route, read_json), self._token)
        if not isinstance(found.get("version"), dict):
            raise invalid_answer("holds no version")
        return dict(found)

    def publish_weights(self, model: str, version: str, *, despite_gate: bool = False) -> dict[str, Any]:
        """Make a version live, and return the model as `weights` does.

        Parameters
        ----------
        model, version
            As in `weights`.
        despite_gate
            Publish also a version whose ``needs_word`` says something.

        Raises
        ------
        ConflictError
            If it needs such a word; the message says why.
        NotAllowedError
            If the token's role is not admin.
        """
        body = JsonBody({"version": plain_name(version, "version"), "despite_gate": despite_gate})
        route = f"/weights/{plain_name(model, 'model')}/publish"
        return self._model(self._link.ask("POST", route, read_json, body))

    def roll_back_weights(self, model: str) -> dict[str, Any]:
        """Make live again what was live before, and return the model as `weights` does.

        Raises
        ------
        ConflictError
            If nothing was live before.
        NotAllowedError
            If the token's role is not admin.
        """
        route = f"/weights/{plain_name(model, 'model')}/rollback"
        return self._model(self._link.ask("POST", route, read_json))

    def _model(self, item: Any) -> dict[str, Any]:
        if not isinstance(item, dict) or not isinstance(item.get("versions"), list):
            raise invalid_answer("holds a model without versions")
        return {name: plain_json(value, self._token) for name, value in item.items()}
