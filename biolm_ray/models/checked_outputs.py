"""Whether a model's forward pass returns what the core takes it to return."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from biolm_ray.errors import BiolmError, ConfigError
from biolm_ray.models.registry import used_plugin


def check_outputs(
    module: nn.Module,
    name: str,
    num_outputs: int,
    plugin: str | None = None,
    kind: type[BiolmError] = ConfigError,
) -> None:
    """Have every forward pass of a module checked, wherever it is called, copies included.

    A wrong output would else fail far from the model that made it, or give a number that means
    nothing.

    Args:
        module: Predicts; one with a language-model head returns something else.
        name: Of the model.
        num_outputs: Of each row.
        plugin: That the model may come from, for the message.
        kind: Of error to raise.
    """
    who = f"model {name}" + (f" of plugin {plugin}" if used_plugin(name, plugin) else "")
    module.register_forward_hook(partial(_check, who, num_outputs, kind))


def _check(
    who: str, num_outputs: int, kind: type[BiolmError], module: nn.Module, inputs: Any, output: Any
) -> None:
    rows = len(inputs[0])
    if not isinstance(output, Tensor):
        found = f"a {type(output).__name__}" if output is not None else "None"
    elif output.shape != (rows, num_outputs):
        found = f"a tensor of shape {tuple(output.shape)}"
    elif not torch.is_floating_point(output):
        found = f"a tensor of {str(output.dtype).removeprefix('torch.')}"
    else:
        return
    raise kind(
        f"{who}: its forward pass returned {found}; it should return a tensor of floating-point "
        f"numbers of shape ({rows}, {num_outputs}), sequences x outputs"
    )
