"""A cross-validation over a column of roles: its folds, and the rows it keeps aside."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import biolm_ray
from biolm_ray import load_config
from biolm_ray.training.trained_rows import read_rows

pytestmark = pytest.mark.usefixtures("ray_cluster")

ROLES = ["Train", "training", "val", "train", "test", "trn", "exclude"]


def write_rows(path: Path, num_rows: int = 42) -> pd.DataFrame:
    """Rows whose label is the share of a letter; the first sequence stands in the file twice."""
    draw = np.random.default_rng(0)
    sequences = ["".join(draw.choice(list("ACGU"), 40)) for _ in range(num_rows)]
    sequences[4] = sequences[0]
    table = pd.DataFrame(
        {
            "id": [f"g{row}" for row in range(num_rows)],
            "sequence": sequences,
            "y": [sequence.count("A") / 40 for sequence in sequences],
            "set": [ROLES[row % len(ROLES)] for row in range(num_rows)],
        }
    )
    table.to_csv(path, sep="\t", index=False)
    return table


def settings_for(data: Path, output: Path, **more) -> dict:
    return {
        "task": "regression",
        "filepath": str(data),
        "stripheader": True,
        "outputpath": str(output),
        "idpos": "id",
        "seqpos": "sequence",
        "labelpos": "y",
        "splitpos": "set",
        "splits.leave_out": ["exclude"],
        "crossvalidation": 2,
        "batchsize": 8,
        "nepochs": 1,
        "blocksize": 64,
        "model.channels": 4,
        "model.num_layers": 1,
        **more,
    }


def test_rows_kept_aside_are_predicted_by_all_models_and_scored_apart(tmp_path: Path):
    table = write_rows(tmp_path / "rows.tsv")
    settings = settings_for(tmp_path / "rows.tsv", tmp_path / "out")
    biolm_ray.finetune(load_config(None, "fine-tune", settings))
    folder = tmp_path / "out" / "fine-tune"

    aside = pd.read_csv(folder / "kept_aside_predictions.csv")
    columns = ["sequence", "label", "prediction", "prediction_std", "num_models"]
    assert list(aside.columns) == columns
    assert (aside["num_models"] == 2).all()
    assert aside["sequence"].tolist() == table["id"][table["set"] == "test"].tolist()
    assert (aside["prediction_std"] > 0).any()

    learnt = table["id"][~table["set"].isin(["test", "exclude"])].tolist()
    assert pd.read_csv(folder / "out_of_fold.csv")["sequence"].tolist() == learnt
    for name in "01":
        own = pd.read_csv(folder / name / "test_predictions.csv")["sequence"]
        assert set(own) < set(learnt)
        known = read_rows(folder / name)
        assert known is not None
        assert table["set"][known.rows["kept_aside"]].unique().tolist() == ["test"]

    summary = json.loads((folder / "cross_validation.json").read_text())
    error = ((aside["label"] - aside["prediction"]) ** 2).mean()
    assert summary["kept_aside"]["test_mse"] == pytest.approx(error)
    assert summary["kept_aside"]["rows"] == len(aside)
    rows = pd.read_csv(folder / "cross_validation.csv")["fold"].tolist()
    assert rows == ["0", "1", "mean", "standard deviation", "pooled", "kept aside"]
    assert "kept aside" in (folder / "cross_validation.txt").read_text()

    log = (folder / "logs" / "run.log").read_text()
    assert "2 disjoint folds within the 30 rows for training and validation" in log
    assert "6 test rows are kept aside" in log
    assert "left out: 6 rows of 'exclude'" in log
    assert "1 of 36 test rows has the same sequence as a training row of the same fold" in log

    once = (folder / "kept_aside_predictions.csv").read_bytes()
    biolm_ray.finetune(load_config(None, "fine-tune", {**settings, "resume": True}))
    assert (folder / "kept_aside_predictions.csv").read_bytes() == once
