"""Whether a model's description of itself as a stack of local layers is right."""

import copy
from collections.abc import Sequence
from functools import partial
from math import prod

import numpy as np
import torch
from torch import nn

from biolm_ray.inference.batched import frame_variants
from biolm_ray.inference.incremental import num_rows_read, run_incrementally
from biolm_ray.inference.perturb import Edits, Source, build_variants
from biolm_ray.models.batches import Framing
from biolm_ray.models.local_stack import LocalStack
from biolm_ray.models.saved import SavedModel

TOLERANCE = 1e-9
NUM_EDITS = 12
SEVERAL_ROWS = 3
# A sequence of the first is always checked, none longer than the second, to bound the time.
SHORT, LONGEST = 600, 10_000

EditShape = tuple[int, int]


class CheckedStack:
    """A model's description as a stack of local layers, used where it was found right.

    Holds as long as the model's weights stay what and where they are.
    """

    def __init__(self, model: SavedModel) -> None:
        """Describe a model; one in training mode is not described."""
        self._model = model
        self._stack = None if model.module.training else model.spec.local_stack(model.module)
        self._problems: dict[EditShape, str | None] = {}

    def for_edits(self, shape: EditShape) -> LocalStack | None:
        """Give the stack if it is right for edits that take out and put in so many tokens.

        The first question about a shape is answered by a check, all others by memory.
        """
        if self._stack is None:
            return None
        if shape not in self._problems:
            self._problems[shape] = find_problem(self._model, shape)
        return self._stack if self._problems[shape] is None else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of checks that failed, in sentences."""
        problems = dict.fromkeys(filter(None, self._problems.values()))
        return tuple(
            f"model {self._model.spec.name}: its description as a stack of local layers is not "
            f"used, since {problem}; its scores are those of whole passes"
            for problem in problems
        )


def find_problem(model: SavedModel, shape: EditShape) -> str | None:
    """Compare a description with full passes in float64, on random sequences of awkward lengths.

    Returns:
        What is wrong with it; None if an output differs nowhere by more than 1e-9 (of outputs
        beyond 1: by that share).
    """
    module = copy.deepcopy(model.module).double().cpu()
    stack = model.spec.local_stack(module)
    assert stack is not None
    lengths = awkward_lengths(stack, model.framing, shape)
    if lengths[-1] > LONGEST:
        return f"a check would take sequences of more than {LONGEST:,} tokens"
    for length in lengths:
        if length >= max(1, shape[0]):
            problem = _problem_with(module, stack, _random_edits(model, length, shape), model)
            if problem is not None:
                return problem
    return None


def awkward_lengths(stack: LocalStack, framing: Framing, shape: EditShape) -> Sequence[int]:
    """Choose lengths around the total stride and the receptive field, up to one that shows all.

    The longest is twice the field, so that some rows see neither end and some edits are seen by
    neither; several rows at its tail, which has to read them of the edited sequence; and SHORT, in
    case a layer reaches further than the description says. Where a block has no room for it, the
    room is the longest.
    """
    total, field = prod(block.stride for block in stack.blocks), receptive_field(stack)
    several = 2 * total + 1
    added = framing.num_special - shape[0] + shape[1]
    while several <= LONGEST and num_rows_read(stack, several + added) < SEVERAL_ROWS:
        several += 1
    reach = min(2 * field + total, LONGEST) if field < LONGEST else field + 1
    longest = min(framing.room, max(several, reach, SHORT))
    lengths = {1, 2, total - 1, total, total + 1, 2 * total + 1, field + 1}
    return sorted({longest, *(length for length in lengths if 1 <= length < longest)})


def receptive_field(stack: LocalStack) -> int:
    """Count the tokens that a row of the last block depends on."""
    size, step = 1, 1
    for block in stack.blocks:
        size += (block.kernel - 1) * step
        step *= block.stride
    return size


def _problem_with(
    module: nn.Module, stack: LocalStack, edits: Edits, model: SavedModel
) -> str | None:
    framing = model.framing
    num_outputs = model.card.inputs.num_outputs
    with torch.inference_mode():
        try:
            found = run_incrementally(stack, edits, framing, num_outputs=num_outputs)
        # What torch raises when rows do not fit; a description by another hand may well be wrong.
        except (RuntimeError, IndexError, ValueError) as error:
            return f"it cannot be run ({' '.join(str(error).split())[:200]})"
        rows = np.flatnonzero(found.done)
        if not rows.size or not edits.width + framing.num_special:
            return None
        batch = frame_variants(build_variants(edits, rows), framing)
        full = module(batch.token_ids, batch.lengths, batch.specifiers).numpy()
    allowed = TOLERANCE * np.maximum(1.0, np.abs(full))
    # A comparison that a number which is none does not pass either.
    is_right = bool((np.abs(found.outputs[rows] - full) <= allowed).all())
    return None if is_right else "what it predicts differs from full passes"


def _random_edits(model: SavedModel, length: int, shape: EditShape) -> Edits:
    """Make NUM_EDITS edits, the first and the last possible among them, of a random sequence."""
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
    positions = np.unique(np.linspace(0, length - num_removed, NUM_EDITS).astype(int))
    num_rows = len(positions)
    edited_length = length - num_removed + num_inserted
    start, stop = source.crop(edited_length, -1)
    return Edits(
        source=source,
        positions=positions,
        num_removed=num_removed,
        new_ids=draw((num_rows, num_inserted)) if num_inserted else None,
        undecorated=np.zeros(num_rows, dtype=bool),
        starts=np.full(num_rows, start),
        width=stop - start,
        same_as=np.arange(num_rows),
    )
