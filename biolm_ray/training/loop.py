"""The training loop: the same for every model, objective and number of workers."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from biolm_ray.errors import TrainingError
from biolm_ray.training.accumulation import Accumulator, Loaded, Loss
from biolm_ray.training.checkpoint import CHECKPOINTS, Checkpoints, Progress
from biolm_ray.training.estimate import estimate
from biolm_ray.training.finite import DIVERGED, why_loss_not_finite
from biolm_ray.training.journal import Journal
from biolm_ray.training.metrics import is_better
from biolm_ray.training.schedule import rate_factor
from biolm_ray.training.seeding import derive_seed
from biolm_ray.training.settings import LoopSettings
from biolm_ray.training.workers import Workers

Event = dict[str, float | str]
Report = Callable[[Event], None]

REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class Step:
    """What one worker does in a step of training.

    Attributes:
        weight: Total weight of the rows of all workers; the loss of the step is divided by it,
            unless it is 0.
        num_rows: Rows of all workers.
        micro_batches: Those of this worker, loaded as they are asked for; there may be none.
    """

    weight: float
    num_rows: int
    micro_batches: Iterable[Loaded]


@dataclass(frozen=True)
class Epochs:
    """The steps of each epoch, as a feed gives them to one worker.

    Attributes:
        num_steps: Of every epoch, on every worker.
        num_rows: Rows that all workers train on in an epoch.
        steps: Gets the number of the epoch, from 0, and of the first step that is wanted.
        samples: Some micro-batches to estimate time and memory with, the longest rows first; empty
            where they are not at hand.
    """

    num_steps: int
    num_rows: int
    steps: Callable[[int, int], Iterator[Step]]
    samples: Callable[[], list[Loaded]]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is minimized, and how a model is judged after each epoch.

    Attributes:
        loss: Of some rows.
        validate: Metrics of the module, the same on every worker; empty without validation rows.
        num_judged: Rows that all workers together validate with.
        prepare: Called before each epoch with the module and the epoch's number, from 0.
    """

    loss: Loss
    validate: Callable[[nn.Module], dict[str, float]]
    num_judged: int = 0
    prepare: Callable[[nn.Module, int], None] = lambda module, epoch: None


def make_optimizer(module: nn.Module, settings: LoopSettings) -> torch.optim.Optimizer:
    """AdamW with weight decay on matrices only, not on biases and normalization weights.

    It holds all parameters; those without a gradient in a step stay as they are.
    """
    held = list(module.parameters())
    groups = [
        {"params": [p for p in held if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in held if p.ndim <= 1], "weight_decay": 0.0},
    ]
    on_gpu = any(parameter.is_cuda for parameter in held)
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=settings.betas, fused=on_gpu or None
    )


def fit(
    module: nn.Module,
    epochs: Epochs,
    objective: Objective,
    settings: LoopSettings,
    workers: Workers,
    *,
    folder: Path,
    board: Path,
    report: Report,
) -> Progress:
    """Train until the epochs or the patience run out; the module ends with its best weights.

    A training that was broken off goes on where its newest checkpoint was written, and ends with
    the weights it would have had. The weights do not depend on the number of workers, but for
    rounding.

    Args:
        module: Is on the worker's device; the same on every worker.
        epochs: This worker's share of the steps.
        objective: What is minimized.
        settings: How.
        workers: Those that train the model together.
        folder: Where checkpoints and `steps.csv` go; all workers see it.
        board: Where TensorBoard events go.
        report: Takes what is worth showing, on the first worker.

    Raises:
        TrainingError: The loss is no longer a number, or no checkpoint is whole.
        ResourceError: The disk is full.
    """
    assert settings.accumulation % workers.size == 0, "the configuration is checked for this"
    training = _Training(module, epochs, objective, settings, workers, folder, board, report)
    return training.run()


class _Training:
    """One worker's part in a training, from its checkpoint to its end."""

    def __init__(
        self,
        module: nn.Module,
        epochs: Epochs,
        objective: Objective,
        settings: LoopSettings,
        workers: Workers,
        folder: Path,
        board: Path,
        report: Report,
    ) -> None:
        self.module, self.epochs, self.objective = module, epochs, objective
        self.settings, self.workers = settings, workers
        self.report = report if workers.is_first else _not_reported
        self.optimizer = make_optimizer(module, settings)
        self.checkpoints = Checkpoints(folder / CHECKPOINTS, self._note)
        self.progress = self.checkpoints.restore(module, self.optimizer, epochs.num_steps)
        self.accumulator = Accumulator(
            module,
            objective.loss,
            seed=derive_seed(settings.seed, settings.fold),
            device=workers.device,
            precision=settings.precision,
            compiled=settings.compiled,
            note=self._note,
        )
        self.accumulator.num_parts = self.progress.num_parts
        self.journal = (
            Journal(folder, board, self.progress, epochs.num_steps) if workers.is_first else None
        )
        self.asked = self.reported = self.saved = time.monotonic()

    def run(self) -> Progress:
        try:
            if not self.progress.epochs and not self.progress.steps:
                self.report(self._estimate())
            while not self._is_over():
                self._train_epoch()
                self._end_epoch(self.objective.validate(self.module))
        finally:
            if self.journal is not None:
                self.journal.close()
        if self.progress.best_weights:
            self.module.load_state_dict(self.progress.best_weights)
        return self.progress

    def _estimate(self) -> Event:
        epochs, num_judged = self.epochs, self.objective.num_judged
        self.objective.prepare(self.module, 0)
        return estimate(
            self.accumulator, epochs.samples(), epochs.num_rows, num_judged, self.workers
        )

    def _is_over(self) -> bool:
        patience = self.settings.patience
        out_of_patience = patience and self.progress.epochs_without_gain >= patience
        return bool(out_of_patience) or self.progress.epochs >= self.settings.num_epochs

    def _train_epoch(self) -> None:
        progress = self.progress
        self.objective.prepare(self.module, progress.epochs)
        self.module.train()
        for step in self.epochs.steps(progress.epochs, progress.steps):
            started = time.monotonic()
            rate = self._set_rate()
            loss, norm = self._take_step(step)
            progress.steps += 1
            progress.loss_sum += loss * step.weight
            progress.weight_sum += step.weight
            if self.journal is not None:
                self.journal.step(
                    epoch=progress.epochs + 1,
                    step=progress.steps,
                    loss=loss,
                    learning_rate=rate,
                    gradient_norm=norm,
                    rows=step.num_rows,
                    seconds=time.monotonic() - started,
                )
            self._tell_and_save_in_time()

    def _take_step(self, step: Step) -> tuple[float, float]:
        """Update the weights; give the step's loss and the norm of its gradient."""
        progress, workers = self.progress, self.workers
        micro_batches = [
            (workers.rank + index * workers.size, loaded)
            for index, loaded in enumerate(step.micro_batches)
        ]
        share = self.accumulator.add_gradients(
            micro_batches, step.weight or 1.0, progress.epochs, progress.steps
        )
        workers.sum_gradients(self.module)
        loss = sum(workers.gather(share))
        self._check_finite("training loss", loss, micro_batches)
        norm = nn.utils.clip_grad_norm_(
            self.module.parameters(), self.settings.gradient_clip or math.inf
        )
        self._check_finite("gradient", float(norm), micro_batches)
        self.optimizer.step()
        return loss, float(norm)

    def _check_finite(self, what: str, value: float, micro_batches: list[tuple[int, Loaded]]):
        """Raise where the training has left the numbers, with the likely reason.

        The value is the same on every worker, but the reason may be seen by one of them alone.
        """
        if math.isfinite(value):
            return
        progress = self.progress
        own = why_loss_not_finite(
            self.module,
            [loaded for _, loaded in micro_batches],
            is_first_step=not progress.epochs and not progress.steps,
        )
        reasons = self.workers.gather(own)
        reason = next((reason for reason in reasons if reason != DIVERGED), DIVERGED)
        raise TrainingError(
            f"the {what} became {value} in epoch {progress.epochs + 1}, "
            f"step {progress.steps + 1}; {reason}"
        )

    def _set_rate(self) -> float:
        settings, num_steps = self.settings, self.epochs.num_steps
        rate = settings.learning_rate * rate_factor(
            self.progress.epochs * num_steps + self.progress.steps,
            num_steps * settings.num_epochs,
            settings.schedule,
            settings.warmup_share,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _end_epoch(self, scores: dict[str, float]) -> None:
        progress, metric = self.progress, self.settings.stop_metric
        if not math.isfinite(scores.get("loss", 0.0)):
            raise TrainingError(
                f"the validation loss became {scores['loss']} after epoch {progress.epochs + 1}; "
                f"{DIVERGED}"
            )
        train_loss = progress.loss_sum / progress.weight_sum
        values = {"train_loss": train_loss} | {f"eval_{name}": scores[name] for name in scores}
        progress.epochs, progress.steps = progress.epochs + 1, 0
        progress.loss_sum = progress.weight_sum = 0.0
        progress.history.append(values)
        value = scores.get(metric)
        if value is None or is_better(metric, value, progress.best):
            progress.best, progress.best_epoch = value, progress.epochs
            progress.best_weights = {
                name: tensor.detach().cpu().clone()
                for name, tensor in self.module.state_dict().items()
            }
        if self.journal is not None:
            self.journal.epoch(progress.epochs, values)
        self._save()
        done = {"epoch": float(progress.epochs), "progress": float(progress.epochs)}
        self.report({**done, **values})

    def _tell_and_save_in_time(self) -> None:
        if self.journal is None:
            return
        progress, now = self.progress, time.monotonic()
        if now - self.reported > REPORT_SECONDS:
            self.reported = now
            self.report(
                {
                    "progress": progress.epochs + progress.steps / self.epochs.num_steps,
                    "train_loss": progress.loss_sum / progress.weight_sum,
                }
            )
        must_leave = self._must_leave(now)
        if must_leave or now - self.saved > self.settings.checkpoint_minutes * 60:
            self._save()
        if must_leave:
            self.report({"saved": 1.0})

    def _must_leave(self, now: float) -> bool:
        if now - self.asked < REPORT_SECONDS:
            return False
        self.asked = now
        return self.workers.must_leave()

    def _save(self) -> None:
        self.saved = time.monotonic()
        if self.journal is not None:
            self.journal.flush()
            self.progress.num_parts = self.accumulator.num_parts
            self.checkpoints.save(self.progress, self.module, self.optimizer)

    def _note(self, text: str) -> None:
        self.report({"note": text})


def _not_reported(event: Event) -> None:
    """Only the first worker tells how far the training is."""
