"""One, two and four workers train to the same answer, batch normalization and dropout included."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ray

import biolm_ray
from biolm_ray import load_config
from biolm_ray.demo.data import write_demo_data
from biolm_ray.experiment.cross_validation import fold_jobs
from biolm_ray.experiment.setup import choose_model, plan_run
from biolm_ray.models.stored_weights import load_weights
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.tokenization.tokenizer import Tokenizer
from biolm_ray.training.fold import FoldJob, train_fold
from biolm_ray.training.workers import Workers

pytestmark = pytest.mark.usefixtures("ray_cluster")

MODELS = {
    "saluki": {"channels": 8, "num_layers": 3, "dropout": 0.3},
    "xlnet": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16, "dropout": 0.2},
}


def job_of(folder: Path, model: str, output: Path) -> FoldJob:
    """Three steps of three micro-batches each, so that a fourth worker has none."""
    write_demo_data(folder / "transcripts.tsv", num_rows=45)
    settings = {
        "task": "regression",
        "filepath": str(folder / "transcripts.tsv"),
        "outputpath": str(output),
        "encoding": "atomic",
        "tokensep": ",",
        "idpos": "id",
        "seqpos": "sequence",
        "labelpos": "half_life_hours",
        "splitratio": "60,20,20",
        "batchsize": 3,
        "gradacc": 4,
        "nepochs": 3,
        "blocksize": 256,
        "getdata": True,
        "model.name": model,
        **{f"model.{name}": value for name, value in MODELS[model].items()},
    }
    config = load_config(None, "fine-tune", settings)
    prepared = PreparedData.open(biolm_ray.finetune(config).prepared)
    config = choose_model(config, None)
    jobs = fold_jobs(
        config,
        plan_run(config, prepared, Tokenizer.load(output)),
        prepared=prepared.location,
        tokenizer=output,
        folder=output,
        weights=None,
    )
    return jobs[0]


def train_together(size: int, job: FoldJob) -> None:
    """Train with so many processes, as Ray Train would start them."""

    @ray.remote(num_cpus=0)
    def work(rank: int) -> None:
        import torch.distributed as dist

        meeting = f"file://{job.folder}/meeting"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
        try:
            train_fold(job, Workers(rank, size), lambda event: None)
        finally:
            dist.destroy_process_group()

    job.folder.mkdir(parents=True)
    ray.get([work.remote(rank) for rank in range(size)])


def losses_of(history: list[dict[str, float]]) -> list[float]:
    """The loss of training, then of validation, epoch by epoch."""
    return [entry[name] for entry in history for name in ("loss", "eval_loss") if name in entry]


@pytest.mark.parametrize("model", list(MODELS))
def test_the_number_of_workers_does_not_change_the_answer(tmp_path, model):
    job = job_of(tmp_path, model, tmp_path / "out")
    curves, weights, predictions = [], [], []
    for size in (1, 2, 4):
        folder = tmp_path / str(size)
        train_together(size, replace(job, folder=folder, board=folder / "tboard"))
        state = json.loads((folder / "trainer_state.json").read_text())
        curves.append(losses_of(state["log_history"]))
        weights.append(load_weights(folder))
        predictions.append(pd.read_csv(folder / "test_predictions.csv")["prediction"])
    for curve, found, predicted in zip(curves[1:], weights[1:], predictions[1:], strict=True):
        np.testing.assert_allclose(curve, curves[0], rtol=1e-5)
        np.testing.assert_allclose(predicted, predictions[0], rtol=1e-4)
        for name, value in weights[0].items():
            np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)
