"""The process beside Slicer that speaks with the server: one order in, events out.

Run by path, with any Python from 3.9 on and nothing but the standard library; the orders that work on masks alone take
NumPy and VTK from Slicer's Python. The order is one line of JSON on the standard input. ``{"cancel": true}`` as a
further line cancels it. So does the end of the input, or a signal to end, which mean that nobody waits any more. Events
are lines of JSON on the standard output, where nothing else is ever written: any number of ``progress``, then exactly
one of ``done``, ``failed`` and ``cancelled``.

After a cancellation the process may live on for a while without a further event: it still has to tell the server.
It removes its own compressed copies of volumes; the order's folder, with the results and all that a process that was
killed leaves, belongs to the one who gave the order, and is removed by him.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
# The folder of this file would hide modules of the standard library: it holds a `secrets`, for one.
sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != _HERE)]

from CovidBertLib.client import CancelledError, ClientError  # noqa: E402 - the path is only known now
from CovidBertLib.orders import Context, Order, OrderKind, find_kind  # noqa: E402
from CovidBertLib.orders.channel import Channel, Input  # noqa: E402

# A server that is silent while the user has cancelled is left to itself, first for the user, then for good.
_GRACE_SECONDS = 2.0
_LONGEST_SECONDS = 120.0


def main() -> int:
    """Carry out the order of the standard input.

    Returns
    -------
    int
        0; a process that ends otherwise was ended from outside.
    """
    channel, given = Channel(), Input()
    line = given.first_line()
    given.listen(on_abandoned=channel.mute)
    channel.on_broken = given.abandon
    finished = threading.Event()
    context: Context | None = None
    try:
        order = Order.parse(line)
        kind = find_kind(order)
        context = Context(order, kind, given.is_cancelled, channel.progress)
        if not kind.changes:
            threading.Thread(target=_give_up, args=(kind, given, channel, context, finished), daemon=True).start()
        event = _outcome(order, kind, context, given)
    except ClientError as error:
        event = _failed(error, {})
    except Exception as error:
        event = _failed(_internal(error), {})
    if context is not None and given.is_abandoned():
        context.tidy()
    channel.end(event)
    finished.set()
    return 0


def _outcome(order: Order, kind: OrderKind, context: Context, given: Input) -> dict[str, Any]:
    """The last event of an order that could be read."""
    try:
        result = kind.run(order, context)
    except CancelledError as error:
        if given.is_cancelled():
            return _cancelled(context)
        message = ClientError(error.message, error.hint, code="cancelled-elsewhere", request_id=error.request_id)
        return _failed(message, context.kept)
    except ClientError as error:
        # Whoever has cancelled is not told what else went wrong, unless it tells what became of his change.
        return _cancelled(context) if given.is_cancelled() and not kind.changes else _failed(error, context.kept)
    except Exception as error:
        return _failed(_internal(error), context.kept)
    if given.is_cancelled() and not kind.changes:
        return _cancelled(context)
    return {"event": "done", "result": result}


def _cancelled(context: Context) -> dict[str, Any]:
    return {"event": "cancelled", "kept": context.kept}


def _failed(error: ClientError, kept: dict[str, Any]) -> dict[str, Any]:
    return {
        "event": "failed",
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "request_id": error.request_id,
        "retry_after": getattr(error, "retry_after", None),
        "kept": kept,
    }


def _internal(error: Exception) -> ClientError:
    """What to say about a fault of this program: where it is, but not its words, which may hold a path or a name."""
    if isinstance(error, MemoryError):
        return ClientError("The memory does not suffice.", "Close other volumes or programs.", code="out-of-memory")
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    sys.stderr.write(f"{type(error).__name__} at {' > '.join(places)}\n")
    return ClientError(
        f"The extension failed: {type(error).__name__} at {places[-1] if places else 'an unknown place'}.",
        "Report this line to who maintains the extension.",
        code="internal",
    )


def _give_up(kind: OrderKind, given: Input, channel: Channel, context: Context, finished: threading.Event) -> None:
    """Let nobody wait for a server that is silent: say that it is cancelled, and in the end be gone."""
    given.wait_cancelled()
    if kind.is_local:
        # Nobody has to be told, and what computes hears nothing.
        os._exit(0)
    if not finished.wait(_GRACE_SECONDS):
        channel.end(_cancelled(context))
    if not finished.wait(_LONGEST_SECONDS):
        context.remove_own_files()
        os._exit(1)


if __name__ == "__main__":
    code = main()
    # The thread that reads the input must not be waited for.
    os._exit(code)
