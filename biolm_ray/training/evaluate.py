"""Run a model over rows and turn its outputs into predictions."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from biolm_ray.data.targets import Targets
from biolm_ray.models.batches import Batches
from biolm_ray.models.spec import Batch
from biolm_ray.training.batching import Rows
from biolm_ray.training.halving import run_in_halves

Outputs = Float[np.ndarray, "rows outputs"]
Predictions = Float[np.ndarray, "rows targets"] | Float[np.ndarray, "rows classes"]

PREDICTION_BATCH_TOKENS = 65_536
# Rows that are sorted by length together. They follow each other in `rows`, as they mostly do in
# the file, so that a data set larger than the memory is read once and in order.
ROWS_AT_ONCE = 4096


def length_batches(
    lengths: Int[np.ndarray, " rows"], batch_tokens: int
) -> Iterator[Int[np.ndarray, " batch"]]:
    """Group rows of similar length so that a padded batch holds at most `batch_tokens`.

    A row that is longer on its own makes a batch of one.
    """
    order = np.argsort(lengths, kind="stable")
    ascending = lengths[order]
    start = 0
    while start < len(order):
        most = max(1, batch_tokens // max(1, int(ascending[start])))
        candidates = ascending[start : start + most]
        sizes = candidates * np.arange(1, len(candidates) + 1)
        stop = start + max(1, int(np.searchsorted(sizes, batch_tokens, side="right")))
        yield order[start:stop]
        start = stop


def model_outputs(
    module: nn.Module,
    batches: Batches,
    rows: Rows,
    *,
    num_outputs: int,
    batch_tokens: int = PREDICTION_BATCH_TOKENS,
    device: torch.device | str = "cpu",
) -> Outputs:
    """Give the model's outputs, in its own units and in the order of `rows`.

    Memory holds the tokens of one batch at a time. The module is left in the mode it was in.

    Args:
        module: Is on `device`.
        batches: Makes the batches of the data set, or at least of these rows.
        rows: Which rows of the data set.
        num_outputs: Outputs of the module per row.
        batch_tokens: Most tokens, padding included, of one forward pass.
        device: Where the module is.

    Raises:
        ResourceError: A sequence does not fit into the memory of the device.
    """
    outputs = np.empty((len(rows), num_outputs), dtype=np.float64)
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE]
        cut = list(length_batches(batches.padded_lengths(some), batch_tokens))
        loaded = (batches.load(some[chosen]) for chosen in cut)
        for chosen, found in zip(cut, outputs_of_batches(module, loaded, device), strict=True):
            outputs[first + chosen] = found
    return outputs


def outputs_of_batches(
    module: nn.Module, batches: Iterable[Batch], device: torch.device | str
) -> Iterator[Outputs]:
    """Yield the model's outputs for each batch; the module is left in the mode it was in."""
    was_training = module.training
    module.eval()
    try:
        for batch in batches:
            with torch.inference_mode():
                outputs = run_in_halves(module, batch, device).numpy()
            yield outputs.astype(np.float64)
    finally:
        module.train(was_training)


def to_predictions(outputs: Outputs, targets: Targets) -> Predictions:
    """Regression: values in the units of the labels. Classification: class probabilities."""
    return targets.decode(outputs)
