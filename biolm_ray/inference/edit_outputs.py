"""What a model makes of every edit of a plan, on the fastest path it allows, with spot checks."""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from biolm_ray.inference.batched import EDIT_BATCH_TOKENS, outputs_of_rows, plain_outputs
from biolm_ray.inference.incremental import run_incrementally
from biolm_ray.inference.perturb import Edits, edited_plainly
from biolm_ray.inference.self_check import CheckedStack
from biolm_ray.models.saved import SavedModel

NUM_CHECKS = 4
TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class EditOutputs:
    """Outputs of edited sequences, in the model's units.

    Attributes:
        outputs: Of the distinct rows of the plan.
        checked: Rows of the plan that were computed a second time, from plainly edited sequences.
        checked_outputs: What that gave.
        redone: Whether the fast path was found wrong and everything was computed anew.
    """

    outputs: Float[np.ndarray, "distinct outputs"]
    checked: Int[np.ndarray, " checks"]
    checked_outputs: Float[np.ndarray, "checks outputs"]
    redone: bool = False


def predict_edits(
    model: SavedModel,
    edits: Edits,
    original: Float[np.ndarray, " outputs"],
    *,
    stack: CheckedStack | None = None,
    batch_tokens: int = EDIT_BATCH_TOKENS,
    num_checks: int = NUM_CHECKS,
    device: torch.device | str = "cpu",
) -> EditOutputs:
    """Predict the distinct edits of a plan.

    A model that describes itself as a stack of local layers takes the incremental path; what that
    leaves, and every other model, takes passes over whole sequences, with the model's shortcut if
    it has one. If a spot check differs by more than 1e-5, or that share of an output beyond 1, all
    is done again by whole passes without a shortcut.

    Args:
        model: In evaluation mode, on `device`.
        edits: The plan.
        original: Outputs of the unedited sequence.
        stack: The model's, checked once for many sequences; unset, it is checked for this one.
        batch_tokens: Most tokens in one pass; on a GPU, in the first, which tells how many fit.
        num_checks: Edits that are computed a second time.
        device: Where the module's weights are.
    """
    distinct = edits.distinct
    outputs = np.tile(original, (len(distinct), 1))
    missing = np.ones(len(distinct), dtype=bool)
    shape = edits.num_removed, edits.num_inserted
    right = (stack or CheckedStack(model)).for_edits(shape) if len(distinct) else None
    if right is not None:
        with torch.inference_mode():
            found = run_incrementally(
                right, edits, model.framing, num_outputs=len(original), device=device
            )
        changed = found.done & ~found.unchanged
        outputs[changed] = found.outputs[changed]
        missing = ~found.done
    shortcut = model.spec.shortcut(model.module)
    whole = {"batch_tokens": batch_tokens, "device": device}
    with shortcut or nullcontext():
        outputs[missing] = outputs_of_rows(model, edits, distinct[missing], **whole)
    checked = rows_to_check(edits, num_checks)
    again = np.zeros((0, len(original)))
    if len(checked):
        edited = [edited_plainly(edits, int(row)) for row in checked]
        again = plain_outputs(model, edited, device)
    result = EditOutputs(outputs=outputs, checked=checked, checked_outputs=again)
    is_plain = missing.all() and shortcut is None
    if is_plain or _agree(edits, result, original):
        return result
    outputs = outputs_of_rows(model, edits, distinct, **whole)
    return replace(result, outputs=outputs, redone=True)


def rows_to_check(edits: Edits, num_checks: int) -> Int[np.ndarray, " checks"]:
    """The first row, the last, the end of the first run of equals, then any others."""
    num_rows = len(edits.positions)
    duplicates = np.flatnonzero(edits.same_as != np.arange(num_rows))
    drawn = np.random.default_rng(num_rows).permutation(num_rows)
    wanted = np.concatenate(
        [np.arange(num_rows)[[0, -1] if num_rows else []], duplicates[:1], drawn]
    )
    return wanted[np.sort(np.unique(wanted, return_index=True)[1])][:num_checks]


def _agree(edits: Edits, result: EditOutputs, original: Float[np.ndarray, " outputs"]) -> bool:
    """Compare rows with their second computation; equal rows have one among the distinct."""
    same_as = edits.same_as[result.checked]
    places = np.searchsorted(edits.distinct, same_as)
    # A row that equals the original, -1, is found before all others.
    found = np.where((same_as < 0)[:, None], original, result.outputs[places])
    allowed = TOLERANCE * np.maximum(1.0, np.abs(result.checked_outputs))
    with np.errstate(invalid="ignore"):
        return bool((np.abs(found - result.checked_outputs) <= allowed).all())
