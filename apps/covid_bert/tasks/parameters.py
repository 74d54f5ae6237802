"""The parameters that a request to an infer task may carry, checked before anything is computed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from covid_bert.errors import ParameterError

# What MONAI Label's server and its clients put into every request for their own purposes.
FOREIGN_KEYS = frozenset(
    {
        *("model", "description", "client_id", "session", "label", "label_tag", "save_label", "labels", "label_info"),
        *("result_dtype", "result_compress", "result_write_to_file", "restore_label_idx", "logging", "timeout"),
        *("images", "max_batch_size", "max_workers", "multi_gpu", "gpus", "user", "cache_transforms", "output"),
    }
)


class InferParameters(BaseModel):
    """Parameters of one request.

    Parameters
    ----------
    image
        File or folder of the study, as the server resolved it; empty if it knows none of that id.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    system
        For the combined task only: which system classifies.
    configuration
        ``small``, ``corrected`` or ``published``; ``auto``: see `covid_bert.systems.default_configuration`.
    lungs
        Method that segments the lungs.
    reply_image
        For the classification tasks: which image is sent along with the JSON: the mask of the lungs or of the
        lesions, the location map (0 ... 255) or none; in a job also all of them. MONAI Label's own clients cannot read
        a reply without an image.
    result_extension
        Format of the image that is sent back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = ""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")
    system: Literal["s1", "s2", "baseline"] = "s1"
    configuration: Literal["auto", "small", "corrected", "published"] = "auto"
    lungs: Literal["auto", "unet", "morphological", "r231"] = "auto"
    reply_image: Literal["lungs", "lesions", "location", "none", "all"] = "lungs"
    result_extension: Literal[".nii.gz", ".nii", ".nrrd", ".mha"] = ".nii.gz"

    @property
    def chosen_device(self) -> str:
        """The device, where ``cuda`` is whatever there is: MONAI Label's clients ask for it by habit.

        A numbered card that is not there stays an error.
        """
        return "auto" if self.device == "cuda" else self.device

    @classmethod
    def of_request(cls, request: dict[str, Any], allowed: frozenset[str]) -> InferParameters:
        """Check a request.

        Parameters
        ----------
        request
            As MONAI Label hands it to a task.
        allowed
            The parameters that the task has, beside ``image`` and ``device``.

        Raises
        ------
        ParameterError
            Naming the first parameter that is not known, or has a value that is not allowed.
        """
        given = {key: value for key, value in request.items() if key not in FOREIGN_KEYS and not key.startswith("_")}
        for key in given:
            if key not in allowed | {"image", "device"}:
                known = ", ".join(sorted(allowed | {"device"}))
                raise ParameterError(
                    "The request has a parameter that this model does not know.", f"It knows: {known}."
                )
        try:
            return cls.model_validate({key: value for key, value in given.items() if value not in (None, "")})
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            hint = "Use auto, cpu, cuda or cuda:0." if name == "device" else f"{first['msg']}, or leave it out."
            raise ParameterError(f"The value of the parameter {name} is not allowed.", hint) from error
