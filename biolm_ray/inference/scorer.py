"""Holds the models and the data of a job, and scores units of sequences."""

import ctypes
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import torch

from biolm_ray.errors import DataError
from biolm_ray.inference.leave_one_out import Scores, make_planner, score_sequence
from biolm_ray.inference.predict import check_fits, check_same_tokens
from biolm_ray.inference.score_table import (
    chosen_class,
    combine_scores,
    score_columns,
    score_table,
)
from biolm_ray.inference.scores_file import write_part
from biolm_ray.inference.self_check import CheckedStack
from biolm_ray.inference.units import ENDINGS, Unit, UnitResult, save_result, table_path
from biolm_ray.inference.worker import ScoringJob
from biolm_ray.models.saved import SavedModel, load_model
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.training.finite import why_not_finite
from biolm_ray.training.threads import use_threads

# Numbers of mallopt's settings (malloc.h), and bytes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST_KEPT = 1 << 30


class UnitScorer:
    """Holds the models and the data of a job, and scores one unit after another."""

    def __init__(self, job: ScoringJob) -> None:
        self.job = job
        if job.num_threads is not None:
            use_threads(job.num_threads)
            keep_freed_memory()
        self.device = "cuda" if job.use_gpu and torch.cuda.is_available() else "cpu"
        self.models = load_models(job)
        self.targets = self.models[0].card.targets
        self.plan = make_planner(job.settings, self.models[0].tokenizer)
        self.columns = score_columns(job.settings.edit, self.targets, len(self.models))
        self.class_number = chosen_class(job.settings.class_name, self.targets)
        self.prepared = PreparedData.open(job.prepared)
        for model in self.models:
            check_fits(model, self.prepared)
            model.module.to(self.device)
        self.stacks = [CheckedStack(model) for model in self.models]

    def score(self, unit: Unit) -> UnitResult:
        """Score a unit and leave its tables, two for each target, among the parts."""
        with _exact_products():
            by_row = {row: self._score_row(row) for row in unit.rows}
        squared_deviations = []
        for target, suffix in enumerate(self.targets.suffixes):
            tables = [self._table(row, scores, target) for row, scores in by_row.items()]
            table = pa.concat_tables(tables).unify_dictionaries()
            csv, parquet = (table_path(self.job.parts, unit, suffix, end) for end in ENDINGS)
            write_part(csv, parquet, table, self.columns)
            if len(self.models) > 1:
                deviations = table["loo_std"].to_numpy()
                squared_deviations.append(float(deviations @ deviations))
        result = UnitResult(
            num_tokens=unit.num_tokens,
            num_scores=sum(len(scores.positions) for scores in by_row.values()),
            largest_difference=max(scores.largest_difference for scores in by_row.values()),
            num_redone=sum(scores.redone for scores in by_row.values()),
            squared_deviations=tuple(squared_deviations),
            notes=tuple(note for stack in self.stacks for note in stack.notes),
        )
        save_result(self.job.parts, unit, result, self.targets.suffixes)
        return result

    def _score_row(self, row: int) -> Scores:
        encoded = self.prepared.encoded(row)
        by_model = [
            score_sequence(model, encoded, self.plan, stack=stack, device=self.device)
            for model, stack in zip(self.models, self.stacks, strict=True)
        ]
        for model, scores in zip(self.models, by_model, strict=True):
            self._check_finite(model, scores, row)
        return combine_scores(by_model)

    def _check_finite(self, model: SavedModel, scores: Scores, row: int) -> None:
        """Make sure that the predictions of a sequence and of all its edits are numbers.

        Raises:
            DataError: One is not; nothing of the sequence is written.
        """
        bad = np.flatnonzero(~np.isfinite(scores.loo).all(axis=1))
        whole = not np.isfinite(scores.original).all()
        if whole or len(bad):
            which = "" if whole else f" with the token at {scores.positions[bad[0]]} edited"
            raise DataError(
                f"model {model.folder}: the prediction of '{self.prepared.ids[row][:40]}'{which} "
                "is not a finite number: "
                f"{why_not_finite(scores.loo_model, self.prepared.specifiers(row))}"
            )

    def _table(self, row: int, scores: Scores, target: int) -> pa.Table:
        labels = self.prepared.labels
        label = None if labels is None else labels[row]
        return score_table(
            scores,
            sequence_id=self.prepared.ids[row],
            label=label[target] if isinstance(label, np.ndarray) else label,
            tokenizer=self.models[0].tokenizer,
            targets=self.targets,
            target=target,
            class_number=self.class_number,
        )


def load_models(
    job: ScoringJob, keep: Callable[[SavedModel], SavedModel] = lambda model: model
) -> list[SavedModel]:
    """Load a job's models and make sure that their scores can be averaged.

    `keep` says what stays of each, so that only one has to be in memory as a whole at a time.
    """
    models = [
        keep(load_model(folder, trusted=job.trusted, preprocessing=job.preprocessing))
        for folder in job.model_folders
    ]
    check_same_tokens(models, [str(folder) for folder in job.model_folders])
    return models


def keep_freed_memory() -> None:
    """Have this process keep the memory it frees, for the next layer to take.

    The GNU allocator gives large pieces back to the system, which clears them anew for every
    layer: up to a sixth of the time of a pass. Other allocators are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        for setting in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            library.mallopt(setting, _MOST_KEPT)


@contextmanager
def _exact_products() -> Iterator[None]:
    """Keep GPUs from rounding factors to TF32, whose error is larger than most scores."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before
