"""Which archive, as whom: addresses without secrets, files that only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import requests
from pydantic import ValidationError

from covid_bert.errors import ParameterError
from covid_bert.pacs.credentials import read_credentials
from covid_bert.pacs.settings import PacsSettings, folder_of, kept_folder, read_settings, write_settings

URL = "https://pacs.example/dicom-web"


@pytest.mark.parametrize("address", [URL, f"{URL}/", f"  {URL} ", "HTTPS://pacs.example/dicom-web"])
def test_one_archive_has_one_address_and_one_folder(address: str) -> None:
    assert PacsSettings(url=address).url == URL
    assert kept_folder(address) == PacsSettings(url=URL).studies
    assert Path(folder_of(address)) == kept_folder(URL)
    assert folder_of("studies") == "studies"


@pytest.mark.parametrize(
    "address",
    [
        "https://anna:geheim@pacs.example/dicom-web",
        "https://geheim@pacs.example/dicom-web",
        "https://pacs.example/dicom-web?token=geheim",
        "https://pacs.example/dicom-web#geheim",
        "https://pacs.example:geheim/dicom-web",
        "https:///geheim",
        "ftp://geheim/dicom-web",
        "https://pacs.example/ge heim",
    ],
)
def test_other_addresses_are_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PacsSettings(url=address)
    assert "geheim" not in str(caught.value)
    if address.startswith("http"):
        with pytest.raises(ParameterError) as refused:
            folder_of(address)
        assert "geheim" not in str(refused.value)


def test_a_folder_belongs_to_one_archive(tmp_path: Path) -> None:
    assert read_settings(tmp_path) is None
    write_settings(tmp_path, PacsSettings(url=URL, cache_megabytes=7))
    write_settings(tmp_path, PacsSettings(url=URL, cache_megabytes=8))
    assert read_settings(tmp_path).cache_megabytes == 8
    with pytest.raises(ParameterError, match="another archive"):
        write_settings(tmp_path, PacsSettings(url="https://other.example/dicom-web"))


def _sent(auth) -> str:
    return requests.Request("GET", URL, auth=auth).prepare().headers.get("Authorization", "")


def _file(folder: Path, text: str, mode: int = 0o600) -> PacsSettings:
    path = folder / "login.toml"
    path.write_text(text)
    path.chmod(mode)
    return PacsSettings(url=URL, credentials=path)


def test_credentials_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    user = _file(tmp_path, 'user = "anna"\npassword = "gehëim"')
    assert _sent(read_credentials(user, {})).startswith("Basic ")
    assert _sent(read_credentials(_file(tmp_path, 'token = "abc"'), {})) == "Bearer abc"
    environment = {"COVID_BERT_PACS_TOKEN": "def"}
    assert _sent(read_credentials(PacsSettings(url=URL), environment)) == "Bearer def"
    assert _sent(read_credentials(_file(tmp_path, 'token = "abc"'), environment)) == "Bearer abc", "the file's own"
    assert read_credentials(PacsSettings(url=URL), {}) is None


@pytest.mark.parametrize(
    "text",
    [
        'user = "geheim"',
        'token = "geheim"\nuser = "geheim"',
        "geheim",
        "",
        'user = 5\npassword = "geheim"',
        'x = "geheim"',
    ],
)
def test_unclear_files_are_refused_without_being_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(ParameterError) as caught:
        read_credentials(_file(tmp_path, text), {})
    assert "geheim" not in f"{caught.value} {caught.value.__cause__}"
    assert "login.toml" in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="chmod 600"):
        read_credentials(_file(tmp_path, 'token = "abc"', 0o644), {})
    with pytest.raises(ParameterError, match="cannot be read"):
        read_credentials(PacsSettings(url=URL, credentials=tmp_path / "none"), {})
