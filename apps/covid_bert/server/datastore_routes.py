"""MONAI Label's routes of the datastore, checked and typed, and the ones for versions and study labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Form, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel
from starlette.background import BackgroundTask

from covid_bert.datastore.information import LABEL_BYTES, checked
from covid_bert.datastore.names import MASK_SUFFIXES, UPLOAD_SUFFIXES, LabelTag, check_mask_tag, required_suffix
from covid_bert.datastore.sending import is_one_image, told_information
from covid_bert.datastore.store import StudyDatastore
from covid_bert.datastore.study_labels import StudyLabel
from covid_bert.datastore.versions import Version
from covid_bert.errors import NotFoundError, ParameterError
from covid_bert.server.received import received
from covid_bert.server.whole_studies import WholeStudies, remove_written

if TYPE_CHECKING:
    from covid_bert.main import CovidBertApp

_HASHES = ("SHA256", "SHA512", "MD5")
_ANY_FILE = "application/octet-stream"
# With their defaults these are the parameters that MONAI Label has.
Identifier = Annotated[str, Query(max_length=256)]


class Output(str, Enum):
    """What ``GET /datastore/`` lists."""

    TRAIN = "train"
    STATS = "stats"
    ALL = "all"


class VersionList(BaseModel):
    """Versions of a label, the first one first."""

    versions: list[Version]


class StudyLabelReply(BaseModel):
    """The newest study label, and its record."""

    label: StudyLabel
    version: Version


def install(
    app: FastAPI, opened: CovidBertApp, whole: WholeStudies, on_remove: Callable[[], None] = lambda: None
) -> None:
    """Add the routes to an application, which turns `CovidBertError` into replies.

    Nothing is added where the studies come from elsewhere than a folder.

    Parameters
    ----------
    app
        The application.
    opened
        MONAI Label's app, for its datastore.
    whole
        Writes studies in several files as one; closed by the caller.
    on_remove
        Called when a study was removed.
    """
    store = opened.datastore()
    if isinstance(store, StudyDatastore):
        # Plain functions run on threads: disk and locks are never waited for on the event loop.
        _add_reading(app, store, whole)
        _add_versions(app, store)
        _add_writing(app, store, opened)
        _add_removing(app, store, on_remove)


def _add_reading(app: FastAPI, store: StudyDatastore, whole: WholeStudies) -> None:
    @app.get("/datastore/", tags=["Datastore"], summary="List studies and labels", response_model=None)
    def listing(output: Output = Output.STATS) -> Any:
        if output is Output.ALL:
            return Response(store.listing(), media_type="application/json")
        return store.training_list() if output is Output.TRAIN else store.status()

    @app.head("/datastore/image", tags=["Datastore"], summary="Ask whether there is an image", response_model=None)
    def has_image(image: Identifier, check_sum: str | None = None) -> dict[str, Any]:
        path = Path(_found(store.get_image_uri(image)))
        if check_sum and not (path.is_file() and _has_checksum(path, check_sum)):
            raise NotFoundError("The image has another checksum.", "Download it again.")
        return {}

    @app.get("/datastore/image", tags=["Datastore"], summary="Download an image", response_class=FileResponse)
    def image_file(image: Identifier) -> FileResponse:
        path = Path(_found(store.image_with_files(image)))
        if is_one_image(path):
            return FileResponse(path, media_type=_ANY_FILE, filename=path.name)
        written = whole.write(path)
        remove = BackgroundTask(remove_written, written)
        return FileResponse(written, media_type=_ANY_FILE, filename=written.name, background=remove)

    @app.get("/datastore/image/info", tags=["Datastore"], summary="What is known of an image", response_model=None)
    def image_info(image: Identifier) -> dict[str, Any]:
        return told_information(_found(store.get_image_info(image)))

    @app.head("/datastore/label", tags=["Datastore"], summary="Ask whether there is a label", response_model=None)
    def has_label(image: Identifier, tag: str) -> dict[str, Any]:
        _found(store.get_label_uri(image, tag))
        return {}

    @app.get("/datastore/label", tags=["Datastore"], summary="Download a label", response_class=FileResponse)
    def label_file(label: Identifier, tag: str) -> FileResponse:
        shown = Path(_found(store.get_label_uri(label, tag)))
        number = store.get_label_info(label, tag).get("version")
        # The file of a version never changes while it is sent.
        path = shown if number is None else store.version_path(label, tag, number)
        return FileResponse(path, media_type=_ANY_FILE, filename=shown.name)

    @app.get("/datastore/label/info", tags=["Datastore"], summary="What is known of a label", response_model=None)
    def label_info(label: Identifier, tag: str) -> dict[str, Any]:
        return _found(store.get_label_info(label, tag))

    @app.get("/datastore/dataset", tags=["Datastore"], summary="Download the data set", response_class=FileResponse)
    def dataset(limit_cases: Annotated[int | None, Query(ge=1)] = None) -> FileResponse:
        path = Path(store.get_dataset_archive(limit_cases))
        remove = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, media_type="application/zip", filename="dataset.zip", background=remove)


def _add_versions(app: FastAPI, store: StudyDatastore) -> None:
    @app.get("/datastore/label/versions", tags=["Datastore"], summary="List the versions of a label")
    def versions(label: Identifier, tag: str) -> VersionList:
        return VersionList(versions=store.versions(label, tag))

    @app.get("/datastore/label/version", tags=["Datastore"], summary="Download a version", response_class=FileResponse)
    def version(label: Identifier, tag: str, version: Annotated[int, Query(ge=1, le=999_999)]) -> FileResponse:
        path = store.version_path(label, tag, version)
        return FileResponse(path, media_type=_ANY_FILE, filename=path.name)

    @app.get("/datastore/study-label", tags=["Datastore"], summary="What a reader said about a study")
    def study_label(image: Identifier) -> StudyLabelReply:
        label, record = store.study_label(image)
        return StudyLabelReply(label=label, version=record)

    @app.put("/datastore/study-label", tags=["Datastore"], summary="Say something about a study")
    def save_study_label(request: Request, image: Identifier, label: StudyLabel) -> StudyLabelReply:
        return StudyLabelReply(label=label, version=store.save_study_label(image, label, _caller(request)))


def _add_writing(app: FastAPI, store: StudyDatastore, opened: CovidBertApp) -> None:
    @app.put("/datastore/", tags=["Datastore"], include_in_schema=False, response_model=None)
    @app.put("/datastore/image", tags=["Datastore"], summary="Add an image", response_model=None)
    def add_image(
        request: Request, file: UploadFile, image: Identifier = "", params: Annotated[str, Form()] = "{}"
    ) -> dict[str, Any]:
        info = {**_object(params), "user": _caller(request)}
        name = file.filename or ".nii.gz"
        with received(file.file, required_suffix(name, UPLOAD_SUFFIXES)) as path:
            return {"image": store.add_image_named(image, path, Path(name).name, info)}

    @app.put("/datastore/image/info", tags=["Datastore"], summary="Add to what is known", response_model=None)
    def put_image_info(request: Request, image: Identifier, info: Annotated[str, Form()] = "{}") -> None:
        store.update_image_info(image, {**_object(info), "user": _caller(request)})

    @app.put("/datastore/label", tags=["Datastore"], summary="Save a label", response_model=None)
    def save_label(
        request: Request,
        image: Identifier,
        label: UploadFile,
        params: Annotated[str, Form()] = "{}",
        tag: str = LabelTag.FINAL.value,
    ) -> dict[str, Any]:
        kind = check_mask_tag(tag or LabelTag.FINAL)
        # The author is who holds the token, whatever the request says.
        info = {**_object(params), "user": _caller(request)}
        suffix = required_suffix(label.filename or ".nii.gz", MASK_SUFFIXES)
        with received(label.file, suffix) as path:
            saved = store.save_label(image, str(path), kind, info)
        further = opened.on_save_label(image, saved) or {}
        return {**further, "image": image, "label": saved}

    @app.put("/datastore/label/info", tags=["Datastore"], summary="Add to what is known", response_model=None)
    def put_label_info(request: Request, label: Identifier, tag: str, info: Annotated[str, Form()] = "{}") -> None:
        store.update_label_info(label, tag, {**_object(info), "user": _caller(request)})

    @app.put("/datastore/updatelabelinfo", tags=["Datastore"], include_in_schema=False, response_model=None)
    def update_label_info(request: Request, label: Identifier, tag: str, params: Annotated[str, Form()] = "{}") -> None:
        store.update_label_info(label, tag, {**_object(params), "user": _caller(request)})


def _add_removing(app: FastAPI, store: StudyDatastore, on_remove: Callable[[], None]) -> None:
    @app.delete("/datastore/", tags=["Datastore"], include_in_schema=False, response_model=None)
    @app.delete("/datastore/image", tags=["Datastore"], summary="Remove a study", response_model=None)
    def remove_image(id: Identifier) -> dict[str, Any]:
        store.remove_image(id)
        on_remove()
        return {}

    @app.delete("/datastore/label", tags=["Datastore"], summary="Take a label away", response_model=None)
    def remove_label(request: Request, id: Identifier, tag: str) -> dict[str, Any]:
        store.remove_label(id, tag, _caller(request))
        return {}


def _caller(request: Request) -> str:
    return str(request.state.caller.name)


def _found(value: Any) -> Any:
    if not value:
        raise NotFoundError("The server has no such study or label.", "Ask for the list with GET /datastore/.")
    return value


def _object(text: str) -> dict[str, Any]:
    try:
        return checked(json.loads(text or "{}"), LABEL_BYTES)
    except (ValueError, RecursionError) as error:
        raise ParameterError("The information is not JSON.", 'Send an object, for example {"site": "A"}.') from error


def _has_checksum(path: Path, wanted: str) -> bool:
    """Compare with ``ALGORITHM:digits``; digits alone are SHA256."""
    algorithm, found, digits = wanted.rpartition(":")
    name = algorithm if found else "SHA256"
    if name not in _HASHES:
        raise ParameterError("That checksum is not known.", f"Use {', '.join(_HASHES)}.")
    digest = hashlib.new(name)
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest() == digits.lower()
