from types import SimpleNamespace

import pytest
from ray.exceptions import RayTaskError

from biolm_ray.errors import ConfigError, DataError, TrainingError, root_cause
from biolm_ray.experiment.running import Outcome, raise_failures


def outcome(name: str, error: Exception | None = None) -> Outcome:
    metrics = None if error else {"test_mse": 1.0}
    return Outcome(SimpleNamespace(name=name), metrics=metrics, error=error)


def test_finished_jobs_raise_nothing():
    raise_failures([outcome("fold 0"), outcome("fold 1")])


def test_failed_jobs_are_named_with_their_causes():
    outcomes = [outcome("fold 0"), outcome("fold 1", DataError("bad")), outcome("fold 2")]
    with pytest.raises(DataError, match=r"1 of 3 models failed; 2 finished(.|\n)*fold 1: bad"):
        raise_failures(outcomes)


def test_different_causes_are_a_training_error():
    outcomes = [outcome("fold 0", DataError("a")), outcome("fold 1", RuntimeError("b"))]
    with pytest.raises(TrainingError, match=r"fold 0: a\n  fold 1: b"):
        raise_failures(outcomes)


def test_the_cause_is_found_behind_the_wrappers():
    cause = ConfigError("gradacc 3")
    wrapped = RayTaskError("train", "traceback", cause)
    assert root_cause(wrapped) is cause
    assert root_cause(wrapped.as_instanceof_cause()) is cause
    by_worker = RuntimeError("worker group failed")
    by_worker.worker_failures = {0: wrapped}  # type: ignore[attr-defined]
    assert root_cause(by_worker) is cause
