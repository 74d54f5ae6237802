"""Storing results: by C-STORE, with and without TLS, and in a folder; which failures are the destination's."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage
from result_maker import classify, make_study
from router_maker import storing

from covid_bert.errors import OutputError
from covid_bert.pacs.errors import PacsDownError, PacsRefusedError, PacsRejectedError
from covid_bert.report.dicom import dicom_results, read_source, write_objects
from covid_bert.router.sender import EntityDestination, FolderDestination
from orthanc_server import free_port


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("results")
    volume = make_study(folder / "study")
    return write_objects(dicom_results(read_source(volume), volume, classify(volume)), folder / "out", "s1")


def destination(port: int, **options) -> EntityDestination:
    return EntityDestination("127.0.0.1", port, "ARCHIVE", calling_ae_title="COVIDBERT", **options)


def test_objects_are_stored_in_order_and_equal(results: list[Path]) -> None:
    with storing() as (port, received):
        destination(port).store(results, "name")
    sent = [pydicom.dcmread(file) for file in results]
    assert [each.SOPInstanceUID for each in received] == [each.SOPInstanceUID for each in sent]
    assert [_values(each) for each in received] == [_values(each) for each in sent]
    assert [len(each.get("ContentSequence", ())) for each in received] == [
        len(each.get("ContentSequence", ())) for each in sent
    ]


def test_a_destination_that_is_away_may_come_back(results: list[Path]) -> None:
    with pytest.raises(PacsDownError):
        destination(free_port()).store(results, "name")


def test_a_destination_that_does_not_know_us_is_told_apart(results: list[Path]) -> None:
    with storing() as (port, _), pytest.raises(PacsRefusedError):
        EntityDestination("127.0.0.1", port, "WRONG", calling_ae_title="COVIDBERT").store(results, "name")


def test_a_full_destination_is_waited_for_and_a_refused_object_is_not(results: list[Path]) -> None:
    with storing(lambda _: 0xA700) as (port, _), pytest.raises(PacsDownError, match="0xa700"):
        destination(port).store(results, "name")
    with storing(lambda _: 0xA900) as (port, _), pytest.raises(PacsRejectedError, match="0xa900"):
        destination(port).store(results, "name")


def test_a_warning_is_a_success(results: list[Path]) -> None:
    seen = []
    with storing(lambda dataset: seen.append(dataset) or 0xB000) as (port, _):
        destination(port).store(results, "name")
    assert len(seen) == len(results)


def test_a_destination_that_takes_no_such_objects_says_so(results: list[Path]) -> None:
    entity = AE("ARCHIVE")
    entity.add_supported_context(CTImageStorage)
    for sop_class in {pydicom.dcmread(file).SOPClassUID for file in results[1:]}:
        entity.add_supported_context(sop_class)
    entity.remove_supported_context(pydicom.dcmread(results[-1]).SOPClassUID)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        with pytest.raises(PacsRejectedError):
            destination(server.server_address[1]).store(results[-1:] + results[:1], "name")
    finally:
        server.shutdown()


def test_a_folder_gets_the_files_whole_or_not_at_all(results: list[Path], tmp_path: Path) -> None:
    for _ in range(2):
        FolderDestination(tmp_path / "out").store(results, "name")
    found = sorted((tmp_path / "out" / "name").iterdir())
    assert [(path.name, path.read_bytes()) for path in found] == [
        (path.name, path.read_bytes()) for path in sorted(results)
    ]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        FolderDestination(tmp_path / "file").store(results, "name")


def _values(dataset: pydicom.Dataset) -> dict[str, str]:
    """What is in a data set; the encoding of a transfer may leave it open what kind of number a pixel is."""
    return {element.keyword: str(element.value) for element in dataset if element.VR != "SQ"}
