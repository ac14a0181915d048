"""What MLflow is told of a run, and that a run does not depend on it."""

import json
import os
import sqlite3
from pathlib import Path

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import Config
from biolm_ray.errors import ConfigError
from biolm_ray.experiment import tracking
from biolm_ray.experiment.tracking import check_tracking, flat_settings, read_metrics, track

RESULTS = {
    "epoch": 2.0,
    "eval_loss": 0.5,
    "eval_spearman rho": 0.4,
    "train_loss": 0.7,
    "test_loss": 0.6,
    "test_r2": None,
    "test_spearman rho": 0.3,
    "test_samples": 9.0,
}
STATE = {
    "epoch": 3,
    "log_history": [
        {"epoch": 1.0, "step": 5, "loss": 0.9, "learning_rate": 0.1, "grad_norm": 1.0},
        {"epoch": 1.0, "step": 5, "eval_loss": 0.8, "eval_spearman": 0.1},
        {"epoch": 2.0, "step": 10, "loss": 0.7, "learning_rate": 0.1, "grad_norm": 1.0},
        {"epoch": 2.0, "step": 10, "eval_loss": 0.5, "eval_spearman": 0.4},
        {"epoch": 3.0, "step": 15, "loss": 0.6, "learning_rate": 0.1, "grad_norm": 1.0},
        {"epoch": 3.0, "step": 15, "eval_loss": float("nan"), "eval_spearman": 0.2},
    ],
}


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Take back what tracking sets in the environment."""
    for name in tracking.DEFAULTS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def config_of(folder: Path, **settings: object) -> Config:
    return load_config(
        None,
        "fine-tune",
        {
            "task": "regression",
            "filepath": "rows.tsv",
            "seqpos": 2,
            "labelpos": 3,
            "outputpath": str(folder / "half_lives"),
            "model.name": "saluki",
            "model.channels": 8,
            **settings,
        },
    )


def model_folder(folder: Path, **results: float) -> Path:
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps(STATE))
    (folder / "all_results.json").write_text(json.dumps(RESULTS | results))
    return folder


def runs_at(uri: str):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("half_lives")
    assert experiment is not None
    return client, list(client.search_runs([experiment.experiment_id]))


def test_metrics_are_those_of_each_epoch_and_the_final_ones_without_repetition(tmp_path):
    metrics = read_metrics(model_folder(tmp_path / "0"))
    by_epoch = [entry for entry in metrics if entry[0] == "eval_loss"]
    assert by_epoch == [("eval_loss", 0.8, 1), ("eval_loss", 0.5, 2)]
    assert [name for name, _, _ in metrics].count("eval_spearman") == 3
    final = {"test_loss": 0.6, "test_spearman": 0.3, "test_samples": 9.0, "epoch": 2.0}
    assert {name: value for name, value, epoch in metrics[8:]} == final
    assert {epoch for _, _, epoch in metrics[8:]} == {2}


def test_settings_are_told_by_their_dotted_names_if_they_are_set(tmp_path):
    flat = flat_settings(config_of(tmp_path, **{"splits.test_splits": "[a, b]", "splitpos": 4}))
    assert flat["model.channels"] == "8"
    assert flat["training.scaling"] == "standard"
    assert flat["splits.test_splits"] == '[["a", "b"]]'
    assert flat["data.split_column"] == "4"
    assert "training.batch_size" not in flat
    assert not [name for name in flat if name.startswith(("interpret.", "tune.", "run."))]


def test_every_model_becomes_a_run_once(tmp_path):
    uri = f"file:{tmp_path / 'store'}"
    config = config_of(tmp_path, **{"run.mlflow": uri})
    folders = {f"fold {fold}": model_folder(tmp_path / fold, fold=int(fold)) for fold in "01"}
    track(config, folders)
    track(config, folders)
    client, runs = runs_at(uri)
    assert sorted(run.info.run_name for run in runs) == ["fold 0", "fold 1"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(run.data.params["model.channels"] == "8" for run in runs)
    assert all(run.data.metrics["test_spearman"] == 0.3 for run in runs)
    history = client.get_metric_history(runs[0].info.run_id, "train_loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.9), (2, 0.7), (3, 0.6)]


def test_a_model_trained_anew_becomes_another_run(tmp_path):
    uri = f"file:{tmp_path / 'store'}"
    config = config_of(tmp_path, **{"run.mlflow": uri})
    track(config, {"fold 0": model_folder(tmp_path / "first", test_loss=0.6)})
    track(config, {"fold 0": model_folder(tmp_path / "second", test_loss=0.5)})
    assert sorted(run.data.metrics["test_loss"] for run in runs_at(uri)[1]) == [0.5, 0.6]


def test_a_run_of_which_the_server_has_not_taken_all_is_marked_and_told_again_later(
    tmp_path, monkeypatch, caplog
):
    mlflow = pytest.importorskip("mlflow.tracking")
    uri = f"file:{tmp_path / 'store'}"
    config = config_of(tmp_path, **{"run.mlflow": uri})
    folders = {"fold 0": model_folder(tmp_path / "0")}

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_tag", fail)
        track(config, folders)
    assert "No space left on device" in caplog.text
    assert [run.info.status for run in runs_at(uri)[1]] == ["FAILED"]
    track(config, folders)
    assert sorted(run.info.status for run in runs_at(uri)[1]) == ["FAILED", "FINISHED"]


@pytest.mark.parametrize(
    ("uri", "cause"),
    [("http://127.0.0.1:9", "Connection refused"), ("file:/proc/nowhere", "No such file")],
)
def test_a_server_that_cannot_be_told_is_a_warning(tmp_path, monkeypatch, caplog, uri, cause):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = config_of(tmp_path, **{"run.mlflow": uri})
    track(config, {"fold 0": model_folder(tmp_path / "0")})
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"MLflow at {uri} could not be told" in record.message
    assert cause in record.message


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("database is locked"),
        OSError(28, "No space left on device"),
        ImportError("cannot import name 'x' from 'mlflow'"),
        KeyError("experiment"),
    ],
    ids=repr,
)
def test_whatever_fails_in_mlflow_leaves_the_results_and_says_how_to_go_on(
    tmp_path, monkeypatch, caplog, error
):
    def fail(*_):
        raise error

    monkeypatch.setattr(tracking, "_write_runs", fail)
    config = config_of(tmp_path, **{"run.mlflow": "sqlite:///x.db"})
    track(config, {"fold 0": model_folder(tmp_path / "0")})
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.exc_info  # for run.log
    assert str(error) in record.message
    assert f"All results are in {config.output_path}; run again with --resume" in record.message


def test_nothing_is_told_unless_asked_for(tmp_path):
    track(config_of(tmp_path), {"fold 0": tmp_path / "there is no such folder"})
    assert "MLFLOW_DISABLE_TELEMETRY" not in os.environ


def test_the_missing_package_is_told_before_training(monkeypatch):
    check_tracking("file:/some/folder")
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    check_tracking(None)
    with pytest.raises(ConfigError, match=r"pip install 'biolm-ray\[mlflow\]'"):
        check_tracking("file:/some/folder")
