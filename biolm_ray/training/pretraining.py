"""Pre-train a language model on sequences without labels."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from biolm_ray.config.schema import Config
from biolm_ray.errors import ConfigError
from biolm_ray.models.batches import RowBatches, frame
from biolm_ray.models.card import ModelCard
from biolm_ray.models.registry import find_model
from biolm_ray.models.spec import ModelInputs, ModelSpec, Pretraining
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.tokenization.tokenizer import Tokenizer
from biolm_ray.training.accumulation import Loaded
from biolm_ray.training.batching import Rows
from biolm_ray.training.feeds import Feed, make_feed
from biolm_ray.training.fold import build_model, model_inputs
from biolm_ray.training.loop import Objective, Report, fit
from biolm_ray.training.outcome import done_already, mark_done, save_training
from biolm_ray.training.seeding import derive_seed
from biolm_ray.training.settings import loop_settings
from biolm_ray.training.workers import Workers

HELD_OUT_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class PretrainJob:
    """All that a worker needs to pre-train a model."""

    config: Config
    prepared: str
    tokenizer: Path
    folder: Path
    board: Path
    weights: Path | None = None
    name: str = "pre-train"
    rows_digest: str = ""


def held_out_rows(rows: Rows, seed: int) -> tuple[Rows, Rows]:
    """Set a seeded tenth of the rows (at least one) aside for the perplexity.

    Returns:
        Training rows and held-out rows, each ascending.

    Raises:
        ConfigError: Fewer than two rows.
    """
    if len(rows) < 2:
        raise ConfigError("pre-training needs at least two sequences, one of them held out")
    order = np.random.default_rng(derive_seed(seed, "held out")).permutation(rows)
    count = num_held_out(len(rows))
    return np.sort(order[count:]), np.sort(order[:count])


def num_held_out(num_rows: int) -> int:
    return max(1, round(num_rows * HELD_OUT_SHARE))


def pretraining_of(spec: ModelSpec) -> Pretraining:
    """Give a model's pre-training objective.

    Raises:
        ConfigError: It has none.
    """
    if spec.pretraining is None:
        raise ConfigError(
            f"model {spec.name} cannot be pre-trained; use xlnet or huggingface (--model xlnet)"
        )
    return spec.pretraining


def pretrain(job: PretrainJob, workers: Workers, report: Report) -> dict[str, float]:
    """Train a language model and write its folder.

    Returns:
        Training loss per token, and loss and perplexity on the held-out rows, at the best epoch.
    """
    if (finished := done_already(job)) is not None:
        return finished
    started = time.monotonic()
    config = job.config
    spec, options = find_model(config.model)
    pretraining = pretraining_of(spec)
    tokenizer = Tokenizer.load(job.tokenizer)
    prepared = PreparedData.open(job.prepared)
    inputs = model_inputs(config, tokenizer, prepared.num_specifiers)
    settings = loop_settings(config.training, spec.recipe(options), fold=0, default_metric="loss")
    rows, held_out = held_out_rows(np.arange(prepared.num_rows), settings.seed)
    module = build_model(spec, options, inputs, settings, job.weights, build=pretraining.build).to(
        workers.device
    )
    batches = RowBatches(prepared, frame(spec, inputs, config.preprocessing))
    feed = make_feed(config.training, batches, workers)
    progress = fit(
        module,
        feed.epochs(
            rows,
            lambda rows: float(batches.lengths[rows].sum()),
            settings,
            by_length=spec.length_buckets,
        ),
        Objective(
            loss=_token_loss(pretraining, inputs, settings.seed, workers),
            validate=_perplexity(pretraining, feed, inputs, held_out, settings.batch_size, workers),
            num_judged=len(held_out),
        ),
        settings,
        workers,
        folder=job.folder,
        board=job.board,
        report=report,
    )
    metrics = {
        **progress.history[progress.best_epoch - 1],
        "epoch": float(progress.best_epoch),
        "train_samples": float(len(rows)),
        "eval_samples": float(len(held_out)),
        "train_runtime": time.monotonic() - started,
    }
    if workers.is_first:
        card = ModelCard(
            model=spec.name,
            options=options.model_dump(),
            inputs=inputs,
            preprocessing=config.preprocessing,
        )
        save_training(job, module, card, tokenizer, progress, metrics)
        mark_done(job, metrics)
    workers.gather(None)
    return metrics


def _generator(seed: int, rows: Rows) -> torch.Generator:
    """Random numbers for one batch, whoever computes it and whenever."""
    return torch.Generator().manual_seed(derive_seed(seed, "corrupt", *rows.tolist()))


def _token_loss(
    pretraining: Pretraining,
    inputs: ModelInputs,
    seed: int,
    workers: Workers,
) -> Callable[[nn.Module, Loaded], Tensor]:
    """Cross entropy per predicted token, times the tokens of the batch."""

    def loss(module: nn.Module, loaded: Loaded) -> Tensor:
        batch = loaded.batch.to(workers.device)
        total, count = pretraining.loss(module, batch, inputs, _generator(seed, loaded.rows))
        return total / max(1, count) * batch.lengths.sum()

    return loss


def _perplexity(
    pretraining: Pretraining,
    feed: Feed,
    inputs: ModelInputs,
    held_out: Rows,
    batch_size: int,
    workers: Workers,
) -> Callable[[nn.Module], dict[str, float]]:
    """Judge a model on the held-out rows, with the same tokens hidden every time."""
    chosen = feed.batches_by_length(held_out, batch_size)

    def validate(module: nn.Module) -> dict[str, float]:
        module.eval()
        total, count = 0.0, 0
        batches = feed.open(np.concatenate([held_out[:0], *chosen]))
        with torch.inference_mode():
            for rows in chosen:
                batch = batches.load(rows).to(workers.device)
                loss, predicted = pretraining.loss(module, batch, inputs, _generator(0, rows))
                total, count = total + float(loss), count + predicted
        sums = workers.gather((total, count))
        mean = sum(part[0] for part in sums) / max(1, sum(part[1] for part in sums))
        return {"loss": mean, "perplexity": math.exp(min(mean, 700.0))}

    return validate
