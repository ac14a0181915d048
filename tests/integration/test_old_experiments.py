"""A model folder of the reference system, used through the commands."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import biolm_ray
from biolm_ray import load_config
from biolm_ray.models.stored_weights import load_weights

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def settings(shared: Path, tmp_path: Path) -> dict:
    return {
        "filepath": shared / "golden" / "data" / "golden_40.tsv",
        "pretrainedmodel": shared / "golden" / "old_saluki_experiment",
        "outputpath": tmp_path,
        "tokensep": ",",
        "idpos": 2,
        "seqpos": 5,
        "labelpos": 4,
        "blocksize": 512,
        "encoding": "atomic",
    }


def test_its_predictions_are_those_it_made(settings: dict, shared: Path):
    result = biolm_ray.predict(load_config(None, "predict", settings))
    golden = pd.read_csv(shared / "golden" / "old_saluki_experiment" / "predict_golden40.csv")
    assert result.table["sequence"].tolist() == golden["sequence"].tolist()
    assert np.allclose(result.table["prediction"], golden["prediction"], rtol=1e-6)


def test_its_scores_are_those_it_made(settings: dict, shared: Path):
    settings |= {"handletokens": "remove", "dev": 2}
    result = biolm_ray.interpret(load_config(None, "interpret", settings))
    table = pd.read_csv(result.tables[0].path)
    golden = pd.read_csv(shared / "golden" / "old_saluki_experiment" / "loo_remove_first2.csv")
    assert table["token"].tolist() == golden["token"].tolist()
    assert np.allclose(table["loo"], golden["loo"], atol=1e-5)


def test_it_can_be_trained_further(settings: dict, shared: Path, tmp_path: Path):
    settings |= {"task": "regression", "splitratio": "60,20,20", "scaling": "log", "nepochs": 1}
    settings |= {"training.learning_rate": 1e-12}
    biolm_ray.finetune(load_config(None, "fine-tune", settings))
    log = (tmp_path / "fine-tune" / "logs" / "run.log").read_text()
    assert "model saluki, as in" in log
    before = load_weights(shared / "golden" / "old_saluki_experiment")
    after = load_weights(tmp_path / "fine-tune")
    moved = [name for name in before if not torch.allclose(before[name], after[name], atol=1e-6)]
    statistics = {"running_mean", "running_var", "num_batches_tracked"}
    assert {name.rpartition(".")[2] for name in moved} <= statistics


@pytest.fixture
def xlnet_settings(settings: dict, shared: Path) -> dict:
    folder = shared / "golden" / "old_xlnet_experiment"
    return settings | {"pretrainedmodel": folder, "encoding": "bpe", "dev": 2}


def test_an_old_xlnet_predicts_and_is_interpreted(xlnet_settings: dict, shared: Path):
    """With padding masked; the reference itself then predicts about 0.002 more than recorded."""
    result = biolm_ray.predict(load_config(None, "predict", xlnet_settings))
    golden = pd.read_csv(shared / "golden" / "old_xlnet_experiment" / "predict_golden2.csv")
    assert result.table["sequence"].tolist() == golden["sequence"].tolist()
    assert np.allclose(result.table["prediction"], golden["prediction"] + 0.0022, atol=3e-3)
    scored = biolm_ray.interpret(load_config(None, "interpret", xlnet_settings))
    assert scored.tables[0].num_positions == 86


def test_an_old_xlnet_is_fine_tuned(xlnet_settings: dict, shared: Path, tmp_path: Path):
    changes = {"task": "regression", "nepochs": 1, "dev": 6, "training.learning_rate": 1e-12}
    biolm_ray.finetune(load_config(None, "fine-tune", xlnet_settings | changes))
    before = load_weights(shared / "golden" / "old_xlnet_experiment")
    after = load_weights(tmp_path / "fine-tune")
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in after)
