"""What is minimized: one loss to a row, in model units."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

LossKind = Literal["mse", "huber", "mae"]

_ELEMENTWISE: dict[LossKind, Callable[..., Tensor]] = {
    "mse": functional.mse_loss,
    "huber": functional.huber_loss,
    "mae": functional.l1_loss,
}


def regression_losses(
    kind: LossKind,
    outputs: Float[Tensor, "rows targets"],
    labels: Float[Tensor, "rows targets"],
) -> Float[Tensor, " rows"]:
    """Give the loss of each row, the mean over its targets.

    Huber is half the square of an error up to 1 in model units, and linear beyond (delta 1).
    """
    return _ELEMENTWISE[kind](outputs, labels.to(outputs.dtype), reduction="none").mean(dim=1)


def class_losses(
    outputs: Float[Tensor, "rows classes"], class_numbers: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """Give the cross entropy of each row in nats."""
    return functional.cross_entropy(outputs, class_numbers, reduction="none")
