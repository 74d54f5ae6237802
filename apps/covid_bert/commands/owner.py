"""Whose files a command would touch: root's own would be of no use to a server of another user."""

from __future__ import annotations

import os
from pathlib import Path

from covid_bert.datastore.index import LABELS_NAME
from covid_bert.errors import ParameterError
from covid_bert.server.launch import SERVER_LOCK_NAME
from covid_bert.weights.location import home, weights_root


def name_of_owner(path: Path) -> str:
    """Return the name of the user whom a file or folder belongs to, or the number where there is no name."""
    import pwd

    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def refuse_root_for(*places: Path) -> None:
    """Refuse to go on as root where a server of another user works.

    What root writes has mode 0600 and belongs to root: tokens or labels that the server cannot read any more.

    Parameters
    ----------
    places
        Files or folders of the server, the most telling one first; those that do not exist are passed over.

    Raises
    ------
    ParameterError
        If this is root, and the first of them belongs to another user.
    """
    if os.name == "nt" or os.geteuid() != 0:
        return
    place = next((path for path in places if path.exists()), None)
    if place is not None and place.stat().st_uid != 0:
        name = name_of_owner(place)
        raise ParameterError(
            f"{place.name} belongs to {name}, who could not use what root writes.",
            f"Run this as {name}: sudo -u {name} env COVID_BERT_HOME=... covid-bert ...",
        )


def refuse_root_in(studies: Path) -> None:
    """Refuse to go on as root where labels of another user's studies would be written; see `refuse_root_for`."""
    refuse_root_for(studies / SERVER_LOCK_NAME, studies / LABELS_NAME, studies)


def refuse_root_at_home() -> None:
    """Refuse to go on as root where another user's data folder would be written into; see `refuse_root_for`."""
    refuse_root_for(weights_root(), home())
