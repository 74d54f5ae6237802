"""Which archive, as whom, and how much of it is kept here.

No secret is part of the settings: credentials lie in a file of the operator, or in the environment.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from covid_bert.errors import ParameterError
from covid_bert.files import write_private
from covid_bert.weights.location import folder_of_studies

USER_VARIABLE, PASSWORD_VARIABLE, TOKEN_VARIABLE = (f"COVID_BERT_PACS_{name}" for name in ("USER", "PASSWORD", "TOKEN"))
# Hidden: everything in a folder of studies whose name does not begin with a dot is a study.
OWN_FOLDER = ".pacs"
_SETTINGS_NAME = "settings.json"
_SCHEMES = ("http://", "https://")


def is_address(text: object) -> bool:
    """Return whether what names the studies is an address, not a folder."""
    return isinstance(text, str) and text.strip().lower().startswith(_SCHEMES)


def check_address(text: str) -> str:
    """Return the address of a DICOMweb service without a slash at its end.

    Raises
    ------
    ValueError
        If it is none, or holds what must not be shown; the message does not repeat it.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise ValueError("the address of the archive is like https://name/dicom-web") from None
    if not is_address(text) or not parts.hostname or port == 0 or any(sign.isspace() for sign in text.strip()):
        raise ValueError("the address of the archive is like https://name/dicom-web")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "the address of the archive holds a name or password, which others could see: put them into the file that "
            f"pacs_credentials names, or into {USER_VARIABLE} and {PASSWORD_VARIABLE}"
        )
    if parts.query or parts.fragment:
        raise ValueError("the address of the archive ends with its path: no '?' and no '#'")
    return parts.geturl().rstrip("/")


class PacsSettings(BaseModel):
    """An archive and how it is used.

    Parameters
    ----------
    url
        Of its DICOMweb service.
    credentials
        TOML file with ``user`` and ``password``, or ``token``, which only its owner may read; None for the environment.
    certificate
        PEM file that the archive's certificate is checked with; None for those that are known publicly.
    cache_megabytes
        Most of all images together that are kept here, in 2^20 bytes; those of labelled studies not counted.
    cache_hours
        How long images are kept after their last use.
    refresh_seconds
        From one look at the list of series to the next.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(check_address)]
    credentials: Path | None = None
    certificate: Path | None = None
    cache_megabytes: int = Field(default=20_480, ge=1)
    cache_hours: float = Field(default=168.0, gt=0, allow_inf_nan=False)
    refresh_seconds: float = Field(default=5.0, gt=0, allow_inf_nan=False)

    @property
    def studies(self) -> Path:
        """The folder for labels and fetched images, unless the operator names another."""
        return kept_folder(self.url)


def kept_folder(address: str) -> Path:
    """Return the folder for labels and fetched images of an archive, in the program's data folder."""
    with contextlib.suppress(ValueError):
        # Whoever checks the address refuses it.
        address = check_address(address)
    return folder_of_studies("pacs", address)


def write_settings(folder: Path, settings: PacsSettings) -> None:
    """Make a folder of studies that of an archive, for all processes that use it.

    Raises
    ------
    ParameterError
        If it is another archive's: labels of one would be taken for those of the other.
    OSError
        If it cannot be written.
    """
    own = folder / OWN_FOLDER
    known = read_settings(folder)
    if known is not None and known.url != settings.url:
        raise ParameterError(
            f"The folder {folder.name} keeps labels and images of another archive.", "Give each archive its own folder."
        )
    own.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(own / _SETTINGS_NAME, settings.model_dump_json())


def read_settings(folder: Path) -> PacsSettings | None:
    """Return the archive of a folder of studies; None where the studies are the folder's own.

    Raises
    ------
    ParameterError
        If the file is damaged.
    """
    try:
        text = (folder / OWN_FOLDER / _SETTINGS_NAME).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return PacsSettings.model_validate_json(text)
    except ValidationError:
        raise ParameterError(
            f"The file {OWN_FOLDER}/{_SETTINGS_NAME} of the studies is damaged.", "Start the server once more."
        ) from None


def folder_of(studies: str) -> str:
    """Return the folder in which studies are kept: for an archive's address, the one for its labels and images.

    Parameters
    ----------
    studies
        Folder, or address of an archive.

    Raises
    ------
    ParameterError
        If the address is none, or holds a password.
    OSError
        If the folder cannot be made.
    """
    if not is_address(studies):
        return studies
    try:
        settings = PacsSettings(url=studies)
    except ValidationError as error:
        said = error.errors(include_url=False, include_input=False, include_context=False)[0]["msg"]
        raise ParameterError(f"The studies cannot be used: {said.removeprefix('Value error, ')}.", "") from None
    folder = settings.studies
    if read_settings(folder) is None:
        write_settings(folder, settings)
    return str(folder)
