"""Downloads against a real HTTP server on loopback that misbehaves in the ways that networks do."""

from __future__ import annotations

import errno
import hashlib
import shutil
import socket
from collections import namedtuple
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from covid_bert.errors import BusyError, CancelledError, OfflineError, ParameterError, WeightsError
from covid_bert.progress import Progress
from covid_bert.weights import download as download_module
from covid_bert.weights.download import download as _download

download = partial(_download, pause_s=0.0, timeout_s=5.0)


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "model.pth"


def names(destination: Path) -> set[str]:
    return {item.name for item in destination.parent.iterdir() if item.is_file() and item.suffix != ".lock"}


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_whole_file_arrives_checked_and_reports_progress(server, destination):
    seen: list[tuple[str, float]] = []
    progress = Progress(lambda stage, fraction: seen.append((stage, fraction)))
    sha256 = hashlib.sha256(server.content).hexdigest()
    assert download(server.url, destination, sha256=sha256, size=len(server.content), progress=progress) == destination
    assert destination.read_bytes() == server.content
    assert names(destination) == {"model.pth"}
    fractions = [fraction for stage, fraction in seen if stage == "download"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert "checksum" in {stage for stage, _ in seen}


def test_a_broken_connection_is_resumed_and_only_the_rest_is_transferred(server, destination):
    server.script = ["cut:70000"]
    download(server.url, destination)
    assert destination.read_bytes() == server.content
    assert server.requests[1]["range"] == "bytes=70000-"
    assert server.requests[1]["if-range"] == '"first"'
    assert server.bytes_sent == [70000, len(server.content) - 70000]


def test_a_later_call_goes_on_where_an_earlier_one_ended(server, destination):
    server.script = ["cut:50000"]
    with pytest.raises(OfflineError, match="50000 of 102400"):
        download(server.url, destination, attempts=1)
    assert not destination.exists()
    assert (destination.parent / "model.pth.part").stat().st_size == 50000
    download(server.url, destination)
    assert destination.read_bytes() == server.content
    assert server.bytes_sent == [50000, len(server.content) - 50000]
    assert names(destination) == {"model.pth"}


def test_attempts_that_bring_something_do_not_count(server, destination):
    server.script = ["cut:10000", "cut:20000", "cut:30000", "cut:40000", "cut:50000"]
    download(server.url, destination, attempts=2)
    assert destination.read_bytes() == server.content
    assert sum(server.bytes_sent) == len(server.content)


def test_a_server_that_ignores_ranges_is_started_over(server, destination):
    server.script = ["cut:60000", "norange"]
    download(server.url, destination)
    assert destination.read_bytes() == server.content
    assert server.bytes_sent == [60000, len(server.content)]


def test_a_file_that_changed_on_the_server_is_not_mixed_with_the_old_part(server, destination):
    server.script = ["cut:60000"]
    with pytest.raises(OfflineError):
        download(server.url, destination, attempts=1)
    server.content, server.etag = b"new" * 30000, '"second"'
    download(server.url, destination)
    assert destination.read_bytes() == server.content


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_validator_nothing_is_resumed(server, destination, etag):
    server.etag = etag
    server.script = ["cut:60000"]
    download(server.url, destination)
    assert destination.read_bytes() == server.content
    assert "range" not in server.requests[1]


def test_a_part_of_another_address_is_not_continued(server, destination):
    server.script = ["cut:60000"]
    with pytest.raises(OfflineError):
        download(server.url, destination, attempts=1)
    download(server.url + "?other", destination)
    assert "range" not in server.requests[1]


def test_416_for_a_whole_part_finishes_without_transfer(server, destination):
    server.script = ["cut:60000"]
    with pytest.raises(OfflineError):
        download(server.url, destination, attempts=1)
    part = destination.parent / "model.pth.part"
    part.write_bytes(server.content)
    download(server.url, destination, sha256=hashlib.sha256(server.content).hexdigest())
    assert destination.read_bytes() == server.content
    assert server.bytes_sent == [60000, 0]


def test_416_for_a_part_that_is_too_long_starts_over(server, destination):
    server.script = ["cut:60000"]
    with pytest.raises(OfflineError):
        download(server.url, destination, attempts=1)
    (destination.parent / "model.pth.part").write_bytes(server.content + b"more")
    download(server.url, destination)
    assert destination.read_bytes() == server.content


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_missing_file_is_not_called_offline_and_not_asked_for_again(server, destination, code):
    server.default = f"status:{code}"
    with pytest.raises(WeightsError, match=str(code)) as caught:
        download(server.url, destination)
    assert not isinstance(caught.value, OfflineError)
    assert len(server.requests) == 1


def test_503_is_tried_again(server, destination):
    server.script = ["status:503", "status:503"]
    download(server.url, destination)
    assert destination.read_bytes() == server.content
    assert len(server.requests) == 3


def test_503_for_ever_ends_after_the_attempts(server, destination):
    server.default = "status:503"
    with pytest.raises(OfflineError, match="503"):
        download(server.url, destination, attempts=3)
    assert len(server.requests) == 3
    assert names(destination) == set()


def test_a_login_page_is_not_taken_for_weights(server, destination):
    server.default = "html"
    with pytest.raises(WeightsError, match="web page"):
        download(server.url, destination)
    assert names(destination) == set()


@pytest.mark.parametrize("expected", ["0" * 64, "00000000"])
def test_a_wrong_checksum_removes_the_download(server, destination, expected):
    with pytest.raises(WeightsError, match="damaged or is another file") as caught:
        download(server.url, destination, sha256=expected)
    assert caught.value.details["actual"] == hashlib.sha256(server.content).hexdigest()
    assert names(destination) == set()


def test_a_prefix_is_enough_of_a_checksum(server, destination):
    download(server.url, destination, sha256=hashlib.sha256(server.content).hexdigest()[:8])
    assert destination.is_file()


def test_an_offer_of_another_size_is_refused_before_the_transfer(server, destination):
    with pytest.raises(WeightsError, match="offers 102400 bytes"):
        download(server.url, destination, size=5)
    assert names(destination) <= {"model.pth.part.json"}


def test_offline_says_what_to_do(destination):
    url = f"http://127.0.0.1:{closed_port()}/model.pth"
    with pytest.raises(OfflineError) as caught:
        download(url, destination, attempts=2)
    text = str(caught.value)
    assert url in text
    assert "refused" in text
    assert "HTTPS_PROXY" in text
    assert "covid-bert weights import FILE" in text
    assert caught.value.exit_code == 5


def test_a_server_that_does_not_answer_ends_in_time(destination):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/model.pth"
        with pytest.raises(OfflineError, match="timed out"):
            _download(url, destination, attempts=1, timeout_s=0.2)


def test_the_proxy_of_the_environment_is_used(server, destination, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    unreachable = f"http://127.0.0.1:{closed_port()}/model.pth"
    download(unreachable, destination)
    assert destination.read_bytes() == server.content
    assert server.requests[0]["line"].startswith(f"GET {unreachable} ")


def test_https_goes_through_the_proxy_as_a_tunnel(server, destination, monkeypatch):
    server.default = "status:403"
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.port}")
    with pytest.raises(OfflineError, match="403"):
        download("https://weights.invalid/model.pth", destination, attempts=1)
    assert server.requests[0]["line"].startswith("CONNECT weights.invalid:443 ")


def test_no_proxy_is_honoured(server, destination, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    download(server.url, destination)
    assert destination.read_bytes() == server.content


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/m.pth",
        "ftp://example.org/m.pth",
        "file:///etc/hostname",
        "https:///m.pth",
        "http://127.0.0.1.example.org/",
    ],
)
def test_only_https_is_allowed(destination, url):
    with pytest.raises(ParameterError):
        download(url, destination)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "http://weights.invalid/m.pth", "ftp://127.0.0.1/m.pth"])
def test_redirects_to_other_schemes_and_plain_http_are_refused(server, destination, target):
    server.default = f"redirect:{target}"
    with pytest.raises(WeightsError, match=r"not safe|not allowed"):
        download(server.url, destination)
    assert names(destination) == set()


def test_redirects_keep_the_range(server, destination):
    server.script = ["cut:60000", f"redirect:{server.url}"]
    download(server.url, destination)
    assert destination.read_bytes() == server.content
    assert server.requests[2]["range"] == "bytes=60000-"


def test_cancelling_keeps_what_arrived(server, destination):
    server.content = bytes(3_000_000)
    progress = Progress()

    def cancel_at_a_third(stage: str, fraction: float) -> None:
        if fraction > 0.33:
            progress.cancel()

    progress.report = cancel_at_a_third
    with pytest.raises(CancelledError, match="kept"):
        download(server.url, destination, progress=progress)
    arrived = (destination.parent / "model.pth.part").stat().st_size
    assert 900_000 < arrived < 3_000_000
    download(server.url, destination)
    assert destination.read_bytes() == server.content
    assert server.requests[1]["range"] == f"bytes={arrived}-"


def test_a_full_disk_is_noticed_before_the_transfer(server, destination, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6, 100))
    with pytest.raises(WeightsError, match="0 MiB left"):
        download(server.url, destination)
    assert server.bytes_sent == [] or not destination.exists()


def test_a_disk_that_fills_up_during_the_transfer_is_explained(server, destination, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download_module, "_copy", full)
    with pytest.raises(WeightsError, match="disk is full") as caught:
        download(server.url, destination)
    assert not isinstance(caught.value, OfflineError)


def test_two_downloads_of_one_file_do_not_mix(server, destination):
    with FileLock(destination.with_name("model.pth.lock")), pytest.raises(BusyError):
        download(server.url, destination)
    download(server.url, destination)
    assert destination.is_file()
