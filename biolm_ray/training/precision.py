"""In which numbers a training computes."""

from contextlib import AbstractContextManager
from typing import Literal

import torch

from biolm_ray.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]


def uses_bf16(precision: Precision, device: torch.device | str) -> bool:
    """Tell whether matrix products are made in bfloat16; weights and sums stay in float32.

    "auto" does so on GPUs that have it.

    Raises:
        ConfigError: It is asked for on a GPU that has none.
    """
    if precision == "fp32":
        return False
    if torch.device(device).type != "cuda":
        return precision == "bf16"
    has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not has_it:
        raise ConfigError(
            f"training.precision bf16: a {torch.cuda.get_device_name(device)} does not compute in "
            "bfloat16; set it to auto or fp32"
        )
    return has_it


def computing_in(bf16: bool, device: torch.device | str) -> AbstractContextManager:
    """Let the forward passes of a block compute in bfloat16, or as the weights are."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=bf16)
