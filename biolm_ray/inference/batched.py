"""Predictions of edited sequences by whole passes, many at once: the path for every model."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from biolm_ray.inference.perturb import Edits, Variants, build_variants
from biolm_ray.models.batches import EncodedSequence, Framing, collate, crop
from biolm_ray.models.saved import SavedModel
from biolm_ray.models.spec import Batch
from biolm_ray.training.halving import run_in_halves

# Transformers are fastest on a CPU with 2,048 to 8,192 tokens.
EDIT_BATCH_TOKENS = 4_096
# Workers may share a GPU.
MEMORY_SHARE = 0.5


def outputs_of_rows(
    model: SavedModel,
    edits: Edits,
    rows: Int[np.ndarray, " rows"],
    *,
    batch_tokens: int = EDIT_BATCH_TOKENS,
    device: torch.device | str,
) -> Float[np.ndarray, "rows outputs"]:
    """Run a model on the edited sequences of some rows of a plan, many at once.

    Args:
        model: In evaluation mode, on `device`.
        edits: The plan.
        rows: Which of its rows.
        batch_tokens: Most tokens in one pass; on a GPU, in the first, which tells how many fit.
        device: Where the module's weights are.

    Returns:
        In the model's units, as float64.

    Raises:
        ResourceError: A sequence does not fit into the memory of the device.
    """
    length = edits.width + model.framing.num_special
    at_once = max(1, batch_tokens // max(1, length))
    parts = [
        outputs_of_batch(model, frame_variants(build_variants(edits, some), model.framing), device)
        for some in row_batches(rows, at_once, torch.device(device))
    ]
    return np.concatenate(parts) if parts else np.zeros((0, model.card.targets.num_outputs))


def row_batches(
    rows: Int[np.ndarray, " rows"], at_once: int, device: torch.device
) -> Iterator[Int[np.ndarray, " batch"]]:
    """Cut rows of equal length into batches, to be run before the next is asked for.

    On a CPU each holds `at_once` rows. On a GPU only the first does, and the others as many as fit
    into MEMORY_SHARE of the free memory by what the first took.
    """
    if device.type == "cuda" and len(rows) > at_once:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield rows[:at_once]
        rows = rows[at_once:]
        taken = max(1, torch.cuda.max_memory_allocated(device) - before)
        at_once = max(1, int(MEMORY_SHARE * _free_memory(device) * at_once / taken))
    for start in range(0, len(rows), at_once):
        yield rows[start : start + at_once]


def _free_memory(device: torch.device) -> int:
    """Bytes that nobody holds, and those that this process holds unused."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def plain_outputs(
    model: SavedModel, sequences: Sequence[EncodedSequence], device: torch.device | str
) -> Float[np.ndarray, "sequences outputs"]:
    """Run a model on some sequences, cropped and framed as in training; in the model's units."""
    batch = collate([crop(encoded, model.framing) for encoded in sequences], model.framing)
    return outputs_of_batch(model, batch, device)


def outputs_of_batch(
    model: SavedModel, batch: Batch, device: torch.device | str
) -> Float[np.ndarray, "rows outputs"]:
    """Run a model once; its outputs as float64, before any difference is taken."""
    filled = batch if batch.token_ids.shape[1] else _as_padding(batch, model.framing)
    with torch.inference_mode():
        return run_in_halves(model.module, filled, device).numpy()


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
