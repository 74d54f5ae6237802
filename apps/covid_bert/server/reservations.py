"""Which study is in whose hands: handed out to one reader, kept from the others, and free again after a while."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from covid_bert.databases import Database
from covid_bert.server.jobs.clock import SteadyClock

_VERSION = 1
_SCHEMA = """
    CREATE TABLE reservation (
        study TEXT, tag TEXT, reader TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (study, tag));
    CREATE TABLE passed (
        number INTEGER PRIMARY KEY AUTOINCREMENT, reader TEXT NOT NULL, study TEXT NOT NULL, tag TEXT NOT NULL);
"""
Reply = dict[str, str]
# Chooses one of the first studies; the second ones are labelled or in other hands.
Choose = Callable[[Sequence[str], Sequence[str]], Reply]


class Reservations:
    """Reservations of one folder of studies, on disk: a restart changes nothing.

    A damaged file is moved aside; all studies are then free.

    Parameters
    ----------
    folder
        For the file; made with mode 0700.
    hours
        For how long a study stays with its reader, above 0.
    clock
        Seconds since the epoch.
    """

    def __init__(self, folder: Path, *, hours: float, clock: Callable[[], float] | None = None) -> None:
        self._database = Database(
            folder / "reservations.sqlite", _SCHEMA, version=_VERSION, title="The list of reservations"
        )
        self._seconds, self._clock = hours * 3600, clock or SteadyClock()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def hand_out(
        self, reader: str, tag: str, unlabelled: Collection[str], labelled: Collection[str], choose: Choose
    ) -> Reply | None:
        """Choose a study for a reader, and reserve it.

        What he had before is free again for others, and last in line for himself: asking again is skipping.

        Parameters
        ----------
        reader
            Who asks.
        tag
            Of the labels that he makes; a study may be in different hands for different ones.
        unlabelled, labelled
            Studies without a label under the tag, and with one.
        choose
            Chooses among some studies, at least one, sorted.

        Returns
        -------
        dict or None
            What `choose` returned; None where all studies are labelled or in other hands.

        Raises
        ------
        OutputError
            If it cannot be written; nothing is then handed out.
        """
        with self._database.transaction() as database:
            now = self._clock()
            # A time that is further away than any reservation lasts is one before the clock was set back.
            database.execute("DELETE FROM reservation WHERE until <= ? OR until > ?", (now, now + self._seconds + 3600))
            rows = database.execute("SELECT study, reader FROM reservation WHERE tag = ?", (tag,)).fetchall()
            held = {row["study"]: row["reader"] for row in rows}
            for study in [study for study, holder in held.items() if holder == reader or study not in unlabelled]:
                database.execute("DELETE FROM reservation WHERE study = ? AND tag = ?", (study, tag))
                if held.pop(study) == reader:
                    query = "INSERT INTO passed (reader, study, tag) VALUES (?, ?, ?)"
                    database.execute(query, (reader, study, tag))
            query = "SELECT study FROM passed WHERE reader = ? AND tag = ? ORDER BY number"
            passed = [row["study"] for row in database.execute(query, (reader, tag))]
            free = sorted(set(unlabelled).difference(held))
            fresh = sorted(set(free).difference(passed))
            # Of what he has passed over, the one that he saw longest ago.
            again = next((study for study in passed if study in set(free)), None)
            if not fresh and again is None:
                return None
            covered = sorted({*labelled, *held})
            found = choose(fresh or [str(again)], covered)
            gone = sorted(set(passed).difference(unlabelled))
            query = "DELETE FROM passed WHERE reader = ? AND tag = ? AND study = ?"
            database.executemany(query, [(reader, tag, study) for study in (found["id"], *gone)])
            query = "INSERT INTO reservation (study, tag, reader, until) VALUES (?, ?, ?, ?)"
            database.execute(query, (found["id"], tag, reader, now + self._seconds))
            return found
