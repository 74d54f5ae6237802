"""The parameters that a request for a training may carry, checked before anything is computed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from covid_bert.errors import ParameterError

TRAINERS = ("lungs", "covid_s1", "covid_s2", "covid_baseline")


class TrainingParameters(BaseModel):
    """Parameters of one training.

    Parameters
    ----------
    readers
        Rule for cases with labels of several readers: ``newest``, ``majority`` or ``expert:NAME`` (of a token).
    epochs
        At most; training ends early where validation does not gain any more.
    patience
        Epochs without gain before it ends.
    seed
        Of everything drawn.
    device
        ``auto``, ``cpu`` or ``cuda``.
    precision
        Of the forward pass: ``auto`` is bfloat16 where the device computes in it.
    accumulation
        Mini-batches behind one step.
    scope
        For the classifiers: ``whole`` trains the networks on images too, ``aggregator`` only what reads their
        embeddings, ``auto`` the whole where there are enough labels.
    publish
        Whether a version that passes the gate goes live at once; if not, it stays a candidate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    readers: str = Field(default="newest", pattern=r"^(newest|majority|expert:[A-Za-z0-9._-]{1,64})$")
    epochs: int = Field(default=20, ge=1, le=1000)
    patience: int = Field(default=5, ge=1, le=1000)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    accumulation: int = Field(default=1, ge=1, le=64)
    scope: Literal["auto", "whole", "aggregator"] = "auto"
    publish: bool = True

    @classmethod
    def of_request(cls, request: dict[str, Any]) -> TrainingParameters:
        """Check a request.

        Raises
        ------
        ParameterError
            Naming the first parameter that is not known, or has a value that is not allowed.
        """
        for key in request:
            if key not in cls.model_fields:
                raise ParameterError(
                    "The request has a parameter that trainings do not know.",
                    f"They know: {', '.join(sorted(cls.model_fields))}.",
                )
        try:
            return cls.model_validate(request)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise ParameterError(
                f"The value of the parameter {name} is not allowed.", f"{first['msg']}, or leave it out."
            ) from error
