"""Where jobs are kept: a folder of the program's data folder for each folder of studies."""

from __future__ import annotations

import logging
from pathlib import Path

from covid_bert.errors import CovidBertError
from covid_bert.server.jobs.clock import SteadyClock
from covid_bert.server.jobs.store import REMEMBERED_SECONDS, JobStore
from covid_bert.weights.location import folder_of_studies

logger = logging.getLogger(__name__)


def jobs_folder(studies: Path) -> Path:
    """Return the folder for the jobs of a server, so that servers of different studies can run side by side.

    Parameters
    ----------
    studies
        The server's folder with the studies.
    """
    return folder_of_studies("jobs", studies)


def expire_elsewhere(own: Path, *, lifetime: float) -> None:
    """Remove old results of servers that no longer run, which nobody else would remove.

    Parameters
    ----------
    own
        The folder of this server's jobs, which is left alone, as are those of servers that run.
    lifetime
        Seconds for which results are kept; at least seven days here, since the other server may have kept its longer.
    """
    for folder in own.parent.glob("*/jobs.sqlite"):
        if folder.parent == own:
            continue
        now = SteadyClock()()
        try:
            store = JobStore(folder.parent, now)
        except CovidBertError as error:
            logger.info("The jobs of another folder of studies are left alone: %s", error.code)
            continue
        try:
            store.expire(now, lifetime=max(lifetime, REMEMBERED_SECONDS))
        except CovidBertError as error:
            logger.warning("Old results of another folder of studies cannot be removed: %s", error.code)
        finally:
            store.close()
