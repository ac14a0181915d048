"""Whether a model's description of itself as a stack of local layers is right."""

import copy
import logging
from functools import partial
from math import prod
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from biolm_ray.inference.batched import frame_variants
from biolm_ray.inference.incremental import run_incrementally
from biolm_ray.inference.perturb import Edits, Source, build_variants
from biolm_ray.models.batches import Framing
from biolm_ray.models.local_stack import LocalStack
from biolm_ray.models.saved import SavedModel

log = logging.getLogger("biolm_ray")

TOLERANCE = 1e-9
NUM_ROWS = 12
LONGEST = 600

EditShape = tuple[int, int]
_verdicts: WeakKeyDictionary[nn.Module, dict[EditShape, bool]] = WeakKeyDictionary()


def checked_stack(model: SavedModel, shape: EditShape) -> LocalStack | None:
    """Describe a model as a stack that was found right, or give None.

    The check is made once for a module and a shape of edits, the numbers of tokens taken out and
    put in.
    """
    if model.module.training:
        return None
    stack = model.spec.local_stack(model.module)
    if stack is None:
        return None
    verdicts = _verdicts.setdefault(model.module, {})
    if shape not in verdicts:
        verdicts[shape] = _is_right(model, shape)
    return stack if verdicts[shape] else None


def _is_right(model: SavedModel, shape: EditShape) -> bool:
    # What torch raises when rows do not fit; a description by another hand may well be wrong.
    problems = (RuntimeError, IndexError, ValueError)
    try:
        difference = largest_difference(model, shape)
    except problems as error:
        reason = " ".join(str(error).split())[:200]
    else:
        if difference <= TOLERANCE:
            return True
        reason = f"its predictions differ by {difference:.1e}"
    log.warning(
        "model %s describes itself wrongly as a stack of local layers (%s); leave-one-out scores "
        "are computed by whole passes",
        model.spec.name,
        reason,
    )
    return False


def largest_difference(model: SavedModel, shape: EditShape) -> float:
    """Compare with full passes in float64, on random sequences of awkward lengths.

    Returns:
        The largest difference, relative to outputs beyond 1.
    """
    module = copy.deepcopy(model.module).double().cpu()
    stack = model.spec.local_stack(module)
    assert stack is not None
    total = prod(block.stride for block in stack.blocks)
    room = model.framing.room
    lengths = {1, 2, total - 1, total, total + 1, 2 * total + 1, room}
    differences = [0.0]
    for length in sorted(lengths):
        if max(1, shape[0]) <= length <= min(room, LONGEST):
            edits = _random_edits(model, length, shape)
            differences.append(_difference(module, stack, edits, model.framing))
    return max(differences)


def _difference(module: nn.Module, stack: LocalStack, edits: Edits, framing: Framing) -> float:
    num_rows = len(edits.positions)
    rows = np.unique(np.linspace(0, num_rows - 1, min(NUM_ROWS, num_rows)).astype(int))
    batch = frame_variants(build_variants(edits, rows), framing)
    if not batch.token_ids.shape[1]:
        return 0.0
    with torch.inference_mode():
        full = module(batch.token_ids, batch.lengths, batch.specifiers).numpy()
        found = run_incrementally(stack, edits, framing, num_outputs=full.shape[1])
    differences = np.abs(found.outputs[rows] - full) / np.maximum(1.0, np.abs(full))
    return float(differences[found.done[rows]].max(initial=0.0))


def _random_edits(model: SavedModel, length: int, shape: EditShape) -> Edits:
    num_removed, num_inserted = shape
    random = np.random.default_rng((length, *shape))
    inputs = model.card.inputs
    draw = partial(random.integers, 0, inputs.vocabulary_size)
    specifiers = None
    if inputs.num_specifiers:
        specifiers = random.random((length, inputs.num_specifiers), dtype=np.float32)
    framing = model.framing
    source = Source(
        token_ids=draw(length),
        specifiers=specifiers,
        room=framing.room,
        cut_side=framing.cut_side,
    )
    positions = np.arange(length - num_removed + 1)
    num_rows = len(positions)
    edited_length = length - num_removed + num_inserted
    start, stop = source.crop(edited_length, -1)
    return Edits(
        source=source,
        positions=positions,
        num_removed=num_removed,
        new_ids=draw((num_rows, num_inserted)) if num_inserted else None,
        starts=np.full(num_rows, start),
        width=stop - start,
        same_as=np.arange(num_rows),
    )
