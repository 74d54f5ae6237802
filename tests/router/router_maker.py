"""Studies, senders, destinations and set-ups for tests of the router."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pydicom
from dicom_maker import make_series
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context, evt
from pynetdicom.sop_class import CTImageStorage
from volume_maker import phantom

from covid_bert.router.connections import Peer
from covid_bert.router.receiver import Receiver
from covid_bert.router.spool import Spool, identify

LOCAL = (Peer("PACS", ip_network("127.0.0.1")),)
MEGABYTE = 2**20
_WAIT_SECONDS = 240.0


def wait_until(condition: Callable[[], Any], what: str = "") -> Any:
    """Wait for a condition with a generous end, and return what it gave."""
    end = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"it did not come to be: {what or condition}")


def make_study(folder: Path, harm: str = "", **options) -> list[Path]:
    """A small chest CT study, whose series is described as what it does to those who compute with it."""
    edit = options.pop("edit", None)

    def described(dataset, index):
        dataset.SeriesDescription = harm
        if edit is not None:
            edit(dataset, index)

    return make_series(folder, phantom(), edit=described, **options)


def key_of(files: Sequence[Path]) -> str:
    """The name of a study in the queue."""
    return identify(files[0]).key


def put_all(spool: Spool, files: Sequence[Path], *, transfer: bool = False) -> str:
    """Bring files into a spool, and return the key of their study."""
    for file in files:
        spool.put(file, identify(file), "receiver", keep=True, transfer=transfer)
    return key_of(files)


@contextmanager
def receiving(spool: Spool, **options: Any) -> Iterator[Receiver]:
    """A receiver on this machine."""
    settings = {
        "ae_title": "COVIDBERT",
        "host": "127.0.0.1",
        "port": 0,
        "peers": LOCAL,
        "associations": 4,
        "object_bytes": 8 * MEGABYTE,
        "seconds": 60.0,
        "tls": None,
    }
    receiver = Receiver(spool, **{**settings, **options})
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


def associate(port: int, *, name: str = "PACS", called: str = "COVIDBERT", tls: Any = None) -> Any:
    """An association for CT images with a receiver on this machine."""
    entity = AE(name)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = 60
    contexts = [build_context(CTImageStorage, syntax) for syntax in ALL_TRANSFER_SYNTAXES[:20]]
    contexts.append(build_context("1.2.840.10008.1.1"))
    return entity.associate("127.0.0.1", port, contexts=contexts, ae_title=called, tls_args=tls)


def send(port: int, files: Sequence[Path], **options: Any) -> list[int]:
    """Send files in one association, and return the statuses."""
    association = associate(port, **options)
    assert association.is_established
    try:
        return [association.send_c_store(pydicom.dcmread(file)).get("Status") for file in files]
    finally:
        association.release()


@contextmanager
def storing(answers: Callable[[pydicom.Dataset], int] = lambda _: 0, **options: Any) -> Iterator[tuple[int, list]]:
    """An archive that takes C-STORE, as its port and what it was sent."""
    received: list[pydicom.Dataset] = []

    def store(event):
        # Objects go to files in a process that had a receiver.
        dataset = pydicom.dcmread(event.dataset_path) if event.dataset_path else event.dataset
        dataset.file_meta = event.file_meta
        status = answers(dataset)
        if status == 0:
            received.append(dataset)
        return status

    entity = AE("ARCHIVE")
    entity.require_called_aet = True
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)], **options)
    try:
        yield server.server_address[1], received
    finally:
        server.shutdown()


def write_configuration(folder: Path, **sections: Any) -> Path:
    """Write a TOML file of a router with a small folder of its own and short times; dictionaries become tables."""
    values: dict[str, Any] = {
        "spool": str(folder / "spool"),
        "quiet_seconds": 0.5,
        "reserve_megabytes": 64,
        "retry_seconds": 0.2,
        "longest_retry_minutes": 0.01,
        "log_format": "json",
        **sections,
    }
    plain = [f"{name} = {json.dumps(value)}" for name, value in values.items() if not isinstance(value, dict)]
    tables = []
    for name, table in values.items():
        if isinstance(table, dict):
            tables += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    path = folder / "route.toml"
    path.write_text("\n".join([*plain, *tables]) + "\n")
    return path


def receiver_section(port: int, **options: Any) -> dict[str, Any]:
    return {
        "port": port,
        "object_megabytes": 8,
        "peers": [{"ae_title": "PACS", "address": "127.0.0.1"}],
        **options,
    }


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return json.dumps(value)
