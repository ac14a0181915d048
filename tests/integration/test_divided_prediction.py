"""Predictions of many rows: by one process or by workers, some of which die, the same numbers."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from small_models import NUM_ROWS, make_tokenizer, write_model, write_prepared

from biolm_ray.config.schema import OWN_CODE, PreprocessingConfig
from biolm_ray.errors import ResourceError
from biolm_ray.inference import prediction
from biolm_ray.inference.predict import MeanPredictions
from biolm_ray.inference.prediction import predict_folders
from biolm_ray.inference.worker import PredictingWorker

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def prepared(tmp_path: Path) -> str:
    return str(write_prepared(tmp_path / "prepared", make_tokenizer()))


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [write_model(tmp_path / str(seed), make_tokenizer(), seed) for seed in (0, 1)]


def predict(folders: list[Path], prepared: str, num_workers: int, **more) -> MeanPredictions:
    rows = np.arange(NUM_ROWS)
    may_predict = np.ones((len(folders), NUM_ROWS), dtype=bool)
    may_predict[1, 5:] = False
    found, _ = predict_folders(
        folders,
        prepared,
        rows,
        may_predict,
        PreprocessingConfig(block_size=40),
        OWN_CODE,
        num_workers=num_workers,
        **more,
    )
    return found


def test_a_worker_that_dies_is_replaced_and_the_numbers_are_those_of_one_process(
    folders: list[Path], prepared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = predict(folders, prepared, 0)
    sign = tmp_path / "has died"

    class DiesOnce(PredictingWorker):
        def work(self, part):
            if not sign.exists():
                sign.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().work(part)

    monkeypatch.setattr(prediction, "PredictingWorker", DiesOnce)
    monkeypatch.setattr(prediction, "workers_worth", lambda num_products, most: most)
    spread = predict(folders, prepared, 2)
    assert sign.exists()
    for one, other in zip(spread, alone, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_prediction_that_finds_no_place_ends_and_says_what_it_asked_for(
    folders: list[Path], prepared: str
) -> None:
    with pytest.raises(ResourceError) as caught:
        predict(folders, prepared, 1, gpu_per_worker=1.0, wait_minutes=0.02)
    assert "1 predicting worker asks for 1 GPU and 1 CPU; the cluster has 0 of 0 GPUs" in str(
        caught.value
    )
