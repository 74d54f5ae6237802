"""Checks of an inference request before anything is read or computed."""

from __future__ import annotations

import json
from typing import Any

from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.interfaces.datastore import Datastore

from covid_bert.errors import ParameterError

LONGEST_NAME = 200
_KINDS: dict[str, tuple[type, str]] = {
    "model": (str, "text"),
    "image": (str, "text"),
    "label_tag": (str, "text"),
    "save_label": (bool, "true or false"),
}
_OUTPUTS = "Ask for output=json, output=image or output=all."


def check_infer_request(
    datastore: Datastore,
    *,
    image: str = "",
    session_id: str = "",
    params: str = "{}",
    file: Any = None,
    label: Any = None,
    output: Any = None,
) -> dict[str, Any]:
    """Refuse requests that MONAI Label would answer with an internal error, some after the whole computation.

    Parameters
    ----------
    datastore
        The server's studies.
    image, session_id, params, file, label, output
        As in MONAI Label's ``POST /infer/{model}``.

    Returns
    -------
    dict
        What ``params`` holds.

    Raises
    ------
    ParameterError
        Saying what is missing or does not fit.
    """
    if not (image or session_id or file):
        raise ParameterError("The request names no study.", "Give image, session_id or file.")
    try:
        parameters = json.loads(params or "{}")
    except (ValueError, RecursionError) as error:
        raise ParameterError(
            "The field params is not JSON.", 'Give an object, for example {"system": "s1"}.'
        ) from error
    if not isinstance(parameters, dict):
        raise ParameterError("The field params is not a JSON object.", 'Give an object, for example {"system": "s1"}.')
    for key, (kind, what) in _KINDS.items():
        if not isinstance(parameters.get(key, kind()), kind):
            raise ParameterError(f"The parameter {key} is not {what}.", "Leave it out.")
    if label is not None:
        raise ParameterError("These models take no label with a request.", "Leave the field label out.")
    if file is not None and len(file.filename or "") > LONGEST_NAME:
        raise ParameterError("The name of the uploaded file is too long.", "Give it a short one.")
    wanted = getattr(output, "value", output)
    if wanted == "image" and parameters.get("reply_image") == "none":
        raise ParameterError("The request asks for an image and for none.", _OUTPUTS)
    if wanted == "dicom_seg" and not isinstance(datastore, DICOMWebDatastore):
        raise ParameterError("DICOM SEG needs a server whose studies come from DICOMweb.", _OUTPUTS)
    return parameters
