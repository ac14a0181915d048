"""Predictions of edited sequences by whole passes, many at once: the path for every model."""

import numpy as np
import torch
from jaxtyping import Float, Int

from biolm_ray.inference.perturb import Edits, Variants, build_variants
from biolm_ray.models.batches import EncodedSequence, Framing, collate, crop
from biolm_ray.models.saved import SavedModel
from biolm_ray.models.spec import Batch


def outputs_of_rows(
    model: SavedModel,
    edits: Edits,
    rows: Int[np.ndarray, " rows"],
    *,
    batch_tokens: int,
    device: torch.device | str,
) -> Float[np.ndarray, "rows outputs"]:
    """Run a model on the edited sequences of some rows of a plan, at most so many tokens at once.

    Returns:
        In the model's units, as float64.
    """
    length = edits.width + model.framing.num_special
    at_once = max(1, batch_tokens // max(1, length))
    parts = [
        outputs_of_batch(
            model,
            frame_variants(build_variants(edits, rows[start : start + at_once]), model.framing),
            device,
        )
        for start in range(0, len(rows), at_once)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, model.card.targets.num_outputs))


def outputs_alone(
    model: SavedModel, encoded: EncodedSequence, device: torch.device | str
) -> Float[np.ndarray, " outputs"]:
    """Run a model on one sequence, cropped and framed as in training; in the model's units."""
    batch = collate([crop(encoded, model.framing)], model.framing)
    return outputs_of_batch(model, batch, device)[0]


def outputs_of_batch(
    model: SavedModel, batch: Batch, device: torch.device | str
) -> Float[np.ndarray, "rows outputs"]:
    """Run a model once; its outputs as float64, before any difference is taken."""
    moved = (batch if batch.token_ids.shape[1] else _as_padding(batch, model.framing)).to(device)
    with torch.inference_mode():
        outputs = model.module(moved.token_ids, moved.lengths, moved.specifiers)
    return outputs.double().cpu().numpy()


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
