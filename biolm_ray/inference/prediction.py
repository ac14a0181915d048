"""Predict the rows of a file with one model, or with those of all folds, on several workers.

The forward passes are cut from the rows alone, as `model_outputs` cuts them, and dealt out whole:
predictions do not depend on how many workers there are, or which of them did what.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import ray
import torch
from jaxtyping import Bool, Int

from biolm_ray.config.schema import PreprocessingConfig, TrustedCode
from biolm_ray.data.targets import Targets
from biolm_ray.inference.crew import share_tasks
from biolm_ray.inference.predict import (
    MeanPredictions,
    Progress,
    averaged,
    check_fits,
    check_same_tokens,
    checked_predictions,
)
from biolm_ray.inference.worker import PartOfRows, PredictingWorker, PredictionJob
from biolm_ray.models.batches import RowBatches
from biolm_ray.models.saved import SavedModel, load_model
from biolm_ray.models.stored_weights import weights_file
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.training.evaluate import (
    PREDICTION_BATCH_TOKENS,
    ROWS_AT_ONCE,
    Outputs,
    length_batches,
    outputs_of_batches,
)
from biolm_ray.training.threads import use_threads

PRODUCTS_OF_A_WORKER = 1e11
"""Multiplications, some seconds of a core, that are worth the start of another worker."""
BYTES_PER_WEIGHT = 4
ADVICE = "run the same command again, on a machine with more memory if that ran out"

Done = Callable[[PartOfRows, tuple[Int[np.ndarray, " part"], Outputs]], None]


def predict_folders(
    folders: Sequence[Path],
    prepared_in: str,
    rows: Int[np.ndarray, " rows"],
    may_predict: Bool[np.ndarray, "models rows"],
    preprocessing: PreprocessingConfig,
    trusted: TrustedCode,
    *,
    num_workers: int,
    gpu_per_worker: float = 0.0,
    wait_minutes: float = 30.0,
    progress: Progress | None = None,
) -> tuple[MeanPredictions, Targets]:
    """Give the mean prediction of some models, its deviation over several, and their targets.

    Args:
        folders: The models.
        prepared_in: Location of the data set, tokenized with the models' own tokenizer.
        rows: Which rows of it.
        may_predict: Which models each row is predicted by.
        preprocessing: How sequences are cropped.
        trusted: Code besides our own that may run.
        num_workers: Most Ray workers; few rows take fewer. 0 works in this process.
        gpu_per_worker: GPUs, or a share of one, that each worker holds.
        wait_minutes: When to give up if no worker finds a place.
        progress: Called with the number of rows done and of all, each counted once per model.

    Raises:
        ConfigError: The models do not predict the same.
        DataError: The data does not fit the models, or a prediction is not a finite number.
        ResourceError: Too many workers died, or none had a place for too long.
    """
    prepared = PreparedData.open(prepared_in)
    models = [
        load_model(folder, trusted=trusted, preprocessing=preprocessing, with_weights=False)
        for folder in folders
    ]
    check_same_tokens(models, [str(folder) for folder in folders])
    for model in models:
        check_fits(model, prepared)
    job = PredictionJob(
        model_folders=tuple(folders),
        prepared=prepared_in,
        rows=rows,
        may_predict=may_predict,
        preprocessing=preprocessing,
        trusted=trusted,
        use_gpu=gpu_per_worker > 0,
        num_threads=1 if num_workers else None,
    )
    gathered = _Gathered(models, prepared, job, progress)
    parts, num_products = divide(job, prepared.lengths, [model.framing.room for model in models])
    if num_workers == 0 or not ray.is_initialized():
        worker = PredictingWorker(job)
        for part in parts:
            gathered.add(part, worker.work(part))
    else:
        share_tasks(
            PredictingWorker,
            (job,),
            [(part,) for part in parts],
            lambda task, result: gathered.add(task[0], result),
            num_workers=workers_worth(num_products, min(num_workers, len(parts))),
            gpu_per_worker=gpu_per_worker,
            wait_minutes=wait_minutes,
            noun="predicting worker",
            advice=ADVICE,
        )
    return averaged(gathered.each, may_predict), models[0].card.targets


def divide(
    job: PredictionJob, lengths: Int[np.ndarray, " rows"], rooms: Sequence[int]
) -> tuple[list[PartOfRows], float]:
    """Cut the rows of every model into parts of about one forward pass each.

    Args:
        job: Says which rows there are.
        lengths: Tokens of all rows of the data set.
        rooms: How many tokens of a sequence each model sees.

    Returns:
        The parts, those of a model together, and about how many multiplications all of them take.
    """
    parts: list[PartOfRows] = []
    num_products = 0.0
    for model, (folder, room) in enumerate(zip(job.model_folders, rooms, strict=True)):
        in_view = np.minimum(lengths[job.rows_of(model)], room)
        for start in range(0, len(in_view), ROWS_AT_ONCE):
            num_tokens = int(in_view[start : start + ROWS_AT_ONCE].sum())
            number = max(1, round(num_tokens / PREDICTION_BATCH_TOKENS))
            parts += [PartOfRows(model, start, place, number) for place in range(number)]
        weights = weights_file(folder)
        size = weights.stat().st_size if weights is not None else 0
        num_products += float(in_view.sum()) * size / BYTES_PER_WEIGHT
    return parts, num_products


def workers_worth(num_products: float, most: int) -> int:
    """How many workers a prediction is worth: starting one takes longer than a few rows do."""
    return max(1, min(most, round(num_products / PRODUCTS_OF_A_WORKER)))


class _Gathered:
    """The predictions of all models, as their parts come in; a model's are checked when all are.

    Attributes:
        each: By model and row, NaN where a model may not predict.
    """

    def __init__(
        self,
        models: Sequence[SavedModel],
        prepared: PreparedData,
        job: PredictionJob,
        progress: Progress | None,
    ) -> None:
        num_outputs = models[0].card.targets.num_outputs
        self.each = np.full((*job.may_predict.shape, num_outputs), np.nan)
        self._models, self._prepared, self._job = models, prepared, job
        self._outputs = [np.full((len(job.rows_of(i)), num_outputs), np.nan) for i in _count(job)]
        self._missing = [len(outputs) for outputs in self._outputs]
        self._progress, self._num_all = progress, int(job.may_predict.sum())

    def add(self, part: PartOfRows, result: tuple[Int[np.ndarray, " part"], Outputs]) -> None:
        """Take in what a worker made of a part."""
        places, outputs = result
        self._outputs[part.model][part.first_row + places] = outputs
        if not len(places):
            return
        self._missing[part.model] -= len(places)
        if self._progress is not None:
            self._progress(self._num_all - sum(self._missing), self._num_all)
        if not self._missing[part.model]:
            self._finish(part.model)

    def _finish(self, number: int) -> None:
        model, rows = self._models[number], self._job.rows_of(number)
        mine = np.flatnonzero(self._job.may_predict[number])
        self.each[number, mine] = checked_predictions(
            model, self._outputs[number], self._prepared, rows
        )


def _count(job: PredictionJob) -> range:
    return range(len(job.model_folders))


class PartPredictor:
    """Predicts one part of the rows after another, with one model in memory at a time."""

    def __init__(self, job: PredictionJob) -> None:
        if job.num_threads is not None:
            use_threads(job.num_threads)
        self._job = job
        self._device = "cuda" if job.use_gpu and torch.cuda.is_available() else "cpu"
        self._prepared = PreparedData.open(job.prepared)
        self._loaded: tuple[int, SavedModel] | None = None

    def predict(self, part: PartOfRows) -> tuple[Int[np.ndarray, " part"], Outputs]:
        """Run a model on the forward passes of a part.

        Returns:
            Places of the rows, counted from the first of those that were cut together, and their
            outputs in the model's units.
        """
        model = self._load(part.model)
        rows = self._job.rows_of(part.model)[part.first_row :][:ROWS_AT_ONCE]
        batches = RowBatches(self._prepared, model.framing)
        cut = list(length_batches(batches.padded_lengths(rows), PREDICTION_BATCH_TOKENS))
        first, last = (len(cut) * place // part.num_parts for place in (part.place, part.place + 1))
        chosen = cut[first:last]
        outputs = outputs_of_batches(
            model.module, (batches.load(rows[places]) for places in chosen), self._device
        )
        num_outputs = model.card.targets.num_outputs
        return (
            np.concatenate([np.zeros(0, dtype=np.int64), *chosen]),
            np.concatenate([np.zeros((0, num_outputs)), *outputs]),
        )

    def _load(self, number: int) -> SavedModel:
        if self._loaded is None or self._loaded[0] != number:
            self._loaded = None  # One model leaves the memory before another comes.
            job = self._job
            model = load_model(
                job.model_folders[number], trusted=job.trusted, preprocessing=job.preprocessing
            )
            model.module.to(self._device)
            self._loaded = number, model
        return self._loaded[1]
