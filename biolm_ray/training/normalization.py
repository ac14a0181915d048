"""Batch statistics that fit the weights they are used with."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from biolm_ray.errors import ConfigError
from biolm_ray.wording import counted

LEAST_ROWS = 2
"""Rows of which there are statistics."""


def normalizes_over_batch(module: nn.Module) -> bool:
    """Tell whether a module has batch normalization."""
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())


def check_batch_size(module: nn.Module, batch_size: int, num_rows: int) -> None:
    """Refuse batches so small that one of an epoch might have a single row.

    Raises:
        ConfigError: The module normalizes over the batch, and batches are that small, or all the
            rows to train on make no more.
    """
    if not normalizes_over_batch(module):
        return
    if num_rows < LEAST_ROWS:
        raise ConfigError(
            f"{counted(num_rows, 'training row')}: too few for a model with batch normalization, "
            f"which needs {LEAST_ROWS} rows in every batch; give it more rows to train on"
        )
    if batch_size <= LEAST_ROWS:
        raise ConfigError(
            f"batchsize {batch_size} is too small for a model with batch normalization, which "
            f"needs {LEAST_ROWS} rows in every batch; set it to {LEAST_ROWS + 1} or more (gradacc "
            "makes steps of several batches)"
        )


def refit_batch_statistics(module: nn.Module, batches: Iterable[Any], device: Any) -> None:
    """Replace the running means and variances by plain averages over the given batches.

    During training they lag behind the weights, and validation scores jump with them. Dropout
    is off meanwhile. A module without batch normalization is left alone and the batches unread.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        return
    was_training = module.training
    momenta = [layer.momentum for layer in layers]
    module.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    with torch.no_grad():
        for batch in batches:
            moved = batch.to(device)
            module(moved.token_ids, moved.lengths, moved.specifiers)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    module.train(was_training)
