"""Workers that score or predict, and code of others inside them that would end them."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from biolm_ray.config.schema import OWN_CODE, TrustedCode
from biolm_ray.errors import ConfigError
from biolm_ray.inference.worker import PredictingWorker, ScoringWorker
from biolm_ray.models.plugins import import_plugin

JOB: Any = SimpleNamespace(trusted=OWN_CODE)


def leave(*_):
    sys.exit(3)


@pytest.mark.parametrize("in_making", [True, False])
@pytest.mark.parametrize(
    ("make", "maker", "task"),
    [
        (lambda: ScoringWorker([JOB]), "_make_scorer", (0, object())),
        (lambda: PredictingWorker(JOB), "_make_predictor", (object(),)),
    ],
)
def test_a_worker_whose_model_calls_sys_exit_says_so(monkeypatch, make, maker, task, in_making):
    class Leaves:
        score = predict = leave

    worker = make()
    monkeypatch.setattr(worker, maker, leave if in_making else lambda job: Leaves())
    with pytest.raises(RuntimeError, match=r"sys\.exit\(3\) was called in a worker"):
        worker.work(*task)


def test_a_worker_names_the_plugin_that_would_have_ended_it(tmp_path, monkeypatch):
    plugin = tmp_path / "plugin.py"
    plugin.write_text("def fail(*_):\n    raise KeyboardInterrupt\n")
    fail = vars(import_plugin(str(plugin)))["fail"]
    worker = PredictingWorker(SimpleNamespace(trusted=TrustedCode(plugin=str(plugin))))  # type: ignore[arg-type]
    monkeypatch.setattr(worker, "_make_predictor", fail)
    with pytest.raises(ConfigError, match=r"plugin .*, line 2: it raises KeyboardInterrupt"):
        worker.work(JOB)
