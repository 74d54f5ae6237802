"""Kinds of values in the server's configuration, each with what it may be."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

from covid_bert.pacs.settings import check_address


def _list(value: Any) -> Any:
    """A list from the environment is one text with commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _host_name(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", name) is None:
        raise ValueError("a host is a name or an address, without port")
    return name.lower()


def _origin(origin: str) -> str:
    parts = urlsplit(origin)
    if parts.scheme not in {"http", "https"} or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("an origin is https://name or https://name:port")
    return origin.lower()


def _root_path(path: str) -> str:
    if path and re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path) is None:
        raise ValueError("a root path is like /covid-bert, without a slash at its end")
    return path


Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host_name)], ...], BeforeValidator(_list)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_list)]


def _proxy(address: str) -> str:
    return str(ipaddress.ip_network(address, strict=False)) if "/" in address else str(ipaddress.ip_address(address))


Proxies = Annotated[tuple[Annotated[str, AfterValidator(_proxy)], ...], BeforeValidator(_list)]


def _path(value: Any) -> Path:
    # Pydantic takes an empty text for the working directory.
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError("a path is a text that is not empty")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError("there is no such home folder") from error


FilePath = Annotated[Path, BeforeValidator(_path)]


def _folder(path: Path) -> Path:
    # An address is `pacs`; `load` takes one for it.
    if "://" in str(path) or re.match(r"https?:/", str(path)):
        raise ValueError("studies lie in a folder, or in an archive with an http or https address")
    return path


HostName = Annotated[str, AfterValidator(_host_name)]
RootPath = Annotated[str, AfterValidator(_root_path)]
Folder = Annotated[FilePath, AfterValidator(_folder)]
ArchiveAddress = Annotated[str, AfterValidator(check_address)]
