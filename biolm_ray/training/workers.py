"""The workers that train one model together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Workers:
    """This worker's place among those that train the same model.

    With one worker nothing is communicated and no process group is needed.

    Attributes:
        must_leave: Tells whether a machine of theirs will be taken away soon, so that a checkpoint
            should be written now.
    """

    rank: int = 0
    size: int = 1
    device: torch.device | str = "cpu"
    must_leave: Callable[[], bool] = lambda: False

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share_of(self, items: list) -> list:
        """Deal out a list: this worker takes every `size`-th item from its rank on."""
        return items[self.rank :: self.size]

    def sum_gradients(self, module: nn.Module) -> None:
        """Add up the gradients of all workers in one message.

        Every worker divides its loss by the weight of the whole step beforehand, so the sum is
        the gradient of the step, also when a worker had no rows in it.
        """
        if self.size == 1:
            return
        parameters = [p for p in module.parameters() if p.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
        dist.all_reduce(flat)
        for parameter, total in zip(
            parameters, flat.split([p.numel() for p in parameters]), strict=True
        ):
            parameter.grad = total.view_as(parameter)

    def gather(self, value: Any) -> list[Any]:
        """Give every worker the values of all, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values
