"""The last layer of a BERT for the first token alone, the only one its sequence head reads."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from biolm_ray.models.wrapping import WrappedNetwork


def first_row_shortcut(module: nn.Module) -> AbstractContextManager[None] | None:
    """Give a context in which passes leave out what no output depends on, where that is known."""
    assert isinstance(module, WrappedNetwork)
    network: Any = module.network
    if type(network).__name__ != "BertForSequenceClassification" or network.config.is_decoder:
        return None
    return _shortened(network.bert.encoder.layer[-1])


@contextmanager
def _shortened(layer: Any) -> Iterator[None]:
    layer.forward = partial(_first_row, layer, layer.forward)
    try:
        yield
    finally:
        del layer.forward


def _first_row(
    layer: Any, whole: Any, hidden: Tensor, mask: Tensor | None, *args: Any, **more: Any
) -> Tensor:
    """Run a layer for the first row of every sequence; a padded batch takes the whole layer."""
    if mask is not None or layer.training:
        return whole(hidden, mask, *args, **more)
    attention = layer.attention.self
    size = attention.attention_head_size

    def heads(rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (-1, size)).transpose(1, 2)

    first = hidden[:, :1]
    attended = F.scaled_dot_product_attention(
        heads(attention.query(first)),
        heads(attention.key(hidden)),
        heads(attention.value(hidden)),
        scale=attention.scaling,
    )
    rows = layer.attention.output(attended.transpose(1, 2).flatten(2), first)
    return layer.feed_forward_chunk(rows)
