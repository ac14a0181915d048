"""Workers that score or predict, and what they are told.

Light, so that their processes can say how the rest is imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from biolm_ray.config.schema import InterpretConfig, PreprocessingConfig, TrustedCode
from biolm_ray.errors import without_exits
from biolm_ray.imports import import_for_good
from biolm_ray.inference.units import Unit, UnitResult


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """All that a worker needs; small enough to send anywhere.

    Attributes:
        model_folders: The scores are averaged over these models.
        prepared: Location of the prepared data set.
        settings: Which edit.
        preprocessing: How sequences are cropped, in place of what the models were trained with.
        trusted: Code besides our own that may run.
        parts: Where finished units are kept.
        use_gpu: Whether the worker has a GPU.
        num_threads: Threads of a worker with a process of its own; None leaves this one as it is.
    """

    model_folders: tuple[Path, ...]
    prepared: str
    settings: InterpretConfig
    preprocessing: PreprocessingConfig | None
    trusted: TrustedCode
    parts: Path
    use_gpu: bool
    num_threads: int | None = None


class ScoringWorker:
    """Scores units of several jobs, with the models of one job in memory at a time."""

    def __init__(self, jobs: Sequence[ScoringJob]) -> None:
        self._make_scorer = import_for_good("biolm_ray.inference.scorer").UnitScorer
        self._plugin_named = import_for_good("biolm_ray.models.plugins").plugin_named
        self._scorer: Any = None
        self.jobs = jobs

    @without_exits()
    def work(self, job: int, unit: Unit) -> UnitResult:
        """Score a unit of one of the jobs, given by its place among them."""
        with self._plugin_named(self.jobs[job].trusted.plugin):
            if self._scorer is None or self._scorer.job is not self.jobs[job]:
                self._scorer = None  # Models leave the memory before others come.
                self._scorer = self._make_scorer(self.jobs[job])
            return self._scorer.score(unit)


@dataclass(frozen=True, kw_only=True)
class PredictionJob:
    """All that a worker needs to predict rows.

    Attributes:
        model_folders: The models.
        prepared: Location of the prepared data set.
        rows: Which rows of it.
        may_predict: Which models each row is predicted by.
        preprocessing: How sequences are cropped.
        trusted: Code besides our own that may run.
        use_gpu: Whether the worker has a GPU.
        num_threads: Threads of a worker with a process of its own; None leaves this one as it is.
    """

    model_folders: tuple[Path, ...]
    prepared: str
    rows: Int[np.ndarray, " rows"]
    may_predict: Bool[np.ndarray, "models rows"]
    preprocessing: PreprocessingConfig
    trusted: TrustedCode
    use_gpu: bool
    num_threads: int | None = None

    def rows_of(self, model: int) -> Int[np.ndarray, " mine"]:
        """The rows that one of the models predicts."""
        return self.rows[self.may_predict[model]]


class PartOfRows(NamedTuple):
    """Some forward passes of one model: of the rows that are cut into passes together, a share.

    Attributes:
        model: Place of the model among all.
        first_row: Place, among the model's rows, of the first that is cut together.
        place: Which share it is.
        num_parts: Of how many shares.
    """

    model: int
    first_row: int
    place: int
    num_parts: int


class PredictingWorker:
    """Predicts parts of the rows of a job."""

    def __init__(self, job: PredictionJob) -> None:
        self._make_predictor = import_for_good("biolm_ray.inference.prediction").PartPredictor
        self._plugin_named = import_for_good("biolm_ray.models.plugins").plugin_named
        self._predictor: Any = None
        self._job = job

    @without_exits()
    def work(self, part: PartOfRows) -> tuple[np.ndarray, np.ndarray]:
        """Predict one part; see `PartPredictor.predict`."""
        with self._plugin_named(self._job.trusted.plugin):
            if self._predictor is None:
                self._predictor = self._make_predictor(self._job)
            return self._predictor.predict(part)
