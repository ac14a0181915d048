"""Several label columns from the command line to the files that are left."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import biolm_ray
from biolm_ray import cli, load_config
from biolm_ray.config.load import load_config as load
from biolm_ray.demo.data import write_demo_data
from biolm_ray.errors import ConfigError
from biolm_ray.models.saved import load_model

pytestmark = pytest.mark.usefixtures("ray_cluster")

NAMES = ("half_life_hours", "mean_level")
FLAGS = [
    *("--tokensep", ",", "--idpos", "id", "--seqpos", "sequence"),
    *("--labelpos", "half_life_hours", "mean level", "--silent"),
]
TRAINING = [
    *("--task", "regression", "--splitpos", "fold", "--batchsize", "8", "--nepochs", "2"),
    *("--blocksize", "1024", "--set", "model.channels=8", "--set", "model.num_layers=3"),
]

# Repeats one number for every target, since outputs of their own would begin with other weights.
ECHO = """
from torch import nn
from biolm_ray.config.schema import Section
from biolm_ray.models.spec import ModelSpec, Recipe

class Echo(nn.Module):
    def __init__(self, options, inputs):
        super().__init__()
        self.num_outputs = inputs.num_outputs
        self.bag = nn.EmbeddingBag(inputs.vocabulary_size, 1, padding_idx=inputs.pad_id)

    def forward(self, token_ids, lengths, specifiers=None):
        return self.bag(token_ids).expand(-1, self.num_outputs)

SPEC = ModelSpec(
    name="echo", summary="The mean of one number to a token.", options=Section, build=Echo,
    recipe=lambda options: Recipe(learning_rate=0.1),
)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Synthetic transcripts with a second label, and one that repeats the first."""
    path = tmp_path_factory.mktemp("data") / "transcripts.tsv"
    write_demo_data(path, num_rows=36)
    rows = pd.read_csv(path, sep="\t")
    rows["mean level"] = 100 * np.log(rows["half_life_hours"]) + 7
    rows["again"] = rows["half_life_hours"]
    rows.to_csv(path, sep="\t", index=False)
    return path


@pytest.fixture(scope="module")
def experiment(data: Path, tmp_path_factory) -> Path:
    """Two targets, trained on three folds by the command line."""
    output = tmp_path_factory.mktemp("experiment")
    files = ["--filepath", str(data), "--outputpath", str(output)]
    assert cli.main(["fine-tune", *files, *FLAGS, *TRAINING]) == 0
    return output


def test_each_fold_leaves_predictions_ranks_and_metrics_of_each_target(experiment: Path, data):
    rows = pd.read_csv(data, sep="\t").set_index("id")
    folder = experiment / "fine-tune" / "1"
    table = pd.read_csv(folder / "test_predictions.csv").set_index("sequence")
    assert np.allclose(table["label_mean_level"], rows.loc[table.index, "mean level"])
    assert np.allclose(table["label_half_life_hours"], rows.loc[table.index, "half_life_hours"])
    metrics = json.loads((folder / "test_results.json").read_text())
    for name in NAMES:
        error = table[f"prediction_{name}"] - table[f"label_{name}"]
        assert metrics[f"test_mae_{name}"] == pytest.approx(error.abs().mean())
        ranks = pd.read_csv(folder / f"rank_deltas_{name}.csv")
        assert np.allclose(ranks["pred"], table[f"prediction_{name}"])
    pearson = [metrics[f"test_pearson_{name}"] for name in NAMES]
    assert metrics["test_pearson"] == pytest.approx(np.mean(pearson))
    assert not (folder / "rank_deltas.csv").exists()
    card = load_model(folder).card
    assert (card.targets.names, card.inputs.num_outputs) == (NAMES, 2)


def test_the_summary_and_the_out_of_fold_table_hold_each_target(experiment: Path, data):
    table = pd.read_csv(experiment / "fine-tune" / "out_of_fold.csv")
    rows = pd.read_csv(data, sep="\t")
    assert table["sequence"].tolist() == rows["id"].tolist()
    summary = json.loads((experiment / "fine-tune" / "cross_validation.json").read_text())
    for name, column in zip(NAMES, ("half_life_hours", "mean level"), strict=True):
        assert np.allclose(table[f"label_{name}"], rows[column])
        error = table[f"prediction_{name}"] - table[f"label_{name}"]
        assert summary["pooled"][f"test_mse_{name}"] == pytest.approx((error**2).mean())


def test_predicting_gives_each_target_with_labels_or_without(experiment: Path, data, tmp_path):
    command = ["predict", "--filepath", str(data), "--pretrainedmodel", str(experiment)]
    assert cli.main([*command, "--outputpath", str(tmp_path), *FLAGS]) == 0
    table = pd.read_csv(tmp_path / "predict" / "test_predictions.csv")
    columns = ("label", "prediction", "prediction_std")
    of_targets = [f"{column}_{name}" for name in NAMES for column in columns]
    assert table.columns.tolist() == ["sequence", *of_targets, "num_models"]
    metrics = json.loads((tmp_path / "predict" / "test_results.json").read_text())
    error = table["prediction_mean_level"] - table["label_mean_level"]
    assert metrics["test_mse_mean_level"] == pytest.approx((error**2).mean())
    unlabelled = [*FLAGS[:6], "--silent"]
    assert cli.main([*command, "--outputpath", str(tmp_path / "bare"), *unlabelled]) == 0
    bare = pd.read_csv(tmp_path / "bare" / "predict" / "test_predictions.csv")
    predictions = [name for name in table.columns if not name.startswith("label")]
    pd.testing.assert_frame_equal(bare, table[predictions])


def test_interpreting_writes_a_table_for_each_target(experiment: Path, data):
    files = ["--filepath", str(data), "--outputpath", str(experiment)]
    command = ["interpret", *files, *FLAGS, *TRAINING[:4], "--set", "interpret.folds=0"]
    assert cli.main(command) == 0
    folder = experiment / "fine-tune" / "0"
    predicted = pd.read_csv(folder / "test_predictions.csv").set_index("sequence")
    tables = [pd.read_csv(folder / f"loo_scores_remove_{name}.csv") for name in NAMES]
    for name, table in zip(NAMES, tables, strict=True):
        first = table.groupby("sequence", sort=False).first()
        assert np.allclose(first["pred"], predicted.loc[first.index, f"prediction_{name}"])
        assert np.allclose(first["label"], predicted.loc[first.index, f"label_{name}"])
    same = ["sequence", "token", "start_offset", "end_offset"]
    pd.testing.assert_frame_equal(tables[0][same], tables[1][same])
    assert not np.allclose(tables[0]["loo"], tables[1]["loo"])
    assert sorted(path.name for path in folder.glob("*loo*") if path.is_file()) == [
        f"loo_scores_remove_{name}.{ending}" for name in NAMES for ending in ("csv", "parquet")
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["half_life_hours"], "names 1 column, but .* predicts the targets half_life_hours, mean"),
        (["mean level", "half_life_hours"], "name the columns in that order"),
    ],
)
def test_labels_that_are_not_those_of_the_model_are_refused(
    experiment: Path, data, tmp_path, columns, message
):
    settings = {
        **{"filepath": str(data), "outputpath": str(tmp_path), "idpos": "id"},
        **{"seqpos": "sequence", "labelpos": columns, "pretrainedmodel": str(experiment)},
    }
    with pytest.raises(ConfigError, match=message):
        biolm_ray.predict(load_config(None, "predict", settings))


def test_the_resolved_configuration_keeps_the_columns(experiment: Path):
    written = experiment / "fine-tune" / "config.yaml"
    data = load(written, "fine-tune").data
    assert [column.name for column in data.label_columns] == ["half_life_hours", "mean level"]


@pytest.mark.parametrize("feed", ["indexed", "streaming"])
def test_a_target_given_twice_is_learnt_as_it_is_once(data: Path, tmp_path, feed):
    (tmp_path / "echo.py").write_text(ECHO)
    curves = []
    for name, columns in (("one", ["half_life_hours"]), ("two", ["half_life_hours", "again"])):
        settings = {
            **{"task": "regression", "filepath": str(data), "outputpath": str(tmp_path / name)},
            **{"tokensep": ",", "idpos": "id", "seqpos": "sequence", "labelpos": columns},
            **{"splitratio": "60,20,20", "batchsize": 8, "nepochs": 3, "blocksize": 1024},
            **{"silent": True, "training.feed": feed, "model.plugin": str(tmp_path / "echo.py")},
        }
        biolm_ray.finetune(load_config(None, "fine-tune", settings))
        state = json.loads((tmp_path / name / "fine-tune" / "trainer_state.json").read_text())
        history = state["log_history"]
        curves.append([each.get("loss", each.get("eval_loss")) for each in history])
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)
    assert curves[0][:2] != curves[0][-2:]
