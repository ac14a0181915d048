"""Outputs of a BERT for sequences that are alike, without what they share or no output needs.

A batch of edits of one sequence has few distinct pairs of token and place, and before the first
attention a row depends on nothing else. In the last layer, the sequence head reads one row.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from biolm_ray.models.wrapping import WrappedNetwork

# Share of the places in which the sequences of a batch differ, up to which it is faster to attend
# once to the others. Beyond, scores that are written out would also fill the memory.
MOST_OWN = 1 / 8


def bert_shortcut(module: nn.Module) -> AbstractContextManager[None] | None:
    """Give a context in which a BERT's passes are shorter; None for other networks.

    Batches that are padded, and a module in training mode, are run as ever.
    """
    assert isinstance(module, WrappedNetwork)
    network: Any = module.network
    is_bert = type(network).__name__ == "BertForSequenceClassification"
    if not is_bert or network.config.is_decoder or not len(network.bert.encoder.layer):
        return None
    return _shortened(module)


@contextmanager
def _shortened(module: Any) -> Iterator[None]:
    module.forward = partial(_forward, module, module.forward)
    try:
        yield
    finally:
        del module.forward


def _forward(
    module: Any, whole: Any, token_ids: Tensor, lengths: Tensor, *args: Any, **more: Any
) -> Tensor:
    is_padded = bool((lengths != token_ids.shape[1]).any())
    if is_padded or module.training or more:
        return whole(token_ids, lengths, *args, **more)
    return _logits(module.network, token_ids)


def _logits(network: Any, token_ids: Int[Tensor, "batch length"]) -> Float[Tensor, "batch outputs"]:
    bert = network.bert
    *earlier, last = bert.encoder.layer
    rows, places = _distinct_rows(bert.embeddings, token_ids)
    hidden = _first_layer(earlier[0], rows, places) if earlier else rows[places]
    for layer in earlier[1:]:
        hidden = layer(hidden)
    return network.classifier(bert.pooler(_first_rows(last, hidden)))


def _distinct_rows(
    embeddings: Any, token_ids: Int[Tensor, "batch length"]
) -> tuple[Float[Tensor, "distinct hidden"], Int[Tensor, "batch length"]]:
    """Embed every pair of token and place once; tell which of them stands where."""
    length = token_ids.shape[1]
    pairs = token_ids * length + torch.arange(length, device=token_ids.device)
    distinct, places = pairs.unique(return_inverse=True)
    rows = embeddings(input_ids=distinct[None] // length, position_ids=distinct[None] % length)
    return rows[0], places


def _first_layer(
    layer: Any, rows: Float[Tensor, "distinct hidden"], places: Int[Tensor, "batch length"]
) -> Float[Tensor, "batch length hidden"]:
    """Run the first layer, whose queries, keys and values are those of the distinct rows."""
    attention = layer.attention.self
    size = attention.attention_head_size
    queries, keys, values = (
        project(rows).unflatten(1, (-1, size)).transpose(0, 1)
        for project in (attention.query, attention.key, attention.value)
    )
    queries = queries * attention.scaling
    is_own = (places != places[0]).any(0)
    if is_own.sum() <= MOST_OWN * len(is_own):
        attended = _attend_sharing(queries, keys, values, places, is_own)
    else:
        of_all = (each[:, places] for each in (queries, keys, values))
        attended = F.scaled_dot_product_attention(*of_all, scale=1.0)
    attended = attended.permute(1, 2, 0, 3).flatten(2)
    return layer.feed_forward_chunk(layer.attention.output(attended, rows[places]))


def _attend_sharing(
    queries: Float[Tensor, "heads distinct size"],
    keys: Float[Tensor, "heads distinct size"],
    values: Float[Tensor, "heads distinct size"],
    places: Int[Tensor, "batch length"],
    is_own: Bool[Tensor, " length"],
) -> Float[Tensor, "heads batch length size"]:
    """Attend to the keys that all sequences share once for every distinct query.

    They then count as one key: its score is the logarithm of their summed exponentials, its value
    the mean of theirs by these weights.
    """
    shared, own = places[0, ~is_own], places[:, is_own]
    shared_scores = queries @ keys[:, shared].mT
    shared_values = shared_scores.softmax(-1) @ values[:, shared]
    own_scores = queries[:, places] @ keys[:, own].mT
    as_one = shared_scores.logsumexp(-1)[:, places, None]
    weights = torch.cat([own_scores, as_one], -1).softmax(-1)
    own_part = weights[..., :-1] @ values[:, own]
    return torch.addcmul(own_part, weights[..., -1:], shared_values[:, places])


def _first_rows(
    layer: Any, hidden: Float[Tensor, "batch length hidden"]
) -> Float[Tensor, "batch 1 hidden"]:
    """Run a layer for the first row of every sequence.

    Keys and values are not made: a query goes through the matrix of the keys to the rows
    themselves, and what it attends to through the matrix of the values. The bias of the keys adds
    the same to all scores of a query, and so changes no weight; the weights of a query sum to 1,
    and so the bias of the values is added once.
    """
    attention = layer.attention.self
    by_head = (-1, attention.attention_head_size)
    first = hidden[:, :1]
    queries = attention.query(first).unflatten(2, by_head) * attention.scaling
    onto_rows = attention.key.weight.unflatten(0, by_head)
    scores = torch.einsum("bqns,nsh->bnh", queries, onto_rows) @ hidden.mT
    means = scores.softmax(-1) @ hidden
    onto_values = attention.value.weight.unflatten(0, by_head)
    attended = torch.einsum("bnh,nsh->bns", means, onto_values).flatten(1)
    attended = (attended + attention.value.bias)[:, None]
    return layer.feed_forward_chunk(layer.attention.output(attended, first))
