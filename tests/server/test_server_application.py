"""The application hands each limit of the configuration to the part that holds it, and starts and stops these parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np

from needed import require_module

# In a process of its own: MONAI Label reads its settings when it is imported, and opens one app for good.
CODE = """
import json, sys
from pathlib import Path
from covid_bert.server.configuration import load
from covid_bert.server.launch import prepare

limits = {"voxels_millions": 7, "queue_length": 3, "result_hours": 2.0, "job_minutes": 5}
limits |= {"sessions": 4, "session_megabytes": 6, "session_minutes": 9}
configuration = load({"studies": sys.argv[1], **limits}, environment={})
prepare(configuration)

from fastapi.testclient import TestClient
from covid_bert.server import application
from covid_bert.server.metrics import Metrics
from covid_bert.server.tokens import LiveTokens, TokenFile

seen = {"calls": [], "voxels": []}


class Sessions(application.SessionStore):
    def __init__(self, folder, **options):
        seen["sessions"] = options
        super().__init__(folder, **options)

    def start(self):
        seen["calls"].append("sessions start")
        super().start()

    def close(self):
        seen["calls"].append("sessions close")
        super().close()


class Runner:
    alive, requests = True, None

    def __init__(self, folder, requests, make_compute, **options):
        seen["jobs"] = options
        seen["voxels"].append(make_compute.args[-1])

    def start(self):
        seen["calls"].append("jobs start")

    def close(self):
        seen["calls"].append("jobs close")

    def queue_length(self):
        return 0

    def remove_gone(self):
        seen["calls"].append("results of a removed study")


class Checker(application.MaskChecker):
    def __init__(self, most_voxels):
        seen["voxels"].append(most_voxels)
        super().__init__(most_voxels)

    def close(self):
        seen["calls"].append("masks close")
        super().close()


class Forgetting(application.Forgetting):
    def start(self):
        seen["calls"].append("forgetting start")
        super().start()

    def close(self):
        super().close()
        seen["calls"].append("forgetting close" if not self._thread.is_alive() else "still forgetting")


application.Forgetting = Forgetting
application.SessionStore, application.JobRunner, application.MaskChecker = Sessions, Runner, Checker
tokens = LiveTokens(TokenFile(Path(sys.argv[1]) / "tokens.json"))
with TestClient(application.create_routes(configuration, tokens, Metrics())) as client:
    seen["ready"] = client.get("/readyz").status_code
    application.app_instance().datastore().add_image("chest", sys.argv[2], {})
    seen["removed"] = client.delete("/datastore/image?id=chest").status_code
    incoming = Path(sys.argv[1]) / ".incoming"
    seen["own folder"] = len([path for path in incoming.iterdir() if path.is_dir()])
seen["left"] = [path.name for path in incoming.iterdir()]
print("SEEN", json.dumps(seen))
"""


def test_limits_reach_what_holds_them_and_everything_is_stopped(tmp_path: Path) -> None:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    environment = {**os.environ, "COVID_BERT_HOME": str(tmp_path / "home")}
    image = tmp_path / "arrives.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), np.eye(4)), image)
    command = [sys.executable, "-c", CODE, str(tmp_path / "studies"), str(image)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SEEN ")]
    assert json.loads(line.removeprefix("SEEN ")) == {
        "voxels": [7_000_000, 7_000_000],
        "jobs": {"queue_length": 3, "result_hours": 2.0, "job_minutes": 5},
        "sessions": {"most": 4, "minutes": 9, "megabytes": 6},
        "calls": [
            *("sessions start", "forgetting start", "jobs start", "results of a removed study"),
            *("jobs close", "sessions close", "forgetting close", "masks close"),
        ],
        "removed": 200,
        "ready": 200,
        "own folder": 1,
        "left": [],
    }
