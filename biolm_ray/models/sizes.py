"""Whether the weights in a model folder are those of the model that its card describes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from biolm_ray.errors import BiolmError, DataError, in_short
from biolm_ray.models.card import CARD_FILE, ModelCard
from biolm_ray.models.legacy import translated_names
from biolm_ray.models.spec import ModelSpec
from biolm_ray.models.stored_weights import REMEDY, stored_shapes

BUILDING_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(RuntimeError, TypeError, ValueError),
)
"""What libraries raise at options that make no sense."""


def check_sizes(folder: Path, card: ModelCard, spec: ModelSpec, options: Any) -> None:
    """Make sure that a card describes the weights beside it, before memory is taken for them.

    The model is built without memory, and stopped as soon as it is larger than the weights.

    Raises:
        DataError: A weight has another shape, or the card asks for more than there is.
    """
    build = spec.build
    if card.task is None and spec.pretraining is not None:
        build = spec.pretraining.build
    stored = translated_names(stored_shapes(folder))
    num_values = sum(math.prod(shape) for shape in stored.values())
    for name in ("vocabulary_size", "num_specifiers", "num_outputs"):
        if not 0 <= (size := getattr(card.inputs, name)) <= num_values:
            raise DataError(
                f"{folder}: the weights do not fit {CARD_FILE}: it asks for {name} {size}, and "
                f"{num_values:,} numbers are stored"
            )
    with _at_most(folder, len(stored), num_values), _told_as_damage(folder):
        try:
            with torch.device("meta"):
                module = build(options, card.inputs)
        except (NotImplementedError, RuntimeError):
            # A model of others may compute while it is built, which needs memory.
            module = build(options, card.inputs)
    for name, value in module.state_dict().items():
        if name in stored and stored[name] != tuple(value.shape):
            raise DataError(
                f"{folder}: the weights do not fit {CARD_FILE}: '{name}' has the shape "
                f"{list(stored[name])}, the card asks for {list(value.shape)}"
            )


@contextmanager
def _told_as_damage(folder: Path) -> Iterator[None]:
    """Turn what a model makes of options that it cannot have been saved with into an error of them.

    A library's own checks end in whatever they meet first. The cause stays with the error.
    """
    try:
        yield
    except BiolmError as error:
        raise type(error)(f"{folder / CARD_FILE}: {error}") from error
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise DataError(
            f"{folder / CARD_FILE}: damaged (no model can be built with its options: "
            f"{in_short(error)}); {REMEDY}"
        ) from error


@contextmanager
def _at_most(folder: Path, num_weights: int, num_values: int) -> Iterator[None]:
    """Stop a build that goes far beyond what is stored; weights may be left out or shared."""
    most_weights, most_values = 2 * num_weights + 100, 4 * num_values + 1_000_000
    found_weights = found_values = 0

    def count(module: nn.Module, name: str, weight: nn.Parameter | None) -> None:
        nonlocal found_weights, found_values
        if weight is not None:
            found_weights, found_values = found_weights + 1, found_values + weight.numel()
        if found_weights > most_weights or found_values > most_values:
            raise DataError(
                f"{folder}: the weights do not fit {CARD_FILE}: it asks for a model of more than "
                f"{found_weights - 1:,} weights with {found_values:,} values, and "
                f"{num_weights:,} with {num_values:,} are stored"
            )

    watch = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        watch.remove()


def fill(module: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    """Give a module the weights of its folder: all of them, each of the type and shape it has.

    Raises:
        DataError: One is missing, unknown or otherwise.
    """
    state = module.state_dict(keep_vars=True)
    for name, value in weights.items():
        if name in state and value.dtype != state[name].dtype:
            raise DataError(
                f"{folder}: the weights do not fit {CARD_FILE}: '{name}' holds "
                f"{_said(value.dtype)} in place of {_said(state[name].dtype)}; {REMEDY}"
            )
    try:
        missing, unknown = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise DataError(f"{folder}: the weights do not fit {CARD_FILE}: {reason}") from None
    filled = {id(state[name]) for name in weights if name in state}
    missing = [name for name in missing if id(state[name]) not in filled]
    if missing or unknown:
        problem = f"'{missing[0]}' is missing" if missing else f"'{unknown[0][:60]}' is unknown"
        raise DataError(f"{folder}: the weights do not fit {CARD_FILE}: {problem}; {REMEDY}")


def _said(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
