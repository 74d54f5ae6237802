"""The parameters that a request to an infer task may carry, checked before anything is computed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from covid_bert.errors import ParameterError


class InferParameters(BaseModel):
    """Parameters of one request.

    Keys that MONAI Label's server or its clients add for themselves are left out without a word; everything that
    reaches a task is checked here.

    Parameters
    ----------
    image
        File or folder of the study, as the server resolved it; empty if it knows none of that id.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    system
        For the combined task only: which system classifies.
    configuration
        ``corrected`` or ``published``.
    lungs
        Method that segments the lungs.
    reply_image
        For the classification tasks: which image is sent along with the JSON: the lung mask, the location map
        (0 ... 255) or none. MONAI Label's own clients cannot read a reply without an image.
    result_extension
        Format of the image that is sent back.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    image: str = ""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")
    system: Literal["s1", "s2", "baseline"] = "s1"
    configuration: Literal["corrected", "published"] = "corrected"
    lungs: Literal["morphological", "r231"] = "morphological"
    reply_image: Literal["lungs", "location", "none"] = "lungs"
    result_extension: Literal[".nii.gz", ".nii", ".nrrd", ".mha"] = ".nii.gz"

    @classmethod
    def of_request(cls, request: dict[str, Any], defaults: dict[str, Any]) -> InferParameters:
        """Check a request.

        Raises
        ------
        ParameterError
            Naming the first parameter that is not allowed, and what is.
        """
        known = {key: request[key] for key in cls.model_fields if request.get(key) not in (None, "")}
        try:
            return cls.model_validate({**defaults, **known})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise ParameterError(f"The parameter {name} is not allowed: {first['msg']}.", "Leave it out.") from error
