"""Answers that are made of files which must not stay."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from fastapi import Response
from starlette.types import Receive, Scope, Send


class Releasing(Response):
    """An answer that lets go what it is made of when it was sent, and also where it could not be.

    A background task of the answer would not do: it is left out where the ``Range`` of a request is refused.

    Parameters
    ----------
    answer
        What is sent.
    kept
        Closed afterwards, on a thread.
    """

    def __init__(self, answer: Response, kept: ExitStack) -> None:
        super().__init__(status_code=answer.status_code)
        self._answer, self._kept = answer, kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await self._answer(scope, receive, send)
        finally:
            # It runs to its end also if this task, which waits for it, is cancelled again.
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._kept.close))
