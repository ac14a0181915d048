"""What a checkpoint holds, made sure of before any of it is used.

The checksum in a file's name shows that it is as it was written, not that it fits the training
that reads it: it may have been edited, or come from elsewhere.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import FiniteFloat, NonNegativeInt, PositiveInt, ValidationError
from torch import Tensor, nn

from biolm_ray.errors import DataError
from biolm_ray.files import parse_json
from biolm_ray.records import VERSION_KEY, RecordFile, first_problem

TENSORS = ("weights", "best_weights", "optimizer")
MOST_HISTORY_BYTES = 64 << 20
MOMENTS = ("exp_avg", "exp_avg_sq")


class Unusable(Exception):
    """A checkpoint cannot be used; the message says why."""


class OfAnotherModel(Unusable):
    """A checkpoint is whole, but the weights in it are those of another model."""


class Counters(RecordFile):
    """How far the training of a checkpoint had come: all that is no tensor. See `Progress`."""

    LATEST_VERSION: ClassVar[int] = 1

    epochs: NonNegativeInt
    steps: NonNegativeInt
    loss_sum: FiniteFloat
    weight_sum: FiniteFloat
    num_parts: PositiveInt
    best: float | None
    best_epoch: NonNegativeInt
    history: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class State:
    """The state of a training.

    Attributes:
        counters: How far it had come.
        weights: The module's state.
        best_weights: That of the best epoch; empty before the first.
        moments: The optimizer's, by the number of the parameter.
    """

    counters: Counters
    weights: dict[str, Any]
    best_weights: dict[str, Any]
    moments: dict[int, dict[str, Tensor]]


def read_state(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, num_steps: int
) -> State:
    """Read a checkpoint that fits a training.

    Args:
        path: Of the file.
        module: The model that is trained.
        optimizer: Of its parameters.
        num_steps: Steps of an epoch.

    Raises:
        OfAnotherModel: It is of another model.
        Unusable: It is damaged.
    """
    stored = _load(path)
    counters = _counters(stored, num_steps)
    weights, best_weights = (_checked_weights(stored[name], name) for name in TENSORS[:2])
    if bool(best_weights) != bool(counters.epochs):
        raise Unusable("the weights of the best epoch are missing, or there was none")
    _check_fits(weights, best_weights, module)
    moments = _moments(stored["optimizer"], optimizer)
    return State(counters, weights, best_weights, moments)


def _load(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [each for each in archive.infolist() if each.compress_type]
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise Unusable(f"it is no checkpoint: {error}") from None
    if packed:  # they could take any memory when they are read
        raise Unusable("a part of it is packed")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    # torch raises whatever its reader stumbles over, with advice that would make it run code.
    except Exception as error:
        raise Unusable(f"torch cannot read it ({type(error).__name__})") from error
    names = {*Counters.model_fields, *TENSORS}
    if not isinstance(stored, dict) or stored.keys() | {VERSION_KEY} != names:
        raise Unusable("it does not hold what a checkpoint holds")
    return stored


def _counters(stored: Mapping[str, Any], num_steps: int) -> Counters:
    values = {name: stored[name] for name in Counters.model_fields if name in stored}
    try:
        if not isinstance(values["history"], str):
            raise Unusable("'history' is no text")
        history = parse_json(values["history"].encode(), "'history'", MOST_HISTORY_BYTES)
        values["history"] = tuple(history) if isinstance(history, list) else history
        counters = Counters.model_validate(values, strict=True)
    except ValidationError as error:
        raise Unusable(first_problem(error)) from None
    except (DataError, ValueError) as error:
        raise Unusable(str(error)) from None
    if counters.format_version != Counters.LATEST_VERSION:
        raise Unusable(f"it is of another version ({VERSION_KEY} {counters.format_version})")
    if counters.steps > num_steps:
        raise Unusable(f"it is at step {counters.steps} of an epoch of {num_steps}")
    if not counters.steps and (counters.loss_sum or counters.weight_sum):
        raise Unusable("it has losses of no steps")
    if len(counters.history) != counters.epochs:
        raise Unusable(f"it tells of {len(counters.history)} of {counters.epochs} epochs")
    if any("train_loss" not in epoch for epoch in counters.history):
        raise Unusable("an epoch has no 'train_loss'")
    if not min(1, counters.epochs) <= counters.best_epoch <= counters.epochs:
        raise Unusable(f"its best epoch is {counters.best_epoch} of {counters.epochs}")
    return counters


def _checked_weights(stored: Any, name: str) -> dict[str, Any]:
    if not isinstance(stored, dict) or not all(isinstance(key, str) for key in stored):
        raise Unusable(f"'{name}' holds no weights")
    return stored


def _check_fits(weights: dict[str, Any], best_weights: dict[str, Any], module: nn.Module) -> None:
    """Make sure that both sets of weights are of a model.

    Where the two fit one another and not the model, nothing is damaged.

    Raises:
        OfAnotherModel: They are of another one.
        Unusable: One of them is damaged.
    """
    parameters = dict(module.named_parameters())
    for name, state in (("weights", weights), ("best_weights", best_weights)):
        problem = _misfit(state, module.state_dict()) if state else None
        if name == "weights" and not state:
            problem = "there are none"
        if problem is not None and (not best_weights or _misfit(best_weights, weights) is None):
            raise OfAnotherModel(problem)
        if problem is not None:
            raise Unusable(f"'{name}': {problem}")
        for key in parameters.keys() & state.keys():
            if bool(state[key].isnan().any()):
                raise Unusable(f"'{name}': {key[:80]} holds NaN")


def _misfit(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Say in what a state is unlike another one, or None; what is no tensor is its module's."""
    for key in wanted.keys() | state.keys():
        if key not in state or key not in wanted:
            return f"{key[:80]} is {'missing' if key in wanted else 'not in the model'}"
        found, other = state[key], wanted[key]
        if isinstance(other, Tensor) and not _is_like(found, other):
            return f"{key[:80]} is {_described(found)} in place of {_described(other)}"
    return None


def _is_like(found: Any, wanted: Tensor) -> bool:
    return (
        isinstance(found, Tensor)
        and found.layout == torch.strided
        and found.device.type == "cpu"
        and (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    )


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


def _moments(stored: Any, optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Tensor]]:
    """Give what AdamW keeps of each parameter; those without a gradient have nothing.

    What it was set to is not taken from a checkpoint: the training that goes on has its own.
    """
    groups, own = _groups(stored), optimizer.state_dict()["param_groups"]
    if [group.get("params") for group in groups] != [group["params"] for group in own]:
        raise Unusable("the optimizer is of other parameters")
    held = dict(enumerate(each for group in optimizer.param_groups for each in group["params"]))
    moments = stored["state"]
    if not isinstance(moments, dict) or moments.keys() - held.keys():
        raise Unusable("the optimizer is of other parameters")
    for number, kept in moments.items():
        _check_moments(kept, held[number])
    return moments


def _groups(stored: Any) -> list[dict[str, Any]]:
    if not isinstance(stored, dict) or stored.keys() != {"state", "param_groups"}:
        raise Unusable("it has no state of the optimizer")
    groups = stored["param_groups"]
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise Unusable("it has no state of the optimizer")
    return groups


def _check_moments(kept: Any, parameter: Tensor) -> None:
    if not isinstance(kept, dict) or kept.keys() != {"step", *MOMENTS}:
        raise Unusable("the optimizer does not hold what AdamW keeps")
    step = kept["step"]
    if not isinstance(step, Tensor) or step.numel() != 1 or not bool(step.isfinite().all()):
        raise Unusable("the optimizer's steps are no number")
    if not all(_is_like(kept[name], parameter.detach()) for name in MOMENTS):
        raise Unusable("the optimizer's moments are not like the parameters")
    mean, square = (kept[name] for name in MOMENTS)
    if bool(step < 1) or bool(mean.isnan().any()) or not bool((square >= 0).all()):
        raise Unusable("the optimizer's moments are none")
