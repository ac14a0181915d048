"""Leave-one-out scores: what each edit of a sequence does to the prediction."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int

from biolm_ray.config.schema import InterpretConfig
from biolm_ray.errors import ConfigError
from biolm_ray.inference.alphabet import inserted_ids, saturating_choices
from biolm_ray.inference.perturb import (
    Edits,
    Source,
    Variants,
    edited_plainly,
    plan_insertions,
    plan_masks,
    plan_removals,
    plan_substitutions,
    spread_scores,
    stream_variants,
)
from biolm_ray.inference.replacements import readable_vocabulary, replacement_ids
from biolm_ray.models.batches import Framing, collate, crop
from biolm_ray.models.saved import SavedModel
from biolm_ray.models.spec import Batch
from biolm_ray.tokenization.tokenizer import Encoded, Tokenizer
from biolm_ray.training.evaluate import to_predictions

Planner = Callable[[Source], Edits]

BATCH_TOKENS = 16_384
NUM_CHECKS = 3


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of one sequence, a row for every edit.

    Attributes:
        positions: First edited token, 0-based in the whole sequence, also where the model sees
            only a part of it.
        token_ids: The edited tokens, or where none is taken out the one before which new ones are
            put; -1 behind the last.
        new_ids: What was put in their place; None for removals.
        start_offsets, end_offsets: Half-open, counted in letters from the start of the sequence.
        original: Prediction of the unedited sequence: one value in original units, or the
            probability of each class.
        loo: Prediction of the edited sequence minus that of the original.
        loo_model: The same difference of the model's own outputs: scaled values, or logits.
        loo_std: Standard deviation over models; None for a single model.
        largest_difference: Largest deviation of a score from its independent recomputation.
    """

    positions: Int[np.ndarray, " rows"]
    token_ids: Int[np.ndarray, "rows edited"]
    new_ids: Int[np.ndarray, "rows inserted"] | None
    start_offsets: Int[np.ndarray, " rows"]
    end_offsets: Int[np.ndarray, " rows"]
    original: Float[np.ndarray, " targets"]
    loo: Float[np.ndarray, "rows targets"]
    loo_model: Float[np.ndarray, "rows targets"]
    loo_std: Float[np.ndarray, "rows targets"] | None = None
    largest_difference: float = 0.0


def score_sequence(
    model: SavedModel,
    encoded: Encoded,
    plan: Planner,
    *,
    batch_tokens: int = BATCH_TOKENS,
    num_checks: int = NUM_CHECKS,
    device: torch.device | str = "cpu",
) -> Scores:
    """Score every edit of one sequence with one model.

    Args:
        model: In evaluation mode, on `device`.
        encoded: The whole sequence, not cropped.
        plan: Chooses the edits (see `make_planner`).
        batch_tokens: Most tokens in one forward pass; memory grows with it.
        num_checks: Edits that are computed a second time, each on its own.
        device: Where the module's weights are.
    """
    source = source_of(encoded, model.framing)
    edits = plan(source)
    alone = _outputs_alone(model, encoded, device)
    original = to_predictions(alone[None], model.card.targets)[0]
    outputs = predict_edits(model, edits, batch_tokens=batch_tokens, device=device)
    edited = to_predictions(outputs, model.card.targets)
    letters = np.concatenate([[0], np.cumsum(model.tokenizer.num_letters(source.token_ids))])
    scores = Scores(
        positions=edits.positions,
        token_ids=_edited_ids(edits),
        new_ids=edits.new_ids,
        start_offsets=letters[edits.positions],
        end_offsets=letters[edits.positions + edits.num_removed],
        original=original,
        loo=spread_scores(edits, edited - original),
        loo_model=spread_scores(edits, outputs - alone),
    )
    difference = _largest_difference(model, edits, scores, num_checks, device)
    return replace(scores, largest_difference=difference)


def source_of(encoded: Encoded, framing: Framing) -> Source:
    """Bring a sequence together with the way a model crops it."""
    return Source(
        token_ids=encoded.token_ids,
        specifiers=encoded.specifiers,
        center=encoded.center,
        room=framing.room,
        cut_side=framing.cut_side,
        spare_side=framing.spare_side,
    )


def make_planner(settings: InterpretConfig, tokenizer: Tokenizer) -> Planner:
    """Choose how the edits that the settings ask for are planned.

    Raises:
        ConfigError: The tokenizer has no mask, or lacks the tokens that are named.
    """
    if settings.edit == "remove":
        return partial(plan_removals, window=settings.window)
    if settings.edit == "mask":
        if "[MASK]" not in tokenizer.special_ids:
            raise ConfigError(
                "handletokens: mask needs a [MASK] token, which this model's tokenizer lacks; "
                "use remove or replace"
            )
        mask_id = tokenizer.special_ids["[MASK]"]
        return partial(plan_masks, mask_id=mask_id, window=settings.window)
    if settings.edit == "insert":
        return partial(plan_insertions, token_ids=inserted_ids(settings.alphabet, tokenizer))
    if settings.edit == "saturation":
        choices = saturating_choices(settings.alphabet, tokenizer)
    else:
        pairs = replacement_ids(settings.replacements, readable_vocabulary(tokenizer))
        choices = {old: (new,) for old, new in pairs.items()}
    return partial(plan_substitutions, choices=choices, drop_specifiers=settings.replace_specifiers)


def _edited_ids(edits: Edits) -> Int[np.ndarray, "rows edited"]:
    ids = np.append(edits.source.token_ids.astype(np.int64), -1)
    return ids[edits.positions[:, None] + np.arange(max(1, edits.num_removed))]


def frame_variants(variants: Variants, framing: Framing) -> Batch:
    """Put special tokens around variants; all are equally long, so nothing is padded."""
    num_rows, width = variants.token_ids.shape
    before, after = len(framing.prefix_ids), len(framing.suffix_ids)
    token_ids = np.empty((num_rows, before + width + after), dtype=np.int64)
    token_ids[:, :before] = framing.prefix_ids
    token_ids[:, before : before + width] = variants.token_ids
    token_ids[:, before + width :] = framing.suffix_ids
    specifiers = None
    if variants.specifiers is not None:
        padded = np.pad(variants.specifiers, ((0, 0), (before, after), (0, 0)))
        specifiers = torch.from_numpy(padded.astype(np.float32))
    return Batch(
        token_ids=torch.from_numpy(token_ids),
        lengths=torch.full((num_rows,), token_ids.shape[1]),
        specifiers=specifiers,
    )


def predict_edits(
    model: SavedModel, edits: Edits, *, batch_tokens: int, device: torch.device | str
) -> Float[np.ndarray, "distinct outputs"]:
    """Give the model's outputs, in its own units, for every distinct edited sequence."""
    framing = model.framing
    length = len(framing.prefix_ids) + edits.width + len(framing.suffix_ids)
    rows_at_once = max(1, batch_tokens // max(1, length))
    parts = [
        _outputs(model, frame_variants(variants, framing), device)
        for variants in stream_variants(edits, rows_at_once)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, model.card.targets.num_outputs))


def _outputs_alone(
    model: SavedModel, encoded: Encoded, device: torch.device | str
) -> Float[np.ndarray, " outputs"]:
    return _outputs(model, collate([crop(encoded, model.framing)], model.framing), device)[0]


def _outputs(
    model: SavedModel, batch: Batch, device: torch.device | str
) -> Float[np.ndarray, "rows outputs"]:
    """What the model puts out, as float64 before any difference is taken."""
    moved = (batch if batch.token_ids.shape[1] else _as_padding(batch, model.framing)).to(device)
    with torch.inference_mode():
        outputs = model.module(moved.token_ids, moved.lengths, moved.specifiers)
    return outputs.double().cpu().numpy().reshape(len(moved.lengths), -1)


def _as_padding(batch: Batch, framing: Framing) -> Batch:
    """Stand one padding token in for sequences whose only token was removed."""
    num_rows = len(batch.lengths)
    specifiers = batch.specifiers
    return Batch(
        token_ids=torch.full((num_rows, 1), framing.pad_id),
        lengths=torch.ones(num_rows, dtype=torch.int64),
        specifiers=None
        if specifiers is None
        else specifiers.new_zeros(num_rows, 1, specifiers.shape[2]),
    )


def _largest_difference(
    model: SavedModel,
    edits: Edits,
    scores: Scores,
    num_checks: int,
    device: torch.device | str,
) -> float:
    """Recompute a few scores, each alone and by the plainest editing there is."""
    differences = [0.0]
    for row in _rows_to_check(edits, num_checks):
        edited = edited_plainly(edits, int(row))
        outputs = _outputs_alone(model, edited, device)
        score = to_predictions(outputs[None], model.card.targets)[0] - scores.original
        differences.append(float(np.abs(score - scores.loo[row]).max()))
    return max(differences)


def _rows_to_check(edits: Edits, num_checks: int) -> Int[np.ndarray, " checks"]:
    """The first row, the last, the end of the first run of equals, then any others."""
    num_rows = len(edits.positions)
    duplicates = np.flatnonzero(edits.same_as != np.arange(num_rows))
    drawn = np.random.default_rng(num_rows).permutation(num_rows)
    wanted = np.concatenate(
        [np.arange(num_rows)[[0, -1] if num_rows else []], duplicates[:1], drawn]
    )
    return wanted[np.sort(np.unique(wanted, return_index=True)[1])][:num_checks]
