"""One real server for all tests of the panel that need one: its URL, and a token for each role."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from needed import REPOSITORY, require_module

__all__ = ["Live", "live_server"]
_SECONDS = 1800
_running: list[Live] = []


@dataclass(frozen=True)
class Live:
    url: str
    secrets: dict[str, str]
    studies: Path
    home: Path

    def order(self, role: str = "annotator") -> dict[str, Any]:
        """What the panel keeps of a connection."""
        return {"url": self.url, "token": self.secrets[role], "ca_file": None, "insecure_network": False}


def live_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Live:
    """Return a server with two real studies; it is started once and serves all files of tests."""
    if not _running:
        require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
        from covid_bert.server.access import Role
        from covid_bert.server.launch import running_server
        from covid_bert.server.tokens import TokenFile

        folder = tmp_path_factory.mktemp("live")
        studies = folder / "studies"
        studies.mkdir()
        sample = REPOSITORY / "sample-data" / "lung1_image.nrrd"
        for name in ("lung1.nrrd", "other.nrrd"):
            shutil.copy(sample, studies / name)
        tokens = TokenFile(folder / "tokens.json")
        secrets = {role.value: tokens.add(f"{role.value}-anna", role) for role in Role}
        stack = contextlib.ExitStack()
        request.config.add_cleanup(stack.close)
        before = os.environ.get("COVID_BERT_HOME")
        os.environ["COVID_BERT_HOME"] = str(folder / "home")
        try:
            options = ["--tokens-file", str(tokens.path)]
            url = stack.enter_context(running_server(studies, folder / "server.log", timeout=_SECONDS, options=options))
        finally:
            os.environ.pop("COVID_BERT_HOME")
            if before is not None:
                os.environ["COVID_BERT_HOME"] = before
        _running.append(Live(url, secrets, studies, folder / "home"))
    return _running[0]
