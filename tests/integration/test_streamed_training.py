"""Training on rows that stream through Ray Data while those who train hold every CPU."""

import json
import tempfile
from pathlib import Path

import boto3
import numpy as np
import pandas as pd
import pytest
from stored import store_rows

import biolm_ray
from biolm_ray import load_config
from biolm_ray.data import pieces
from biolm_ray.demo.data import write_demo_data
from biolm_ray.errors import DataError
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.streaming import stream_rows

pytestmark = pytest.mark.usefixtures("ray_cluster")

NUM_ROWS = 45
SALUKI = {"name": "saluki", "channels": 8, "num_layers": 3}
XLNET = {"name": "xlnet", "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "transcripts.tsv"
    write_demo_data(path, num_rows=NUM_ROWS)
    return path


def settings_for(data: Path, output: Path, model: dict, **more) -> dict:
    return {
        "task": "regression",
        "filepath": str(data),
        "outputpath": str(output),
        "batchsize": 4,
        "nepochs": 2,
        "blocksize": 1024,
        "encoding": "atomic",
        "tokensep": ",",
        "idpos": "id",
        "seqpos": "sequence",
        "training.feed": "streaming",
        **{f"model.{name}": value for name, value in model.items()},
        **more,
    }


@pytest.fixture
def small_parts(data: Path, monkeypatch) -> None:
    """Prepared data come in some fifteen files."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", data.stat().st_size // 15)


def fine_tune(data: Path, output: Path, **more) -> tuple[pd.DataFrame, dict[str, float]]:
    settings = settings_for(data, output, SALUKI, labelpos="half_life_hours", **more)
    result = biolm_ray.finetune(load_config(None, "fine-tune", settings))
    assert len(PreparedData.open(result.prepared).manifest["parts"]) > 10
    assert result.report is not None
    folders = [path.parent for path in (output / "fine-tune").rglob("trainer_state.json")]
    states = [json.loads((path / "trainer_state.json").read_text()) for path in sorted(folders)]
    losses = [state["log_history"][-2]["loss"] for state in states]
    return result.report.out_of_fold, {"train_loss": float(np.mean(losses))}


def test_folds_side_by_side_predict_every_row_once_and_learn_as_from_an_index(
    data: Path, tmp_path, small_parts
):
    rows = pd.read_csv(data, sep="\t")
    folds = {"splitpos": "fold", "nepochs": 2}
    table, streamed = fine_tune(data, tmp_path / "streamed", **folds)
    _, indexed = fine_tune(data, tmp_path / "indexed", **folds, **{"training.feed": "indexed"})
    assert table["sequence"].tolist() == rows["id"].tolist()
    assert np.allclose(table["label"], rows["half_life_hours"])
    assert np.isfinite(table["prediction"]).all()
    assert streamed["train_loss"] == pytest.approx(indexed["train_loss"], rel=0.25)


def test_two_workers_stream_a_share_each(data: Path, tmp_path, small_parts):
    table, _ = fine_tune(data, tmp_path, splitratio="60,20,20", ngpus=2, gradacc=2, nepochs=1)
    known = set(pd.read_csv(data, sep="\t")["id"])
    assert len(table) == NUM_ROWS // 5
    assert set(table["sequence"]) <= known
    assert table["sequence"].is_unique


def test_a_language_model_learns_from_a_stream(data: Path, tmp_path, small_parts):
    settings = settings_for(data, tmp_path, XLNET, blocksize=64, batchsize=8)
    result = biolm_ray.pretrain(load_config(None, "pre-train", settings))
    assert 1 < result.metrics["eval_perplexity"] < 1000
    assert result.metrics["train_samples"] + result.metrics["eval_samples"] == NUM_ROWS


def test_rows_arrive_through_ray_as_they_are_stored(tmp_path):
    prepared = store_rows(tmp_path / "prepared", [7] * 6, id_type="uint16", num_specifiers=1)
    rows = np.random.default_rng(0).permutation(42)[:30]
    arrived = dict(stream_rows(prepared, rows))
    assert sorted(arrived) == sorted(rows)
    for row, found in arrived.items():
        expected = prepared.encoded(row)
        np.testing.assert_array_equal(found.token_ids, expected.token_ids)
        np.testing.assert_array_equal(found.specifiers, expected.specifiers)
        assert found.center == expected.center


def test_rows_stream_from_s3_without_a_copy(bucket, tmp_path, monkeypatch):
    prepared = store_rows(tmp_path / "prepared", [7] * 3)
    client = boto3.client("s3")
    for path in (tmp_path / "prepared").rglob("*.*"):
        client.upload_file(str(path), "inputs", str(path.relative_to(tmp_path)))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    remote = PreparedData.open(f"{bucket}/prepared")
    assert remote.labels.tolist() == prepared.labels.tolist()
    assert remote.ids_of(np.array([20, 3])) == ["g20", "g3"]
    arrived = dict(stream_rows(remote, np.arange(21)))
    for row in range(21):
        np.testing.assert_array_equal(arrived[row].token_ids, prepared.token_ids(row))
    assert not (tmp_path / "none").exists()


def test_a_missing_file_is_told_from_a_task(tmp_path):
    prepared = store_rows(tmp_path / "prepared", [7] * 6)
    (tmp_path / "prepared" / "rows" / "part-4.parquet").unlink()
    with pytest.raises(DataError, match=r"part-4\.parquet\); remove the folder"):
        list(stream_rows(prepared, np.arange(42)))


def test_a_stream_that_is_left_early_ends_its_tasks(tmp_path):
    prepared = store_rows(tmp_path / "prepared", [7] * 40)
    for _ in range(3):
        stream = stream_rows(prepared, np.arange(280))
        assert next(stream)[0] == 0
        stream.close()
    assert len(dict(stream_rows(prepared, np.arange(280)))) == 280
