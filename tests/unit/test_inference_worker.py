"""Workers that score or predict, and code of others inside them that would end them."""

import sys

import pytest

from biolm_ray.inference.worker import PredictingWorker, ScoringWorker


def leave(*_):
    sys.exit(3)


@pytest.mark.parametrize("in_making", [True, False])
@pytest.mark.parametrize(
    ("make", "maker", "task"),
    [
        (lambda: ScoringWorker([object()]), "_make_scorer", (0, object())),
        (lambda: PredictingWorker(object()), "_make_predictor", (object(),)),
    ],
)
def test_a_worker_whose_model_calls_sys_exit_says_so(monkeypatch, make, maker, task, in_making):
    class Leaves:
        score = predict = leave

    worker = make()
    monkeypatch.setattr(worker, maker, leave if in_making else lambda job: Leaves())
    with pytest.raises(RuntimeError, match=r"sys\.exit\(3\) was called in a worker"):
        worker.work(*task)
