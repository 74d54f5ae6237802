"""MONAI Label's OHIF page in front of an archive: its own routes, served here without the rest of MONAI Label."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from needed import require_module
from orthanc_server import free_port

_START_SECONDS = 120.0


@contextmanager
def running_ohif(archive: str) -> Iterator[str]:
    """Serve the page, and its way to an archive, and yield its address; it is ended at the end.

    Parameters
    ----------
    archive
        Root of the archive's DICOMweb service.
    """
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    import uvicorn
    from fastapi import FastAPI
    from monailabel.config import settings
    from monailabel.endpoints import ohif, proxy

    application = FastAPI()
    application.include_router(ohif.router)
    application.include_router(proxy.router)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    with mock.patch.object(settings, "MONAI_LABEL_STUDIES", archive):
        thread.start()
        try:
            end = time.monotonic() + _START_SECONDS
            while not server.started:
                assert thread.is_alive(), "the server of the page ended"
                assert time.monotonic() < end, "the server of the page did not start"
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/ohif"
        finally:
            server.should_exit = True
            thread.join(60)
