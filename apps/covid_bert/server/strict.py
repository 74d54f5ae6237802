"""Requests hold what the OpenAPI document lists for their route, and nothing else.

FastAPI leaves out what it does not know: a misspelt parameter would be taken for its default.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import Request
from fastapi.routing import APIRoute

from covid_bert.errors import ParameterError

_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE"})


async def refuse_unknown(request: Request) -> None:
    """Refuse a request with a parameter of the address, or a field of the form, that its route does not have.

    Use it as a dependency of the application. Bodies of JSON are checked by their models.

    Raises
    ------
    ParameterError
        Saying what the route knows; what was sent is not repeated.
    """
    route = request.scope["route"]
    if not isinstance(route, APIRoute):
        return
    known = route.dependant
    _refuse("address", request.query_params, {field.alias for field in known.query_params})
    kind = request.headers.get("content-type", "")
    # MONAI Label's client repeats the head of its last upload with requests that have no body: none would arrive.
    if request.method not in _WITHOUT_BODY and kind.startswith(_FORMS):
        # FastAPI has read it where the route takes a form; elsewhere nothing of it may be known.
        fields = {field.alias for field in known.body_params} if route.body_field is not None else set()
        _refuse("form", await request.form(), fields)


def _refuse(where: str, given: Iterable[str], known: set[str]) -> None:
    if not set(given) <= known:
        what = f"It knows: {', '.join(sorted(known))}." if known else "It knows none."
        raise ParameterError(f"The {where} of the request has a parameter that this route does not know.", what)
