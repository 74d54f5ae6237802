"""What a failed part of a measurement leaves behind: its sentence instead of an end of the run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from covid_bert.errors import CancelledError, CovidBertError


@contextmanager
def recorded(record: dict[str, Any]) -> Iterator[None]:
    """Write the seconds of a block, and the sentence of an error that ends it, into a record.

    One bad study or stage must not end a measurement of hours, and must not be passed over in silence either.
    """
    start = time.perf_counter()
    try:
        yield
    except CancelledError:
        raise
    except CovidBertError as error:
        record["error"] = str(error)
    except Exception as error:
        record["error"] = f"An unexpected error ({type(error).__name__}): {error}"
    finally:
        record["seconds"] = round(time.perf_counter() - start, 3)


@contextmanager
def attempted(part: str, failures: list[str]) -> Iterator[None]:
    """Add the sentence of an error that ends a block to the failures of a study, whose other parts go on.

    Parameters
    ----------
    part
        What the block makes, for the sentence.
    failures
        Gets at most one sentence.
    """
    record: dict[str, Any] = {}
    with recorded(record):
        yield
    if "error" in record:
        failures.append(f"{part}: {record['error']}")
