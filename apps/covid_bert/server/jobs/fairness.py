"""Whose job is next, and who may add one: no user can keep the others waiting for all of his."""

from __future__ import annotations

import sqlite3

from covid_bert.errors import BusyError

LIVE = "('queued', 'running')"
# The owner whose last computation began longest ago comes first, then the others, then their second ones.
TURNS = f"""
    WITH live AS (
        SELECT *, (
            SELECT owner FROM job WHERE computation = number AND job.state IS NULL ORDER BY rowid LIMIT 1) AS owner
        FROM computation WHERE state IN {LIVE})
    SELECT *, ROW_NUMBER() OVER (PARTITION BY owner, state ORDER BY number) AS turn, (
        SELECT MAX(earlier.started) FROM job JOIN computation AS earlier ON earlier.number = job.computation
        WHERE job.owner = live.owner) AS last_turn
    FROM live ORDER BY state = 'queued', turn, last_turn, number
"""


def refuse_if_full(database: sqlite3.Connection, owner: str, *, limit: int, own_limit: int) -> None:
    """Refuse a job that would have to wait, if too many do already.

    Parameters
    ----------
    database
        In a transaction.
    owner
        Name of the user's token.
    limit
        Most jobs that may wait or run.
    own_limit
        Most of this user.

    Raises
    ------
    BusyError
        If there are so many.
    """
    count = "SELECT COUNT(*), TOTAL(job.owner = ?) FROM job JOIN computation ON number = computation"
    live = f"job.state IS NULL AND computation.state IN {LIVE}"
    of_all, own = database.execute(f"{count} WHERE {live}", (owner,)).fetchone()
    if of_all >= limit:
        raise BusyError("The queue of jobs is full.", "Try again when some of them are done.")
    if own >= own_limit:
        raise BusyError("You have as many jobs in the queue as one user may.", "Try again when some of them are done.")
