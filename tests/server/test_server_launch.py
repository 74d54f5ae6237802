"""Refusals before the server starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from covid_bert.errors import ParameterError
from covid_bert.server.launch import prepare


@pytest.fixture(autouse=True)
def _restore_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("MONAI_LABEL_"):
            monkeypatch.delenv(name)
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "example.org"])
def test_other_addresses_than_this_machine_are_refused(tmp_path, host: str) -> None:
    with pytest.raises(ParameterError) as caught:
        prepare(tmp_path, host=host, port=8000)
    assert "127.0.0.1" in caught.value.hint
    assert "MONAI_LABEL_STUDIES" not in os.environ


def test_a_taken_port_is_a_sentence_and_exit_code_9(tmp_path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "covid_bert.cli", "serve", "--studies", str(tmp_path), "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 9
    assert f"Port {port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_studies_folder_that_is_a_file_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ParameterError):
        prepare(tmp_path / "file", host="127.0.0.1", port=8000)
