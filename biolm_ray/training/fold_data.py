"""The rows of one fold as its model sees them, and how the model is judged on them."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from biolm_ray.config.schema import Config
from biolm_ray.data.splits import Fold
from biolm_ray.data.targets import class_weights, fit_targets
from biolm_ray.errors import DataError, TrainingError
from biolm_ray.models.batches import Framing, RowBatches
from biolm_ray.models.spec import Batch
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.training.accumulation import Loaded
from biolm_ray.training.batching import Rows
from biolm_ray.training.evaluate import model_outputs, to_predictions
from biolm_ray.training.feeds import Feed, make_feed
from biolm_ray.training.finite import check_finite
from biolm_ray.training.loop import Objective
from biolm_ray.training.losses import LossKind, class_losses, regression_losses
from biolm_ray.training.metrics import classification_metrics, regression_metrics
from biolm_ray.training.normalization import refit_batch_statistics
from biolm_ray.training.settings import LoopSettings
from biolm_ray.training.workers import Workers

REFIT_BATCHES = 16


class FoldData:
    """A prepared data set with the targets and weights of one fold.

    Attributes:
        batches: Makes the batches of any rows of the data set.
        targets: Fitted on the training rows alone.
        encoded: Scaled labels (rows, targets) or class numbers (rows,).
        weights: What each row counts in the training loss.
        loss_kind: The loss of regression.
    """

    def __init__(self, config: Config, fold: Fold, prepared: PreparedData, framing: Framing):
        assert prepared.labels is not None
        assert config.task is not None
        self.fold = fold
        self.batches = RowBatches(prepared, framing)
        kind = np.float64 if config.task == "regression" else object
        labels = np.asarray(prepared.labels, dtype=kind)
        self.targets = fit_targets(
            config.task,
            config.training.scaling,
            labels,
            fold.train,
            prepared.target_names,
            prepared.label_name,
        )
        self.encoded = self._encode(labels)
        self.loss_kind: LossKind = config.training.loss
        self._training = config.training
        self.weights = self._row_weights(prepared)

    def feed(self, workers: Workers) -> Feed:
        """How one of the workers gets at the rows."""
        return make_feed(self._training, self.batches, workers)

    def _row_weights(self, prepared: PreparedData) -> Float[np.ndarray, " rows"]:
        if self.targets.task == "classification" and self._training.class_weights == "balanced":
            return class_weights(self.encoded, self.fold.train)[self.encoded]
        if self._training.weighted:
            assert prepared.weights is not None
            weights = np.asarray(prepared.weights, dtype=np.float64)
            if not weights[self.fold.train].astype(np.float32).any():
                raise DataError(
                    "all training rows of a fold have the weight 0, so that there is nothing to "
                    "learn from; is data.weight_column (weightpos) the right column?"
                )
            return weights
        return np.ones(prepared.num_rows)

    def _encode(self, labels: np.ndarray) -> np.ndarray:
        """Encode the labels of the fold's rows; rows of no set may hold what it cannot take."""
        used = np.concatenate([self.fold.train, self.fold.validation, self.fold.test])
        values = self.targets.encode(labels[used])
        encoded = np.zeros((len(labels), *values.shape[1:]), dtype=values.dtype)
        encoded[used] = values
        return encoded


def make_objective(data: FoldData, settings: LoopSettings, workers: Workers) -> Objective:
    """Weighted training loss on the fold's training rows, metrics on its validation rows."""

    def validate(module: nn.Module) -> dict[str, float]:
        refit_batch_statistics(module, _refit_batches(data, settings, workers), workers.device)
        if not len(data.fold.validation):
            return {}
        return evaluate(module, data, data.fold.validation, workers)[0]

    num_refit = min(len(data.fold.train), REFIT_BATCHES * settings.batch_size)
    return Objective(
        loss=_supervised_loss(data, workers.device),
        validate=validate,
        num_judged=len(data.fold.validation) + num_refit * workers.size,
    )


def _supervised_loss(
    data: FoldData, device: torch.device | str
) -> Callable[[nn.Module, Loaded], Tensor]:
    """The losses of some rows, weighted and summed."""
    weights = torch.as_tensor(data.weights, dtype=torch.float32)
    labels = torch.as_tensor(data.encoded)

    def loss(module: nn.Module, loaded: Loaded) -> Tensor:
        rows, batch = loaded.rows, loaded.batch.to(device)
        outputs = module(batch.token_ids, batch.lengths, batch.specifiers)
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        wanted = labels[rows].to(device)
        if data.targets.task == "classification":
            losses = class_losses(outputs, wanted)
        else:
            losses = regression_losses(data.loss_kind, outputs, wanted)
        return (losses * weights[rows].to(device)).sum()

    return loss


def _refit_batches(data: FoldData, settings: LoopSettings, workers: Workers) -> Iterator[Batch]:
    """The first batches of one fixed shuffle of the training rows, on every worker alike."""
    feed = data.feed(workers)
    chosen = feed.fixed_batches(data.fold.train, REFIT_BATCHES, settings)
    batches = feed.open(np.concatenate(chosen))
    for rows in chosen:
        yield batches.load(rows)


def evaluate(
    module: nn.Module, data: FoldData, rows: Rows, workers: Workers
) -> tuple[dict[str, float], Float[np.ndarray, "rows outputs"]]:
    """Give metrics and model outputs of some rows, the same on every worker.

    The loss is the kind that is trained, in model units and unweighted; the other metrics are in
    original units. Rows that are streamed should ascend.

    Raises:
        TrainingError: A prediction is not a finite number.
    """
    num_outputs, feed = data.targets.num_outputs, data.feed(workers)
    share = feed.share(len(rows))
    mine = model_outputs(
        module,
        feed.open(rows[share]),
        rows[share],
        num_outputs=num_outputs,
        device=workers.device,
    )
    outputs = np.empty((len(rows), num_outputs))
    for places, part in workers.gather((share, mine)):
        outputs[places] = part
    predictions = to_predictions(outputs, data.targets)
    prepared = data.batches.prepared
    check_finite(predictions, outputs, prepared, rows, "the trained model", TrainingError)
    labels = data.encoded[rows]
    if data.targets.task == "classification":
        likelihood = predictions[np.arange(len(rows)), labels]
        loss = -float(np.log(np.clip(likelihood, 1e-12, None)).mean())
        return {"loss": loss, **classification_metrics(labels, predictions)}, outputs
    losses = regression_losses(data.loss_kind, torch.from_numpy(outputs), torch.from_numpy(labels))
    loss = float(losses.numpy().mean())
    original, suffixes = data.targets.decode(labels), data.targets.suffixes
    return {"loss": loss, **regression_metrics(original, predictions, suffixes)}, outputs
