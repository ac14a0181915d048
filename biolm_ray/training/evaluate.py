"""Run a model over rows and turn its outputs into predictions."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from biolm_ray.data.targets import Targets
from biolm_ray.models.batches import Framing, Row, collate

Outputs = Float[np.ndarray, "rows outputs"]

BATCH_TOKENS = 65_536


def length_batches(
    lengths: Int[np.ndarray, " rows"], batch_tokens: int
) -> Iterator[Int[np.ndarray, " batch"]]:
    """Group rows of similar length so that a padded batch holds at most `batch_tokens`.

    A row that is longer on its own makes a batch of one.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or lengths[order[end]] * (end + 1 - start) > batch_tokens:
            yield order[start:end]
            start = end


def model_outputs(
    module: nn.Module,
    rows: Sequence[Row],
    framing: Framing,
    *,
    num_outputs: int,
    batch_tokens: int = BATCH_TOKENS,
    device: torch.device | str = "cpu",
) -> Float[np.ndarray, "rows outputs"]:
    """Give the model's outputs, in its own units and in the order of `rows`.

    Rows are cropped already. The module is left in the mode it was in.
    """
    outputs = np.empty((len(rows), num_outputs), dtype=np.float64)
    lengths = np.array([len(token_ids) for token_ids, _ in rows], dtype=np.int64)
    was_training = module.training
    module.eval()
    with torch.inference_mode():
        for chosen in length_batches(lengths, batch_tokens):
            batch = collate([rows[i] for i in chosen], framing).to(device)
            result = module(batch.token_ids, batch.lengths, batch.specifiers)
            outputs[chosen] = result.double().cpu().numpy()
    module.train(was_training)
    return outputs


def to_predictions(
    outputs: Float[np.ndarray, "rows outputs"], targets: Targets
) -> Float[np.ndarray, " rows"] | Float[np.ndarray, "rows classes"]:
    """Regression: values in the units of the labels. Classification: class probabilities."""
    return targets.decode(outputs)
