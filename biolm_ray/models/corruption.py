"""What a language model has to guess: drawn on the CPU, the same whatever computes it."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MASKED_SHARE = 0.15
SPAN_SHARE = 1 / 6
LONGEST_SPAN = 5
IGNORED = -100


def mask_tokens(
    token_ids: Int[Tensor, "batch length"],
    is_special: Bool[Tensor, "batch length"],
    *,
    mask_id: int,
    ordinary_ids: Int[Tensor, " vocabulary"],
    generator: torch.Generator,
) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]:
    """Choose 15 % of the tokens, at least one a row, and hide them.

    Of the chosen ones 80 % become [MASK], 10 % another token and 10 % stay.

    Returns:
        The corrupted ids, and the original ids at the chosen places (`IGNORED` elsewhere).
    """
    draws = torch.rand(token_ids.shape, generator=generator).masked_fill(is_special, 2.0)
    lowest = draws.argmin(dim=1, keepdim=True)
    chosen = (draws < MASKED_SHARE).scatter(1, lowest, True) & ~is_special
    fate = torch.rand(token_ids.shape, generator=generator)
    drawn = torch.randint(len(ordinary_ids), token_ids.shape, generator=generator)
    corrupted = torch.where(chosen & (fate < 0.8), mask_id, token_ids)
    corrupted = torch.where(chosen & (fate >= 0.9), ordinary_ids[drawn], corrupted)
    return corrupted, token_ids.masked_fill(~chosen, IGNORED)


def choose_spans(
    is_special: Bool[Tensor, "batch length"], generator: torch.Generator
) -> Bool[Tensor, "batch length"]:
    """Choose spans of 1 to 5 tokens, about a sixth of all and at least one token a row.

    Each span lies at a random place within a stretch six times its length.
    """
    num_rows, length = is_special.shape
    spans = torch.randint(1, LONGEST_SPAN + 1, (num_rows, length), generator=generator)
    stretches = (spans / SPAN_SHARE).round().long()
    room = stretches - spans + 1
    ahead = (torch.rand(spans.shape, generator=generator) * room).long()
    starts = torch.cumsum(stretches, dim=1) - stretches + ahead
    edges = torch.zeros(num_rows, int(stretches.sum(1).max()) + 1, dtype=torch.long)
    edges.scatter_add_(1, starts, torch.ones_like(starts))
    edges.scatter_add_(1, starts + spans, -torch.ones_like(starts))
    chosen = (edges.cumsum(1)[:, :length] > 0) & ~is_special
    draws = torch.rand(is_special.shape, generator=generator).masked_fill(is_special, 2.0)
    fallback = torch.zeros_like(chosen).scatter(1, draws.argmin(dim=1, keepdim=True), True)
    none = ~chosen.any(dim=1, keepdim=True)
    return chosen | (none & fallback & ~is_special)


def permutation_inputs(
    chosen: Bool[Tensor, "batch length"], generator: torch.Generator
) -> tuple[Float[Tensor, "batch length length"], Float[Tensor, "batch predicted length"]]:
    """Draw the order in which the chosen tokens are guessed.

    Returns:
        The permutation mask, 1 where row i must not see column j: a chosen token that comes no
        earlier in the order. The target mapping, one one-hot row for each chosen token in the
        order of positions, zero rows where a sequence has fewer than others.
    """
    order = torch.rand(chosen.shape, generator=generator).masked_fill(~chosen, -1.0)
    hidden = (order[:, :, None] <= order[:, None, :]) & chosen[:, None, :]
    number = chosen.long().cumsum(1) - 1
    mapping = torch.zeros(len(chosen), int(chosen.sum(1).max()), chosen.shape[1])
    rows, positions = torch.nonzero(chosen, as_tuple=True)
    mapping[rows, number[rows, positions], positions] = 1.0
    return hidden.float(), mapping
