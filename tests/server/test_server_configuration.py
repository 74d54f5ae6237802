"""The configuration's sources, its checks, and what it refuses to do on a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

from covid_bert.cli_groups import RoleName
from covid_bert.errors import ParameterError
from covid_bert.server.access import Role
from covid_bert.server.configuration import PREFIX, ServerConfiguration, check_network, load

TLS = {"tls_certificate": "cert.pem", "tls_key": "key.pem"}


def test_flags_win_over_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('studies = "of-file"\nport = 1\nhost = "localhost"\nqueue_length = 3\n')
    environment = {"COVID_BERT_SERVE_PORT": "2", "COVID_BERT_SERVE_HOST": "127.0.0.1", "OTHER": "x"}
    found = load({"port": 3, "host": None}, file=file, environment=environment)
    assert (found.port, found.host, found.queue_length) == (3, "127.0.0.1", 3)
    assert found.studies == Path("of-file")


def test_lists_of_the_environment_have_commas() -> None:
    environment = {"COVID_BERT_SERVE_ALLOWED_HOSTS": "ct.example.org, 10.0.0.7"}
    assert load({"studies": "s"}, environment=environment).allowed_hosts == ("ct.example.org", "10.0.0.7")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "studies"),
        ({"studies": "s", "port": 0}, "port"),
        ({"studies": "s", "prot": 8000}, "prot"),
        ({"studies": "s", "result_hours": float("nan")}, "result_hours"),
        ({"studies": "s", "body_megabytes": 0}, "body_megabytes"),
        ({"studies": "s", "allowed_origins": ["*"]}, "allowed_origins"),
        ({"studies": "s", "allowed_origins": ["https://a.example/path"]}, "allowed_origins"),
        ({"studies": "s", "allowed_hosts": ["a.example/path"]}, "allowed_hosts"),
        ({"studies": "s", "root_path": "no-slash"}, "root_path"),
        ({"studies": "s", "tls_key": "key.pem"}, "certificate"),
        ({"studies": "ftp://pacs.example/dicom-web"}, "studies"),
        ({"studies": "https://reader:secret@pacs.example/dicom-web"}, "pacs"),
        ({"studies": "s", "trusted_proxies": ["proxy"]}, "trusted_proxies"),
        ({"studies": "s", "voxels_millions": 5000}, "voxels_millions"),
        ({"studies": "s", "host": "0.0.0.0"}, "0.0.0.0"),
    ],
)
def test_what_is_wrong_is_named(settings, named: str) -> None:
    with pytest.raises(ParameterError) as caught:
        load(settings, environment={})
    assert named in str(caught.value)
    assert caught.value.hint


def test_an_unknown_variable_and_an_unknown_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="the environment"):
        load({"studies": "s"}, environment={"COVID_BERT_SERVE_TOKEN_FILE": "x"})
    file = tmp_path / "serve.toml"
    file.write_text("[limits]\nqueue = 3\n")
    with pytest.raises(ParameterError, match=r"serve\.toml"):
        load({"studies": "s"}, file=file, environment={})
    file.write_text("port = = 3\n")
    with pytest.raises(ParameterError, match="not TOML"):
        load({"studies": "s"}, file=file, environment={})


@pytest.mark.parametrize(
    ("settings", "variables", "said"),
    [
        ({"studies": ""}, {}, "a path is a text that is not empty"),
        ({"studies": "s", "tls_key": 5}, {}, "a path is a text that is not empty"),
        ({"studies": "s"}, {"TOKENS_FILE": ""}, "Correct the variable COVID_BERT_SERVE_TOKENS_FILE"),
        ({"studies": "s", "tokens_file": "~no-such-user-here/t"}, {}, "no such home folder"),
        ({"studies": "s", "port": True}, {}, "not a switch"),
        ({"studies": "s", "root_path": "no-slash"}, {}, "is wrong: a root path is like"),
        ({"studys": "s"}, {}, "Did you mean studies?"),
        ({"studies": "s"}, {"TOKEN_FILE": "t"}, "Did you mean COVID_BERT_SERVE_TOKENS_FILE?"),
        ({"studies": "s", "xyzzy": 1}, {}, "Known are studies, host"),
    ],
)
def test_what_is_said_of_a_fault(tmp_path: Path, settings, variables, said: str) -> None:
    file = tmp_path / "serve.toml"
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    with pytest.raises(ParameterError) as caught:
        load({}, file=file, environment={f"{PREFIX}{name}": value for name, value in variables.items()})
    assert said in str(caught.value)
    assert "Value error" not in str(caught.value)
    assert "<class" not in str(caught.value)


def test_the_hint_names_the_place_of_the_fault(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text("port = 0\n")
    with pytest.raises(ParameterError, match="Correct port in that file"):
        load({"studies": "s"}, file=file, environment={})
    with pytest.raises(ParameterError, match="Correct that option"):
        load({"studies": "s", "port": 0}, environment={})


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    found = load({"studies": Path("~/ct")}, environment={"COVID_BERT_SERVE_TOKENS_FILE": "~/tokens.json"})
    assert (found.studies, found.tokens_file) == (tmp_path / "ct", tmp_path / "tokens.json")


def test_the_printed_configuration_is_a_file_for_the_next_start_without_secrets() -> None:
    shown = load({"studies": "s", "port": 9, **TLS}, environment={}).to_toml()
    again = tomllib.loads(shown)
    assert again["port"] == 9
    assert again["tls_certificate"] == "cert.pem"
    assert "key.pem" not in shown
    assert all(name in shown for name in ServerConfiguration.model_fields)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "ct.example.org"])
def test_other_machines_need_tokens_and_tls_unless_said_in_words(host: str) -> None:
    named = {"studies": "s", "host": host, "allowed_hosts": ["ct.example.org"]}
    plain, encrypted = load(named, environment={}), load({**named, **TLS}, environment={})
    with pytest.raises(ParameterError, match="no token"):
        check_network(encrypted, tokens=False, insecure_network=False)
    with pytest.raises(ParameterError, match="unencrypted"):
        check_network(plain, tokens=True, insecure_network=False)
    check_network(encrypted, tokens=True, insecure_network=False)
    check_network(plain, tokens=False, insecure_network=True)


def test_this_machine_needs_neither() -> None:
    check_network(load({"studies": "s"}, environment={}), tokens=False, insecure_network=False)


@pytest.mark.parametrize("behind", [{"root_path": "/ct"}, {"allowed_hosts": ["ct.example.org"]}])
def test_this_machine_behind_a_proxy_needs_tokens(behind) -> None:
    configuration = load({"studies": "s", **behind}, environment={})
    with pytest.raises(ParameterError, match="no token"):
        check_network(configuration, tokens=False, insecure_network=False)
    check_network(configuration, tokens=True, insecure_network=False)


def test_the_roles_of_the_command_line_are_the_servers() -> None:
    assert [role.value for role in RoleName] == [role.value for role in Role]


def run(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COVID_BERT_HOME": str(home), "COVID_BERT_SERVE_PORT": "8123"}
    command = [sys.executable, "-m", "covid_bert.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)


def test_the_command_shows_it_and_refuses_a_network_without_tokens(tmp_path: Path) -> None:
    shown = run("serve", "--studies", "s", "--allowed-host", "ct.example.org", "--show-configuration", home=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert tomllib.loads(shown.stdout)["port"] == 8123
    assert tomllib.loads(shown.stdout)["allowed_hosts"] == ["ct.example.org"]
    refused = run("serve", "--studies", str(tmp_path / "s"), "--host", "192.168.1.7", home=tmp_path)
    assert refused.returncode == 2
    assert "covid-bert token add" in refused.stderr
    assert not (tmp_path / "s").exists()
