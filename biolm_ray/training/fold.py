"""Fine-tune one fold: from prepared rows to a model folder with its predictions."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from biolm_ray.config.schema import Config
from biolm_ray.data.splits import Fold
from biolm_ray.errors import ConfigError, TrainingError
from biolm_ray.models.batches import frame
from biolm_ray.models.card import ModelCard
from biolm_ray.models.checked_outputs import check_outputs
from biolm_ray.models.registry import find_model
from biolm_ray.models.spec import ModelInputs, ModelSpec
from biolm_ray.models.stored_weights import load_weights
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.tokenization.tokenizer import Tokenizer
from biolm_ray.training.adaptation import adapt, check_adaptation
from biolm_ray.training.checkpoint import Progress
from biolm_ray.training.earlier_rows import find_earlier_rows
from biolm_ray.training.evaluate import Outputs, to_predictions
from biolm_ray.training.fold_data import FoldData, evaluate, make_objective
from biolm_ray.training.fold_tables import write_prediction_tables
from biolm_ray.training.loop import Report, fit
from biolm_ray.training.normalization import check_batch_size
from biolm_ray.training.outcome import done_already, mark_done, save_training
from biolm_ray.training.seeding import derive_seed
from biolm_ray.training.settings import LoopSettings, loop_settings
from biolm_ray.training.trained_rows import save_rows
from biolm_ray.training.workers import Workers


@dataclass(frozen=True, kw_only=True)
class FoldJob:
    """All that a worker needs to train one fold; small enough to send anywhere.

    Attributes:
        config: The run's configuration, with `model.name` filled in.
        prepared: Location of the prepared data set.
        tokenizer: Folder of the tokenizer.
        fold: Its rows.
        folder: Where its results go.
        board: Where its TensorBoard events go.
        weights: Folder of pre-trained or earlier weights, None to start fresh.
    """

    config: Config
    prepared: str
    tokenizer: Path
    fold: Fold
    folder: Path
    board: Path
    weights: Path | None = None

    @property
    def name(self) -> str:
        return f"fold {self.fold.name}" if self.fold.name else "model"

    @property
    def rows_digest(self) -> str:
        """Identifies the rows of the fold in a word; rows kept aside count where there are any."""
        fold = self.fold
        digest = hashlib.sha256()
        for rows in (fold.train, fold.validation, fold.test):
            digest.update(rows.tobytes() + b"|")
        if len(fold.kept_aside):
            digest.update(fold.kept_aside.tobytes())
        return digest.hexdigest()[:16]


def train_fold(job: FoldJob, workers: Workers, report: Report) -> dict[str, float]:
    """Train a fold, or continue it from its checkpoint, and write its folder.

    Returns:
        The metrics at the best epoch with the prefixes `train_`, `eval_` (validation rows) and
        `test_`, and the sizes of the three sets.
    """
    if (finished := done_already(job)) is not None:
        return finished
    started = time.monotonic()
    fold, config = job.fold, job.config
    spec, options = find_model(config.model)
    check_adaptation(config.training, spec, options, has_weights=job.weights is not None)
    tokenizer = Tokenizer.load(job.tokenizer)
    prepared = PreparedData.open(job.prepared)
    inputs = model_inputs(config, tokenizer, prepared.num_specifiers)
    data = FoldData(config, fold, prepared, frame(spec, inputs, config.preprocessing))
    inputs = inputs.model_copy(update={"num_outputs": data.targets.num_outputs})
    settings = fold_settings(config, spec, options, fold.index)
    module = build_model(spec, options, inputs, settings, job.weights)
    check_outputs(module, spec.name, inputs.num_outputs, config.model.plugin, TrainingError)
    seed = derive_seed(settings.seed, "adapters", settings.fold)
    adaptation = adapt(module, spec, config.training, seed)
    check_batch_size(module, settings.batch_size, len(fold.train))
    module.to(workers.device)
    progress = fit(
        module,
        data.feed(workers).epochs(
            fold.train,
            lambda rows: float(data.weights[rows].sum()),
            settings,
            by_length=spec.length_buckets,
        ),
        replace(make_objective(data, settings, workers), prepare=adaptation.prepare),
        settings,
        workers,
        folder=job.folder,
        board=job.board,
        report=report,
    )
    adaptation.finish()
    metrics, test_outputs = _final_metrics(module, data, progress, workers)
    metrics["train_runtime"] = time.monotonic() - started
    if workers.is_first:
        card = ModelCard(
            model=spec.name,
            options=options.model_dump(),
            inputs=inputs,
            task=data.targets.task,
            targets=data.targets,
            preprocessing=config.preprocessing,
            fold=fold.index,
        )
        save_training(job, module, card, tokenizer, progress, metrics)
        if test_outputs is not None:
            predictions = to_predictions(test_outputs, data.targets)
            write_prediction_tables(job.folder, prepared, fold.test, predictions, data.targets)
        earlier = None
        if job.weights is not None:
            earlier = find_earlier_rows(job.weights, prepared, fold)
        save_rows(job.folder, prepared, fold, earlier)
        mark_done(job, metrics)
    workers.gather(None)
    return metrics


def model_inputs(config: Config, tokenizer: Tokenizer, num_specifiers: int) -> ModelInputs:
    """Give the sizes that tokenizer, data and configuration ask of a model with one output."""
    return ModelInputs(
        vocabulary_size=len(tokenizer.vocabulary),
        special_ids=tokenizer.special_ids,
        num_specifiers=num_specifiers,
        block_size=config.preprocessing.block_size,
    )


def fold_settings(config: Config, spec: ModelSpec, options, fold_index: int) -> LoopSettings:
    """Fill in the loop's settings; classification cannot be stopped on a correlation."""
    recipe = spec.recipe(options)
    of_regression = recipe.stop_metric in {"pearson", "spearman"}
    metric = "loss" if config.task == "classification" and of_regression else recipe.stop_metric
    return loop_settings(config.training, recipe, fold=fold_index, default_metric=metric)


def build_model(
    spec: ModelSpec,
    options,
    inputs: ModelInputs,
    settings: LoopSettings,
    weights: Path | None,
    build: Callable[..., nn.Module] | None = None,
) -> nn.Module:
    """Make a model whose fresh weights depend on the seed alone, then take over earlier ones.

    `build` is the spec's own, or that of its pre-training objective.
    """
    torch.manual_seed(derive_seed(settings.seed, "weights", settings.fold))
    module = (build or spec.build)(options, inputs)
    if weights is not None:
        try:
            spec.load_pretrained(module, load_weights(weights))
        except ConfigError as error:
            raise ConfigError(f"{weights}: {error}") from None
    return module


def _final_metrics(
    module: nn.Module, data: FoldData, progress: Progress, workers: Workers
) -> tuple[dict[str, float], Outputs | None]:
    fold = data.fold
    metrics = {
        **progress.history[progress.best_epoch - 1],
        "epoch": float(progress.best_epoch),
        "epochs_trained": float(progress.epochs),
        "train_samples": float(len(fold.train)),
        "eval_samples": float(len(fold.validation)),
        "test_samples": float(len(fold.test)),
    }
    if not len(fold.test):
        return metrics, None
    scores, outputs = evaluate(module, data, fold.test, workers)
    return metrics | {f"test_{name}": value for name, value in scores.items()}, outputs
