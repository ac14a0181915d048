"""A cross-validation that tells MLflow what it has learnt."""

import pytest

import biolm_ray
from biolm_ray import load_config
from biolm_ray.demo.data import write_demo_data
from biolm_ray.experiment import tracking

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_every_fold_becomes_an_mlflow_run(tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    for name, value in tracking.DEFAULTS.items():
        monkeypatch.setenv(name, value)
    write_demo_data(tmp_path / "transcripts.tsv", num_rows=30)
    settings = {
        "task": "regression",
        "filepath": str(tmp_path / "transcripts.tsv"),
        "outputpath": str(tmp_path / "half_lives"),
        "tokensep": ",",
        "seqpos": "sequence",
        "labelpos": "half_life_hours",
        "crossvalidation": 2,
        "nepochs": 1,
        "blocksize": 512,
        "model.channels": 4,
        "model.num_layers": 2,
        "run.mlflow": f"file:{tmp_path / 'store'}",
    }
    result = biolm_ray.finetune(load_config(None, "fine-tune", settings))
    client = MlflowClient(tracking_uri=settings["run.mlflow"])
    experiment = client.get_experiment_by_name("half_lives")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name for run in runs} == {"fold 0", "fold 1"}
    assert result.report is not None
    log = (tmp_path / "half_lives" / "fine-tune" / "logs" / "run.log").read_text()
    assert "MLflow: 2 runs at file:" in log
    assert all({"eval_loss", "test_loss", "test_r2"} <= run.data.metrics.keys() for run in runs)
