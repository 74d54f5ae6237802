"""Studies in several files are sent as one, on the grid on which their masks lie."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import itk
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from covid_bert.errors import ArchiveError
from covid_bert.phantom import make, write, write_dicom
from covid_bert.volumes import read, read_map, to_gray8
from needed import require_module

SHAPE, SPACING = (24, 32, 36), (5.0, 9.0, 8.0)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "studies"
    folder.mkdir()
    person = make(shape=SHAPE, spacing=SPACING, seed=1, lesions="none")
    write_dicom(person, folder / "series")
    shutil.make_archive(str(folder / "packed"), "zip", folder / "series")
    write(person, folder / "one.nii.gz")
    itk.imwrite(itk.imread(str(write(person, folder.parent / "apart.mha"))), str(folder / "apart.mhd"))
    (folder / "slices").mkdir()
    for number, plane in enumerate(to_gray8(person.volume.array)):
        Image.fromarray(plane).save(folder / "slices" / f"{number:03d}.png")
    (folder / "damaged.zip").write_bytes(b"PK")
    return folder


@pytest.fixture(scope="module")
def client(studies: Path) -> Iterator[TestClient]:
    require_module("monailabel", "pip install 'covid-bert[server]' on Python 3.10 or 3.11")
    from covid_bert.datastore.store import StudyDatastore
    from covid_bert.server import failures
    from covid_bert.server.datastore_routes import install
    from covid_bert.server.whole_studies import WholeStudies

    app, whole = FastAPI(), WholeStudies(10**6)
    failures.install(app)
    store = StudyDatastore(str(studies))
    install(app, SimpleNamespace(datastore=lambda: store), whole)
    yield TestClient(app, raise_server_exceptions=False)
    whole.close()
    store.close()


def left_behind() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("covid-bert-upload-*"))


@pytest.mark.parametrize(("name", "file"), [(name, name) for name in ("series", "slices")] + [
    ("packed", "packed.zip"), ("apart", "apart.mhd")
])  # fmt: skip
def test_a_study_in_several_files_is_one_file(
    client: TestClient, studies: Path, tmp_path: Path, name: str, file: str
) -> None:
    before = left_behind()
    assert client.head(f"/datastore/image?image={name}").status_code == 200
    assert client.head(f"/datastore/image?image={name}&check_sum=0").status_code == 404
    assert client.get(f"/datastore/image/info?image={name}").json()["name"] == f"{name}.nii.gz"
    reply = client.get(f"/datastore/image?image={name}")
    assert reply.status_code == 200
    assert f"{name}.nii.gz" in reply.headers["content-disposition"]
    got = tmp_path / "got.nii.gz"
    got.write_bytes(reply.content)
    # A mask that is drawn on it lies on the study's own grid: so does the image itself.
    study = read(studies / file)
    assert np.array_equal(read_map(got, study), study.array)
    assert left_behind() <= before


def test_what_was_written_for_an_answer_goes_also_where_that_is_a_refusal(client: TestClient) -> None:
    before = left_behind()
    headers = {"Range": "bytes=999999999-"}
    assert client.get("/datastore/image?image=packed", headers=headers).status_code == 416
    assert left_behind() <= before


def test_one_image_is_sent_as_it_is(client: TestClient, studies: Path) -> None:
    assert client.get("/datastore/image?image=one").content == (studies / "one.nii.gz").read_bytes()
    assert client.get("/datastore/image/info?image=one").json()["name"] == "one.nii.gz"


def test_what_cannot_be_read_is_a_sentence_and_leaves_nothing(client: TestClient) -> None:
    before = left_behind()
    reply = client.get("/datastore/image?image=damaged")
    assert reply.json()["detail"]["code"] == ArchiveError.code
    assert left_behind() <= before
