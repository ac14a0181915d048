"""Leave-one-out scores: what each edit of a sequence does to the prediction."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int

from biolm_ray.config.schema import InterpretConfig
from biolm_ray.errors import ConfigError
from biolm_ray.inference.alphabet import inserted_ids, saturating_choices
from biolm_ray.inference.batched import EDIT_BATCH_TOKENS, plain_outputs
from biolm_ray.inference.edit_outputs import NUM_CHECKS, predict_edits
from biolm_ray.inference.perturb import (
    Edits,
    Source,
    plan_insertions,
    plan_masks,
    plan_removals,
    plan_substitutions,
    spread_scores,
)
from biolm_ray.inference.replacements import readable_vocabulary, replacement_ids
from biolm_ray.inference.self_check import CheckedStack
from biolm_ray.models.saved import SavedModel
from biolm_ray.tokenization.tokenizer import Encoded, Tokenizer
from biolm_ray.training.evaluate import to_predictions

Planner = Callable[[Source], Edits]
Predictions = Float[np.ndarray, "rows targets"]


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
        redone: How many models' fast path was found wrong, so that whole passes took its place.
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
    redone: int = 0


def score_sequence(
    model: SavedModel,
    encoded: Encoded,
    plan: Planner,
    *,
    stack: CheckedStack | None = None,
    batch_tokens: int = EDIT_BATCH_TOKENS,
    num_checks: int = NUM_CHECKS,
    device: torch.device | str = "cpu",
) -> Scores:
    """Score every edit of one sequence with one model.

    Args:
        model: In evaluation mode, on `device`.
        encoded: The whole sequence, not cropped.
        plan: Chooses the edits (see `make_planner`).
        stack: The model's, checked once for many sequences; unset, it is checked for this one.
        batch_tokens: Most tokens in one pass; on a GPU, in the first, which tells how many fit.
        num_checks: Edits that are computed a second time, from plainly edited sequences.
        device: Where the module's weights are.
    """
    source = source_of(encoded, model)
    edits = plan(source)
    unedited = plain_outputs(model, [encoded], device)[0]
    edited = predict_edits(
        model,
        edits,
        unedited,
        stack=stack,
        batch_tokens=batch_tokens,
        num_checks=num_checks,
        device=device,
    )
    original = _predictions(model, unedited[None])[0]
    # Predictions that are no numbers are refused by whoever writes the scores.
    with np.errstate(invalid="ignore"):
        loo = spread_scores(edits, _predictions(model, edited.outputs) - original)
        again = _predictions(model, edited.checked_outputs) - original
        loo_model = spread_scores(edits, edited.outputs - unedited)
        largest_difference = float(np.abs(again - loo[edited.checked]).max(initial=0.0))
    letters = np.concatenate([[0], np.cumsum(model.tokenizer.num_letters(source.token_ids))])
    return Scores(
        positions=edits.positions,
        token_ids=_edited_ids(edits),
        new_ids=edits.new_ids,
        start_offsets=letters[edits.positions],
        end_offsets=letters[edits.positions + edits.num_removed],
        original=original,
        loo=loo,
        loo_model=loo_model,
        largest_difference=largest_difference,
        redone=int(edited.redone),
    )


def source_of(encoded: Encoded, model: SavedModel) -> Source:
    """Bring a sequence together with the way a model crops it."""
    framing, is_center = model.framing, model.tokenizer.is_center
    return Source(
        token_ids=encoded.token_ids,
        specifiers=encoded.specifiers,
        is_center=is_center if is_center.any() else None,
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
        choices = replacement_ids(settings.replacements, readable_vocabulary(tokenizer))
    return partial(plan_substitutions, choices=choices, undecorate=settings.replace_specifiers)


def _edited_ids(edits: Edits) -> Int[np.ndarray, "rows edited"]:
    ids = np.append(edits.source.token_ids.astype(np.int64), -1)
    return ids[edits.positions[:, None] + np.arange(max(1, edits.num_removed))]


def _predictions(model: SavedModel, outputs: Float[np.ndarray, "rows outputs"]) -> Predictions:
    """Give outputs of the model in original units, or as probabilities."""
    predictions = to_predictions(outputs, model.card.targets)
    return predictions.reshape(len(outputs), model.card.targets.num_outputs)
