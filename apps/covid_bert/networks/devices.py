"""Where networks compute."""

from __future__ import annotations

import torch

from covid_bert.errors import ParameterError


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; ``auto`` is the first CUDA device, else the CPU.

    Raises
    ------
    ParameterError
        If there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = "cuda:0"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ParameterError(f"There is no device {name!r}.", "Use auto, cpu, cuda or cuda:0.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ParameterError(f"This machine has no device {name!r}.", "Choose the device cpu, or auto.")
    if device.type not in {"cpu", "cuda"}:
        raise ParameterError(f"The device {name!r} is not supported.", "Use auto, cpu, cuda or cuda:0.")
    if device.type == "cuda":
        # cuDNN would silently round single precision to ten bits; bfloat16 is chosen openly where it is wanted.
        torch.backends.cudnn.allow_tf32 = False
    return device


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the processor has instructions for it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    abilities = torch.cpu.get_capabilities()
    return torch.bfloat16 if abilities.get("avx512_bf16") or abilities.get("amx_bf16") else torch.float32
