"""The training loop: the same for every model, objective and number of workers."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from biolm_ray.config.schema import TrainingConfig
from biolm_ray.errors import TrainingError
from biolm_ray.models.spec import Batch, Recipe
from biolm_ray.training.batching import Rows
from biolm_ray.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from biolm_ray.training.metrics import is_better
from biolm_ray.training.schedule import rate_factor
from biolm_ray.training.seeding import derive_seed
from biolm_ray.training.workers import Workers

Report = Callable[[dict[str, float]], None]

REPORT_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What the loop needs to know, with every default filled in."""

    batch_size: int
    accumulation: int
    num_epochs: int
    patience: int | None
    learning_rate: float
    weight_decay: float
    betas: tuple[float, float]
    gradient_clip: float | None
    schedule: str
    warmup_share: float
    stop_metric: str
    seed: int
    fold: int


@dataclass(frozen=True)
class Loaded:
    """A micro-batch: the numbers of its rows and their sequences."""

    rows: Rows
    batch: Batch


@dataclass(frozen=True)
class Step:
    """What one worker does in a step of training.

    Attributes:
        weight: Total weight of the rows of all workers; the loss of the step is divided by it.
        micro_batches: Those of this worker, loaded as they are asked for; there may be none.
    """

    weight: float
    micro_batches: Iterable[Loaded]


@dataclass(frozen=True)
class Epochs:
    """The steps of each epoch, as a feed gives them to one worker.

    Attributes:
        num_steps: Of every epoch, on every worker.
        steps: Gets the number of the epoch, from 0.
    """

    num_steps: int
    steps: Callable[[int], Iterator[Step]]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is minimized, and how a model is judged after each epoch.

    Attributes:
        loss: Weighted sum of the losses of some rows; gets the module and the rows.
        validate: Metrics of the module, the same on every worker; empty without validation rows.
        prepare: Called before each epoch with the module and the epoch's number, from 0.
    """

    loss: Callable[[nn.Module, Loaded], Tensor]
    validate: Callable[[nn.Module], dict[str, float]]
    prepare: Callable[[nn.Module, int], None] = lambda module, epoch: None


def loop_settings(
    training: TrainingConfig, recipe: Recipe, *, fold: int, default_metric: str
) -> LoopSettings:
    """Take each setting from the configuration or else from the model's recipe."""

    def chosen(name: str):
        value = getattr(training, name)
        return getattr(recipe, name) if value is None else value

    num_epochs = chosen("num_epochs")
    if isinstance(training.resume, int) and not isinstance(training.resume, bool):
        num_epochs = training.resume
    return LoopSettings(
        batch_size=chosen("batch_size"),
        accumulation=training.gradient_accumulation,
        num_epochs=num_epochs,
        patience=chosen("patience"),
        learning_rate=chosen("learning_rate"),
        weight_decay=chosen("weight_decay"),
        betas=recipe.betas,
        gradient_clip=chosen("gradient_clip"),
        schedule=chosen("schedule"),
        warmup_share=chosen("warmup_share"),
        stop_metric=training.stop_metric or default_metric,
        seed=training.seed,
        fold=fold,
    )


def make_optimizer(module: nn.Module, settings: LoopSettings) -> torch.optim.Optimizer:
    """AdamW with weight decay on matrices only, not on biases and normalization weights.

    It holds all parameters; those without a gradient in a step stay as they are.
    """
    held = list(module.parameters())
    groups = [
        {"params": [p for p in held if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in held if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas)


def fit(
    module: nn.Module,
    epochs: Epochs,
    objective: Objective,
    settings: LoopSettings,
    workers: Workers,
    *,
    checkpoint: Path,
    report: Report,
) -> Progress:
    """Train until the epochs or the patience run out; the module ends with its best weights.

    An existing checkpoint is continued from.

    Raises:
        TrainingError: The loss is no longer a number.
    """
    assert settings.accumulation % workers.size == 0, "the configuration is checked for this"
    optimizer = make_optimizer(module, settings)
    progress = load_checkpoint(checkpoint, module, optimizer)
    while progress.epochs < settings.num_epochs:
        if settings.patience and progress.epochs_without_gain >= settings.patience:
            break
        loss = _train_epoch(
            module, epochs, objective, settings, workers, optimizer, progress.epochs, report
        )
        scores = objective.validate(module)
        _record(progress, module, scores, loss, settings)
        if workers.is_first:
            save_checkpoint(checkpoint, progress, module, optimizer)
        done = {"epoch": float(progress.epochs), "progress": float(progress.epochs)}
        report({**done, **progress.history[-1]})
    if progress.best_weights:
        module.load_state_dict(progress.best_weights)
    return progress


def _train_epoch(
    module: nn.Module,
    epochs: Epochs,
    objective: Objective,
    settings: LoopSettings,
    workers: Workers,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    report: Report,
) -> float:
    torch.manual_seed(derive_seed(settings.seed, "dropout", settings.fold, epoch, workers.rank))
    objective.prepare(module, epoch)
    module.train()
    total, weight, reported = 0.0, 0.0, time.monotonic()
    num_steps = epochs.num_steps
    for index, step in enumerate(epochs.steps(epoch)):
        _set_rate(optimizer, settings, epoch * num_steps + index, num_steps)
        loss = _step(module, step, objective, workers)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the training loss became {loss} in epoch {epoch + 1}, step {index + 1}; "
                "try a smaller learning rate (training.learning_rate)"
            )
        if settings.gradient_clip:
            nn.utils.clip_grad_norm_(module.parameters(), settings.gradient_clip)
        optimizer.step()
        total, weight = total + loss * step.weight, weight + step.weight
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            report({"progress": epoch + (index + 1) / num_steps, "train_loss": total / weight})
    return total / weight


def _step(module: nn.Module, step: Step, objective: Objective, workers: Workers) -> float:
    module.zero_grad(set_to_none=True)
    loss_sum = 0.0
    for loaded in step.micro_batches:
        loss = objective.loss(module, loaded) / step.weight
        loss.backward()
        loss_sum += loss.item()
    workers.sum_gradients(module)
    return sum(workers.gather(loss_sum))


def _set_rate(
    optimizer: torch.optim.Optimizer, settings: LoopSettings, step: int, steps_per_epoch: int
) -> None:
    factor = rate_factor(
        step, steps_per_epoch * settings.num_epochs, settings.schedule, settings.warmup_share
    )
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor


def _record(
    progress: Progress,
    module: nn.Module,
    scores: dict[str, float],
    train_loss: float,
    settings: LoopSettings,
) -> None:
    progress.epochs += 1
    progress.history.append(
        {"train_loss": train_loss} | {f"eval_{name}": value for name, value in scores.items()}
    )
    value = scores.get(settings.stop_metric)
    if value is None or is_better(settings.stop_metric, value, progress.best):
        progress.best, progress.best_epoch = value, progress.epochs
        progress.best_weights = {
            name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()
        }
