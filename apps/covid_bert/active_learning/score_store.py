"""Scores of studies on disk, kept by the content of a study and the weights that scored it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from covid_bert.active_learning.scores import StudyScores
from covid_bert.databases import Database
from covid_bert.weights.location import folder_of_studies

_VERSION = 1
_SCHEMA = """
    CREATE TABLE study (identifier TEXT PRIMARY KEY, signature TEXT NOT NULL, content TEXT NOT NULL);
    CREATE TABLE score (
        content TEXT NOT NULL, weights TEXT NOT NULL, failure TEXT,
        entropy REAL, disagreement REAL, mask REAL, embedding BLOB, PRIMARY KEY (content, weights));
    CREATE TABLE run (method TEXT PRIMARY KEY);
"""


class ScoreStore:
    """Scores of one folder of studies, for several threads and processes.

    Every method raises `OutputError` if the disk does not take it. A damaged file is moved aside: scores are computed
    again.

    Parameters
    ----------
    folder
        For the file; made with mode 0700.
    """

    def __init__(self, folder: Path) -> None:
        self._database = Database(folder / "scores.sqlite", _SCHEMA, version=_VERSION, title="The file of scores")

    @classmethod
    def of_studies(cls, studies: Path | str) -> ScoreStore:
        """Open the scores of a folder of studies."""
        return cls(folder_of_studies("retraining", studies))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def missing(self, studies: Iterable[tuple[str, str]], weights: str) -> list[str]:
        """Return those that have neither scores nor a reason why not.

        Parameters
        ----------
        studies
            Identifiers and `covid_bert.active_learning.scores.signature` of each.
        weights
            `covid_bert.active_learning.scores.weights_digest`.
        """
        with self._database.transaction() as database:
            query = "SELECT identifier, signature FROM study JOIN score USING (content) WHERE weights = ?"
            known = {(row["identifier"], row["signature"]) for row in database.execute(query, (weights,))}
        return [identifier for identifier, state in studies if (identifier, state) not in known]

    def knows(self, identifier: str, state: str, content: str, weights: str) -> bool:
        """Note the content of a study, and return whether this content has been scored, under whatever name.

        Parameters
        ----------
        identifier, state
            The study and its signature.
        content
            `covid_bert.active_learning.scores.content_digest`.
        weights
            See `missing`.
        """
        with self._database.transaction() as database:
            database.execute("INSERT OR REPLACE INTO study VALUES (?, ?, ?)", (identifier, state, content))
            query = "SELECT 1 FROM score WHERE content = ? AND weights = ?"
            return database.execute(query, (content, weights)).fetchone() is not None

    def keep(self, content: str, weights: str, scores: StudyScores) -> None:
        """Keep the scores of a content."""
        row = (scores.entropy, scores.disagreement, scores.mask, scores.embedding.astype("<f4").tobytes())
        with self._database.transaction() as database:
            query = "INSERT OR REPLACE INTO score VALUES (?, ?, NULL, ?, ?, ?, ?)"
            database.execute(query, (content, weights, *row))

    def fail(self, content: str, weights: str, code: str) -> None:
        """Keep why a content cannot be scored, by the code of its error; it is not tried again with these weights."""
        with self._database.transaction() as database:
            query = "INSERT OR REPLACE INTO score (content, weights, failure) VALUES (?, ?, ?)"
            database.execute(query, (content, weights, code))

    def fail_study(self, identifier: str, weights: str, code: str) -> None:
        """As `fail`, for a study whose content is known; for another one, nothing is kept."""
        with self._database.transaction() as database:
            row = database.execute("SELECT content FROM study WHERE identifier = ?", (identifier,)).fetchone()
        if row is not None:
            self.fail(row["content"], weights, code)

    def scores(self, weights: str) -> dict[str, StudyScores]:
        """Return all scores by study, for some weights."""
        query = "SELECT * FROM study JOIN score USING (content) WHERE weights = ? AND failure IS NULL"
        with self._database.transaction() as database:
            rows = database.execute(query, (weights,)).fetchall()
        return {
            row["identifier"]: StudyScores(
                row["entropy"], row["disagreement"], row["mask"], np.frombuffer(row["embedding"], "<f4")
            )
            for row in rows
        }

    def prune(self, studies: Collection[str], weights: str | None = None) -> None:
        """Forget studies that are gone, and scores of contents and weights that nobody needs any more.

        Parameters
        ----------
        studies
            Identifiers of those that are there.
        weights
            The only ones that are needed; None for all.
        """
        with self._database.transaction() as database:
            known = [row["identifier"] for row in database.execute("SELECT identifier FROM study")]
            gone = set(known).difference(studies)
            database.executemany("DELETE FROM study WHERE identifier = ?", [(identifier,) for identifier in gone])
            query = (
                "DELETE FROM score WHERE weights != ifnull(?, weights) OR content NOT IN (SELECT content FROM study)"
            )
            database.execute(query, (weights,))

    def begin(self, method: str) -> None:
        """Note that a run was asked for, until `end`: it is taken up again if the server ends before it."""
        with self._database.transaction() as database:
            database.execute("INSERT OR REPLACE INTO run VALUES (?)", (method,))

    def end(self, method: str) -> None:
        """Note that a run is over, or was stopped."""
        with self._database.transaction() as database:
            database.execute("DELETE FROM run WHERE method = ?", (method,))

    def unfinished(self) -> list[str]:
        """Runs that have begun and not ended."""
        with self._database.transaction() as database:
            return [row["method"] for row in database.execute("SELECT method FROM run ORDER BY method")]
