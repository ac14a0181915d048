"""What one worker does: hold models and data, and score units of sequences."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from biolm_ray.config.schema import InterpretConfig, PreprocessingConfig
from biolm_ray.inference.leave_one_out import Scores, make_planner, score_sequence
from biolm_ray.inference.predict import check_fits, check_same_tokens
from biolm_ray.inference.score_table import combine_scores, score_columns, score_table
from biolm_ray.inference.units import Unit, UnitResult, save_unit
from biolm_ray.models.saved import SavedModel, load_model
from biolm_ray.preparation.prepared import PreparedData


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """All that a worker needs; small enough to send anywhere.

    Attributes:
        model_folders: The scores are averaged over these models.
        prepared: Location of the prepared data set.
        settings: Which edit.
        preprocessing: How sequences are cropped, in place of what the models were trained with.
        parts: Where finished units are kept.
        use_gpu: Whether the worker has a GPU.
        num_threads: Threads of one worker; None leaves them as they are.
    """

    model_folders: tuple[Path, ...]
    prepared: str
    settings: InterpretConfig
    preprocessing: PreprocessingConfig | None
    parts: Path
    use_gpu: bool
    num_threads: int | None = None


class UnitScorer:
    """Holds the models and the data of a job, and scores one unit after another."""

    def __init__(self, job: ScoringJob) -> None:
        self.job = job
        if job.num_threads is not None:
            torch.set_num_threads(job.num_threads)
        self.device = "cuda" if job.use_gpu and torch.cuda.is_available() else "cpu"
        self.models = load_models(job)
        self.plan = make_planner(job.settings, self.models[0].tokenizer)
        self.columns = score_columns(
            job.settings.edit, self.models[0].card.targets, len(self.models)
        )
        self.prepared = PreparedData.open(job.prepared)
        for model in self.models:
            check_fits(model, self.prepared)
            model.module.to(self.device)

    def score(self, unit: Unit) -> UnitResult:
        """Score a unit and leave its table, or one for each target, among the parts."""
        suffixes = self.models[0].card.targets.suffixes
        texts: dict[str, list[str]] = {suffix: [] for suffix in suffixes}
        written = {"columns": self.columns, "index": False, "header": False}
        num_scores, difference = 0, 0.0
        with _exact_products():
            for row in unit.rows:
                scores = self._score_row(row)
                difference = max(difference, scores.largest_difference)
                num_scores += len(scores.positions)
                for target, suffix in enumerate(suffixes):
                    texts[suffix].append(self._table(row, scores, target).to_csv(**written))
        result = UnitResult(unit.num_tokens, num_scores, difference)
        tables = {suffix: "".join(parts) for suffix, parts in texts.items()}
        save_unit(self.job.parts, unit, tables, result)
        return result

    def _score_row(self, row: int) -> Scores:
        encoded = self.prepared.encoded(row)
        return combine_scores(
            [score_sequence(model, encoded, self.plan, device=self.device) for model in self.models]
        )

    def _table(self, row: int, scores: Scores, target: int) -> pd.DataFrame:
        labels = self.prepared.labels
        label = None if labels is None else labels[row]
        return score_table(
            scores,
            sequence_id=self.prepared.ids[row],
            label=label[target] if isinstance(label, np.ndarray) else label,
            tokenizer=self.models[0].tokenizer,
            targets=self.models[0].card.targets,
            target=target,
        )


def load_models(job: ScoringJob, *, with_weights: bool = True) -> list[SavedModel]:
    """Load a job's models and make sure that their scores can be averaged.

    Without weights only one model is in memory at a time, and none can predict.
    """
    models = []
    for folder in job.model_folders:
        model = load_model(folder, preprocessing=job.preprocessing)
        models.append(model if with_weights else replace(model, module=nn.Identity()))
    check_same_tokens(models, [str(folder) for folder in job.model_folders])
    return models


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
