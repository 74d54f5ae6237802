"""The ASGI application: MONAI Label's routes and ours.

Import it only after `covid_bert.server.launch.prepare` has set MONAI Label's settings in the environment: MONAI Label
reads them when it is imported.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from monailabel.config import settings
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.utils.app import app_instance
from starlette.types import ASGIApp

from covid_bert import RESEARCH_USE_ONLY, __version__
from covid_bert.datastore.store import StudyDatastore
from covid_bert.main import CovidBertApp
from covid_bert.pacs.studies import PacsStudies
from covid_bert.server import (
    batch,
    datastore_routes,
    failures,
    health,
    inference,
    login,
    scoring_routes,
    sessions,
    stock,
    weights_routes,
)
from covid_bert.server.audit import AuditLog, default_audit_folder
from covid_bert.server.configuration import ServerConfiguration
from covid_bert.server.forgetting import Forgetting
from covid_bert.server.jobs import routes as jobs
from covid_bert.server.jobs.folders import expire_elsewhere, jobs_folder
from covid_bert.server.jobs.inference import open_app
from covid_bert.server.jobs.runner import JobRunner
from covid_bert.server.jobs.submission import AppRequests
from covid_bert.server.layers import protected
from covid_bert.server.mask_checker import MaskChecker
from covid_bert.server.metrics import Metrics
from covid_bert.server.reservations import Reservations
from covid_bert.server.scoring import Scoring
from covid_bert.server.scoring_process import open_scoring
from covid_bert.server.sessions_store import SessionStore
from covid_bert.server.strict import refuse_unknown
from covid_bert.server.tokens import LiveTokens
from covid_bert.server.training import routes as training
from covid_bert.server.training.jobs import TrainingJobs
from covid_bert.server.training.setup import open_trainings
from covid_bert.server.training.trainings import Trainings
from covid_bert.server.whole_studies import WholeStudies
from covid_bert.tasks.scoring import METHOD, missing, studies_of
from covid_bert.weights.location import folder_of_studies
from covid_bert.workers import MakeCompute


def create(configuration: ServerConfiguration, tokens: LiveTokens, *, train_with: MakeCompute | None = None) -> ASGIApp:
    """Make the application that a server runs.

    Parameters
    ----------
    configuration
        The server's set-up.
    tokens
        Who may call.
    train_with
        As for `create_routes`.
    """
    metrics = Metrics()
    routes = create_routes(configuration, tokens, metrics, train_with=train_with)
    return protected(routes, configuration, tokens, metrics)


def create_routes(
    configuration: ServerConfiguration,
    tokens: LiveTokens,
    metrics: Metrics,
    *,
    train_with: MakeCompute | None = None,
) -> FastAPI:
    """Make the application without the layers around it: the routes and the replies to errors.

    Parameters
    ----------
    configuration
        The server's set-up.
    tokens
        Who may call.
    metrics
        The server's numbers.
    train_with
        What computes a training, called in its process; None for `covid_bert.server.training.process.open_training`.
    """
    # MONAI Label logs whole requests, which name studies and paths.
    logging.getLogger("monailabel").setLevel(logging.WARNING)
    opened: CovidBertApp = app_instance()
    kept = SessionStore(
        Path(settings.MONAI_LABEL_SESSION_PATH),
        most=configuration.sessions,
        minutes=configuration.session_minutes,
        megabytes=configuration.session_megabytes,
    )
    opened.use_sessions(kept)
    folder = jobs_folder(configuration.studies)
    most_voxels = configuration.voxels_millions * 1_000_000
    runner = JobRunner(
        folder,
        AppRequests(opened),
        functools.partial(open_app, str(opened.studies), most_voxels),
        queue_length=configuration.queue_length,
        result_hours=configuration.result_hours,
        job_minutes=configuration.job_minutes,
    )
    masks, whole = MaskChecker(most_voxels), WholeStudies(most_voxels)
    if isinstance(store := opened.datastore(), StudyDatastore):
        store.check_masks_with(masks.check)
    audit = AuditLog(default_audit_folder())
    save = functools.partial(inference.save_label, store, audit)
    batches = batch.Batches(runner, save)
    forgetting = Forgetting(configuration.studies)
    trainings = open_trainings(configuration.studies, audit, metrics, train_with, on_end=forgetting.soon)
    reservations = Reservations(
        folder_of_studies("retraining", configuration.studies), hours=configuration.reservation_hours
    )
    scoring = Scoring(
        lambda: opened.scores.store,
        lambda: missing(opened.scores.store, studies_of(store)),
        functools.partial(open_scoring, str(opened.studies), most_voxels),
        lambda: runner.queue_length() > 0,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        opened.server_mode(True)
        # Not on_init_complete: its timer for sessions would write lines of its own, and `kept` has one.
        kept.start()
        expire_elsewhere(folder, lifetime=configuration.result_hours * 3600)
        forgetting.start()
        runner.start()
        trainings.start()
        scoring.take_up()
        yield
        # On a thread: who still waits for a job is being told meanwhile.
        await run_in_threadpool(
            _close, batches, trainings, runner, kept, masks, whole, store, scoring, reservations, forgetting
        )

    # The pages of documentation would load their scripts from the internet.
    app = FastAPI(
        title="covid-bert",
        description=RESEARCH_USE_ONLY,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        # A redirect would name the server as it sees itself, not as its clients do.
        redirect_slashes=False,
        lifespan=lifespan,
        dependencies=[Depends(refuse_unknown)],
    )
    hold_session = functools.partial(sessions.hold_own, kept)
    failures.install(app)
    health.install(app, metrics, lambda: opened, lambda: runner.alive, lambda: tokens.required)
    login.install(app, tokens)
    stock.install(app, opened, reservations, functools.partial(scoring.ensure, METHOD))
    scoring_routes.install(app, scoring)
    inference.install(app, runner, opened, hold_session, save)
    batch.install(app, batches, opened)
    sessions.install(app, kept, on_end=runner.remove_gone)
    datastore_routes.install(app, opened, whole, on_remove=runner.remove_gone)
    jobs.install(app, runner, hold_session, TrainingJobs(trainings))
    training.install(app, trainings)
    weights_routes.install(app)
    metrics.follow_queue(runner.queue_length)
    if isinstance(store, PacsStudies):
        metrics.follow_archive(store.archive_state)
    return app


def _close(
    batches: batch.Batches,
    trainings: Trainings,
    runner: JobRunner,
    kept: SessionStore,
    masks: MaskChecker,
    whole: WholeStudies,
    store: Datastore,
    scoring: Scoring,
    reservations: Reservations,
    forgetting: Forgetting,
) -> None:
    # One after the other, the last one here first, also if one fails.
    with ExitStack() as closing:
        if isinstance(store, StudyDatastore):
            closing.callback(store.close)
        closing.callback(masks.close)
        closing.callback(forgetting.close)
        closing.callback(whole.close)
        closing.callback(kept.close)
        closing.callback(runner.close)
        closing.callback(trainings.close)
        closing.callback(reservations.close)
        closing.callback(scoring.close)
        closing.callback(batches.stop)
