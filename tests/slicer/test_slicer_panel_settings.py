"""What the user has set is kept; tokens lie where only the user can read them."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import worker_process  # noqa: F401 - puts the extension on the path

settings, consent, secrets = (
    importlib.import_module(f"CovidBertLib.{name}") for name in ("settings", "consent", "secrets")
)
URL = "https://radiology.example:8443"


@pytest.fixture
def kept(application: Any) -> Any:
    return settings.Settings()


@pytest.fixture
def store(tmp_path: Path) -> Any:
    return secrets.TokenStore(tmp_path / "profile" / "CovidBert")


def test_servers_are_kept(kept) -> None:
    assert kept.servers() == [settings.LOCAL]
    servers = [
        settings.Server("Radiologie Süd", URL, "/etc/ca.pem"),
        settings.Server("Lab", "http://10.0.0.2", "", True),
    ]
    for count in (1, 2):
        kept.save_servers(servers[:count])
        kept.save_last_server(servers[0].name)
        again = settings.Settings()
        assert (again.servers(), again.last_server()) == (servers[:count], "Radiologie Süd")


@pytest.mark.parametrize("content", ["", "{", "5", '[5, null, {"name": "a"}, {"name": 1, "url": 2}]', "[]"])
def test_damaged_settings_are_as_none(kept, application, content) -> None:
    application.userSettings().setValue("CovidBert/servers", content)
    application.userSettings().setValue("CovidBert/consents", content)
    application.userSettings().setValue("CovidBert/models", content)
    assert kept.servers() == [settings.LOCAL]
    assert kept.consents() == []
    assert kept.model(URL) == ""
    kept.save_model(URL, "covid_s1")
    assert kept.model(URL) == "covid_s1"


def test_consent_is_for_one_host_and_port(kept) -> None:
    agreed = consent.Consent(kept)
    assert not agreed.given(URL)
    agreed.give(URL + "/folder")
    agreed.give(URL)
    assert kept.consents() == ["radiology.example:8443"]
    assert consent.Consent(settings.Settings()).given("https://RADIOLOGY.example:8443/other")
    for other in ("https://radiology.example", "https://radiology.example.evil:8443", "https://evil:8443"):
        assert not agreed.given(other)
    agreed.withdraw(URL)
    assert not agreed.given(URL)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://a", "a:80"),
        ("https://a", "a:443"),
        ("http://[::1]:8000/x", "::1:8000"),
        ("http://user:secret@a:1", "a:1"),
    ],
)
def test_host_that_the_user_is_asked_about(url, host) -> None:
    assert consent.host_of(url) == host


def test_tokens_are_kept_by_server(store) -> None:
    assert store.token(URL) == ""
    store.save(URL, "first")
    store.save("http://127.0.0.1:8000", "second")
    assert (secrets.TokenStore(store.path.parent).token(URL), store.token("http://127.0.0.1:8000")) == (
        "first",
        "second",
    )
    store.save(URL, "")
    assert json.loads(store.path.read_text()) == {"http://127.0.0.1:8000": "second"}
    assert [path.name for path in store.path.parent.iterdir()] == ["tokens.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps the profile of a user from others")
def test_tokens_can_be_read_by_this_user_alone(store) -> None:
    store.path.parent.mkdir(parents=True, mode=0o755)
    store.path.write_text("{}")
    store.path.chmod(0o644)
    before = os.umask(0)
    try:
        store.save(URL, "secret")
    finally:
        os.umask(before)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"https://radiology.example:8443": 5}'])
def test_damaged_file_is_as_none(store, content) -> None:
    store.path.parent.mkdir(parents=True)
    store.path.write_text(content)
    assert store.token(URL) == ""
    store.save(URL, "new")
    assert store.token(URL) == "new"


def test_token_that_cannot_be_kept_is_told(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(secrets.TokenFileError) as caught:
        secrets.TokenStore(tmp_path / "file").save(URL, "very-secret")
    assert "very-secret" not in caught.value.message + caught.value.hint
    assert caught.value.hint


def test_half_written_file_leaves_the_old_one(store, monkeypatch) -> None:
    store.save(URL, "old")

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(secrets.json, "dump", full)
    with pytest.raises(secrets.TokenFileError):
        store.save(URL, "new")
    assert store.token(URL) == "old"
    assert [path.name for path in store.path.parent.iterdir()] == ["tokens.json"]
