"""Every mode on a tiny file, in the order users run them, with what is left for their scripts."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import biolm_ray
from biolm_ray import load_config
from biolm_ray.cli import main
from biolm_ray.config.load import load_config as load
from biolm_ray.demo.data import write_demo_data
from biolm_ray.errors import BiolmError, ConfigError, DataError, UnexpectedError

pytestmark = pytest.mark.usefixtures("ray_cluster")

SMALL_SALUKI = {"model.channels": 8, "model.num_layers": 3}
COLUMNS = {
    "tokensep": ",",
    "idpos": "id",
    "seqpos": "sequence",
    "labelpos": "half_life_hours",
    "splitpos": "fold",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "transcripts.tsv"
    write_demo_data(path, num_rows=45)
    return path


def settings_for(data: Path, output: Path, **more) -> dict:
    return {
        "task": "regression",
        "filepath": str(data),
        "outputpath": str(output),
        "batchsize": 8,
        "nepochs": 2,
        "blocksize": 1024,
        **COLUMNS,
        **SMALL_SALUKI,
        **more,
    }


@pytest.fixture(scope="module")
def experiment(data: Path, tmp_path_factory) -> Path:
    """Three folds, cross-validated once for all tests that only read."""
    output = tmp_path_factory.mktemp("experiment")
    biolm_ray.finetune(load_config(None, "fine-tune", settings_for(data, output)))
    return output


def test_fine_tuning_leaves_every_file_of_the_contract(experiment: Path):
    fold_files = {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "test_predictions.csv",
        "rank_deltas.csv",
        "train_results.json",
        "eval_results.json",
        "test_results.json",
        "all_results.json",
        "trainer_state.json",
    }
    for fold in "012":
        names = {path.name for path in (experiment / "fine-tune" / fold).iterdir()}
        assert fold_files <= names
        assert "checkpoint" not in names
        assert list((experiment / "fine-tune" / "tboard" / fold).glob("events*"))
    assert (experiment / "tokenizer.json").exists()
    assert (experiment / "fine-tune" / "logs" / "run.log").read_text()


def test_every_file_and_folder_has_the_mode_that_the_umask_gives(experiment: Path, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    usual = {kind: (tmp_path / kind).stat().st_mode for kind in ("file", "folder")}
    for path in experiment.rglob("*"):
        kind = "folder" if path.is_dir() else "file"
        assert path.stat().st_mode == usual[kind], path


def test_no_file_is_left_half_written(experiment: Path):
    assert not [path for path in experiment.rglob("*") if path.name.startswith(".")]


def test_every_row_is_predicted_once_out_of_fold_in_original_units(experiment: Path, data: Path):
    table = pd.read_csv(experiment / "fine-tune" / "out_of_fold.csv")
    rows = pd.read_csv(data, sep="\t")
    assert table["sequence"].tolist() == rows["id"].tolist()
    assert table["fold"].tolist() == rows["fold"].tolist()
    assert np.allclose(table["label"], rows["half_life_hours"])


def test_the_summary_holds_folds_mean_deviation_and_pooled(experiment: Path):
    folder = experiment / "fine-tune"
    summary = json.loads((folder / "cross_validation.json").read_text())
    each = [summary["folds"][fold]["test_mse"] for fold in "012"]
    assert summary["mean"]["test_mse"] == pytest.approx(np.mean(each))
    table = pd.read_csv(folder / "out_of_fold.csv")
    pooled = ((table["label"] - table["prediction"]) ** 2).mean()
    assert summary["pooled"]["test_mse"] == pytest.approx(pooled)


def test_the_resolved_configuration_runs_again_to_the_same_weights(experiment: Path, tmp_path):
    again = load(experiment / "fine-tune" / "config.yaml", "fine-tune", {"outputpath": tmp_path})
    biolm_ray.finetune(again)
    for fold in "012":
        paths = [root / "fine-tune" / fold / "model.safetensors" for root in (experiment, tmp_path)]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_two_workers_learn_what_one_learns(data: Path, tmp_path):
    histories = []
    for workers in (0, 2):
        output = tmp_path / str(workers)
        settings = settings_for(
            data,
            output,
            gradacc=2,
            batchsize=4,
            ngpus=workers,
            splitratio="60,20,20",
            splitpos=None,
        )
        biolm_ray.finetune(load_config(None, "fine-tune", settings))
        state = json.loads((output / "fine-tune" / "trainer_state.json").read_text())
        histories.append([entry["loss"] for entry in state["log_history"] if "loss" in entry])
        assert not (output / "fine-tune" / "ray").exists()
    assert histories[0] == pytest.approx(histories[1], rel=1e-5)


def test_predicting_with_one_model_gives_its_test_predictions(experiment: Path, data, tmp_path):
    settings = {
        **{key: value for key, value in COLUMNS.items() if key != "splitpos"},
        "filepath": str(data),
        "outputpath": str(tmp_path),
        "pretrainedmodel": str(experiment / "fine-tune" / "1"),
    }
    result = biolm_ray.predict(load_config(None, "predict", settings))
    own = pd.read_csv(experiment / "fine-tune" / "1" / "test_predictions.csv").set_index("sequence")
    written = pd.read_csv(result.path).set_index("sequence")
    assert np.allclose(written.loc[own.index, "prediction"], own["prediction"], rtol=1e-4)
    assert set(result.metrics) == {"mse", "mae", "r2", "pearson", "spearman"}


def new_rows(data: Path, path: Path, num_known: int = 0) -> Path:
    """Write three rows that no model has seen, and as many as asked for that the folds share."""
    header, *lines = data.read_text().splitlines(keepends=True)
    fields = [line.split("\t") for line in lines[-3:]]
    column = header.rstrip("\n").split("\t").index("sequence")
    for row in fields:
        row[0] = f"new {row[0]}"
        row[column] = row[column].replace("a,c", "c,a").replace("g,u", "u,g")
    path.write_text("".join([header, *lines[:num_known], *("\t".join(row) for row in fields)]))
    return path


def test_predicting_with_an_experiment_averages_its_folds_and_needs_no_labels(
    experiment: Path, data, tmp_path
):
    settings = {
        "tokensep": ",",
        "idpos": "id",
        "seqpos": "sequence",
        "filepath": str(new_rows(data, tmp_path / "new.tsv")),
        "outputpath": str(tmp_path),
        "pretrainedmodel": str(experiment),
    }
    result = biolm_ray.predict(load_config(None, "predict", settings))
    columns = ["sequence", "prediction", "prediction_std", "num_models"]
    assert result.table.columns.tolist() == columns
    assert (result.table["prediction_std"] > 0).all()
    assert set(result.table["num_models"]) == {3}


def test_rows_of_the_training_are_predicted_by_the_fold_that_left_them_out(
    experiment: Path, data, tmp_path
):
    """The file has other columns, an order of its own and new rows among those of the training."""
    known = pd.read_csv(new_rows(data, tmp_path / "rows.tsv", num_known=20), sep="\t")
    table = known[["sequence", "id"]].iloc[::-1]
    table.to_csv(tmp_path / "mixed.tsv", sep="\t", index=False)
    settings = {
        **{"tokensep": ",", "idpos": "id", "seqpos": "sequence", "outputpath": str(experiment)},
        "filepath": str(tmp_path / "mixed.tsv"),
    }
    result = biolm_ray.predict(load_config(None, "predict", settings))
    found = pd.read_csv(experiment / "predict" / "test_predictions.csv").set_index("sequence")
    assert found.index.tolist() == table["id"].tolist()
    assert found["num_models"].tolist() == [3] * 3 + [1] * 20
    tested = pd.read_csv(experiment / "fine-tune" / "out_of_fold.csv").set_index("sequence")
    ids = table["id"][3:]
    expected = tested.loc[ids, "prediction"]
    assert np.allclose(found.loc[ids, "prediction"], expected, rtol=1e-4)
    assert found["prediction_std"].isna().tolist() == [False] * 3 + [True] * 20
    assert result.metrics == {}


@pytest.mark.parametrize("edit", ["remove", "mask"])
def test_interpreting_scores_each_folds_own_test_rows(experiment: Path, data, edit):
    settings = settings_for(data, experiment, handletokens=edit, **{"interpret.folds": [2]})
    result = biolm_ray.interpret(load_config(None, "interpret", settings))
    table = pd.read_csv(result.tables[0].path)
    assert result.tables[0].path == experiment / "fine-tune" / "2" / f"loo_scores_{edit}.csv"
    columns = ["sequence", "token", "label", "pred", "start_offset", "end_offset", "loo"]
    assert table.columns.tolist() == columns
    assert (table["end_offset"] - table["start_offset"]).tolist() == [1] * len(table)
    labels = pd.read_csv(data, sep="\t").set_index("id")["half_life_hours"]
    assert np.allclose(table["label"], labels[table["sequence"]])
    rows = pd.read_csv(data, sep="\t").query("fold == 2")
    assert table["sequence"].unique().tolist() == rows["id"].tolist()
    assert len(table) == rows["sequence"].str.count(",").add(1).sum()


EDITS = [
    (["remove", "--set", "interpret.window=3"], "remove_window3"),
    (["saturation"], "saturation"),
    (["insert", "--set", "interpret.alphabet=[a, gej]"], "insert"),
]


@pytest.mark.parametrize(("edit", "name"), EDITS, ids=[name for _, name in EDITS])
def test_the_command_line_scores_every_edit(
    experiment: Path, data, tmp_path, edit: list[str], name: str
):
    new = new_rows(data, tmp_path / "new.tsv")
    lines = new.read_text().splitlines(keepends=True)
    flags = [
        *("--filepath", new, "--outputpath", tmp_path / "out", "--pretrainedmodel", experiment),
        *("--tokensep", ",", "--idpos", "id", "--seqpos", "sequence", "--handletokens", *edit),
    ]
    assert main(["interpret", *map(str, flags), "--set", "interpret.folds=0,2"]) == 0
    scores = biolm_ray.load_scores(tmp_path / "out" / "interpret" / f"loo_scores_{name}.csv")
    lengths = [line.split("\t")[3].count(",") + 1 for line in lines[1:]]
    found = scores.table.groupby("sequence", observed=True).size().tolist()
    if name == "remove_window3":
        assert found == [length - 2 for length in lengths]
    elif name == "insert":
        assert found == [2 * (length + 1) for length in lengths]
        assert set(scores.table["replacement"]) == {"a", "gej"}
    else:
        assert all(
            2 * length < rows <= 11 * length for rows, length in zip(found, lengths, strict=True)
        )
        assert (scores.table["token"] != scores.table["replacement"]).all()
    assert scores.metadata["num_models"] == 2
    assert scores.metadata["noise_floor"] > 0
    assert scores.metadata["largest_difference"] < 1e-3


def test_interpreting_makes_the_scores_readable(experiment: Path, data):
    motifs = {"element": "UAUUUAU", "absent": "GGGGGGGGGGGG"}
    settings = settings_for(
        data,
        experiment,
        handletokens="mask",
        **{"interpret.folds": [1], "interpret.motifs": motifs, "interpret.plots": 1},
    )
    (found,) = biolm_ray.interpret(load_config(None, "interpret", settings)).readable
    assert found.changing == ("half_life_hours",)
    assert found.folder == experiment / "fine-tune" / "1" / "loo_scores_mask"
    regions = pd.read_csv(found.paths["regions"])
    assert regions["region"].tolist() == ["5'UTR", "CDS", "3'UTR"]
    tested = pd.read_csv(found.paths["motifs"]).set_index(["motif", "region"])["num_occurrences"]
    sequences = pd.read_csv(data, sep="\t").query("fold == 1")["sequence"]
    letters = sequences.str.replace("ej", "").str.replace(",", "").str.lower()
    assert tested["element", "all"] >= letters.str.count("tatttat").sum() - 1
    assert tested["absent", "all"] == 0
    junctions = pd.read_csv(found.paths["junctions"])["num_junctions"].sum()
    assert junctions == sequences.str.count("ej").sum()
    assert len(list((found.folder / "plots").iterdir())) == 1
    assert str(found.folder) in (experiment / "interpret" / "logs" / "run.log").read_text()


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("interpret.coordinates", "no.bed", "no.bed"),
        ("interpret.region_columns", "no_such_column", "no_such_column"),
    ],
)
def test_what_is_read_beside_the_scores_is_checked_before_scoring(
    experiment: Path, data: Path, tmp_path: Path, setting: str, value: str, message: str
) -> None:
    settings = settings_for(
        data,
        tmp_path / "out",
        pretrainedmodel=str(experiment),
        handletokens="mask",
        **{setting: value},
    )
    with pytest.raises(BiolmError, match=message):
        biolm_ray.interpret(load_config(None, "interpret", settings))
    assert not list((tmp_path / "out").rglob("loo_scores*"))


def test_a_new_file_is_interpreted_by_the_models_of_all_folds(experiment: Path, data, tmp_path):
    settings = settings_for(
        new_rows(data, tmp_path / "new.tsv"),
        tmp_path / "out",
        pretrainedmodel=str(experiment),
        handletokens="replace",
        replacementdict="{'a': 'c'}",
    )
    result = biolm_ray.interpret(load_config(None, "interpret", settings))
    table = pd.read_csv(result.tables[0].path)
    assert table["replacement"].unique().tolist() == ["c"]
    assert {"loo", "loo_std"} <= set(table.columns)


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_models_of_others_are_only_read(experiment: Path, data, tmp_path):
    before = state_of(experiment)
    own = settings_for(
        data,
        tmp_path / "out",
        pretrainedmodel=str(experiment),
        **{"interpret.folds": [2], "interpret.plots": 1},
    )
    result = biolm_ray.interpret(load_config(None, "interpret", own))
    table = tmp_path / "out" / "interpret" / "2" / "loo_scores_remove.csv"
    assert [summary.path for summary in result.tables] == [table]
    rows = pd.read_csv(data, sep="\t").query("fold == 2")
    assert pd.read_csv(table)["sequence"].unique().tolist() == rows["id"].tolist()
    biolm_ray.predict(load_config(None, "predict", own | {"inferenceonsplits": "[2]"}))
    assert len(pd.read_csv(tmp_path / "out" / "predict" / "rank_deltas.csv")) == len(rows)
    assert state_of(experiment) == before


def test_a_fold_without_a_named_split_keeps_its_tables(experiment: Path, data):
    settings = settings_for(data, experiment, handletokens="mask", **{"interpret.plots": 0})
    folds = experiment / "fine-tune"
    biolm_ray.interpret(load_config(None, "interpret", {**settings, "interpret.folds": [0, 1]}))
    before = state_of(folds)
    assert "0/loo_scores_mask/regions.csv" in before
    named = settings | {"inferenceonsplits": "[1]"}
    result = biolm_ray.interpret(load_config(None, "interpret", named))
    assert [summary.path.parent.name for summary in result.tables] == ["1"]
    after = state_of(folds)
    assert {name for name in before if name.startswith("0/")} <= after.keys()
    assert "loo_scores_mask/regions.csv" in before
    assert not (folds / "loo_scores_mask").exists()
    replaced = (experiment / "replaced").glob("interpret-*/fine-tune/1/loo_scores_mask.csv")
    kept = sorted(replaced)[-1]
    assert (kept.parents[1] / "loo_scores_mask" / "regions.csv").exists()
    changed = {name for name, state in after.items() if before.get(name) != state}
    assert {name.split("/")[0] for name in changed} == {"1"}


def test_predicting_without_any_model_tells_both_ways_to_name_one(data, tmp_path):
    settings = settings_for(data, tmp_path)
    with pytest.raises(ConfigError, match=r"set pretrainedmodel to .*, or outputpath to that of"):
        biolm_ray.predict(load_config(None, "predict", settings))


def test_classification_weighs_classes_and_predicts_their_names(data: Path, tmp_path):
    rows = pd.read_csv(data, sep="\t")
    rows["label"] = np.where(
        rows["half_life_hours"] > rows["half_life_hours"].median(), "long", "x"
    )
    path = tmp_path / "classes.tsv"
    rows.to_csv(path, sep="\t", index=False)
    settings = settings_for(path, tmp_path / "out", task="classification", labelpos="label")
    result = biolm_ray.finetune(load_config(None, "fine-tune", settings))
    assert result.report is not None
    assert set(result.report.out_of_fold["prediction"]) <= {"long", "x"}
    assert (tmp_path / "out" / "fine-tune" / "0" / "classification_report.csv").exists()
    chances = result.report.out_of_fold[["probability_long", "probability_x"]].sum(axis=1)
    assert np.allclose(chances, 1)
    settings |= {"interpret.folds": [0], "interpret.plots": 0, "interpret.kmer": 0}
    scored = biolm_ray.interpret(load_config(None, "interpret", settings))
    table = pd.read_csv(scored.tables[0].path)
    assert table["loo"].tolist() == table["loo_x"].tolist()
    assert scored.readable[0].changing == ("the probability of class x",)
    log_text = (tmp_path / "out" / "interpret" / "logs" / "run.log").read_text()
    assert "column loo is the change of the probability of class 'x'" in log_text


XLNET = {"name": "xlnet", "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}
BERT_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
BERT = {"name": "huggingface", "architecture": "bert", "config": BERT_SIZES}


@pytest.mark.parametrize("model", [XLNET, BERT], ids=["xlnet", "bert"])
def test_pre_training_is_found_by_fine_tuning(data: Path, tmp_path, model):
    settings = settings_for(data, tmp_path, encoding="bpe", vocabsize=300, blocksize=64, nepochs=1)
    for name in SMALL_SALUKI:
        settings.pop(name)
    settings |= {f"model.{key}": value for key, value in model.items()}
    pretrained = biolm_ray.pretrain(load_config(None, "pre-train", settings))
    assert 1 < pretrained.metrics["eval_perplexity"] < 1000
    biolm_ray.finetune(load_config(None, "fine-tune", settings))
    log = (tmp_path / "fine-tune" / "logs" / "run.log").read_text()
    assert f"model {model['name']}, as in {tmp_path / 'pre-train'}" in log


def test_pre_training_takes_the_tokenizer_of_a_model_and_its_weights_only_to_go_on(
    data: Path, tmp_path
):
    settings = settings_for(data, tmp_path, encoding="bpe", vocabsize=300, blocksize=64, nepochs=1)
    for name in SMALL_SALUKI:
        settings.pop(name)
    settings |= {f"model.{key}": value for key, value in XLNET.items()}
    metrics = {}
    for name, more in [
        ("first", {}),
        ("fresh", {"pretrainedmodel": str(tmp_path / "first")}),
        ("further", {"pretrainedmodel": str(tmp_path / "first"), "resume": 1}),
    ]:
        changes = {**settings, "outputpath": str(tmp_path / name), **more}
        metrics[name] = biolm_ray.pretrain(load_config(None, "pre-train", changes)).metrics
    weights = [tmp_path / name / "pre-train" / "model.safetensors" for name in ("first", "fresh")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert metrics["further"]["eval_loss"] < metrics["first"]["eval_loss"]


def test_a_plugin_trains_predicts_and_interprets(data: Path, tmp_path):
    settings = settings_for(data, tmp_path, splitratio="60,20,20", splitpos=None)
    for name in SMALL_SALUKI:
        settings.pop(name)
    plugin = Path(__file__).parents[2] / "examples" / "mean_pool_plugin.py"
    settings |= {"model.name": "mean_pool", "model.plugin": plugin}
    trained = biolm_ray.finetune(load_config(None, "fine-tune", settings))
    scored = biolm_ray.interpret(load_config(None, "interpret", settings))
    assert scored.tables[0].path == tmp_path / "fine-tune" / "loo_scores_remove.csv"
    assert scored.tables[0].largest_difference < 1e-3
    settings |= {"pretrainedmodel": tmp_path, "outputpath": tmp_path / "new"}
    predicted = biolm_ray.predict(load_config(None, "predict", settings)).table
    with pytest.raises(ConfigError, match=r"needs --plugin mean_pool_plugin\.py"):
        biolm_ray.predict(load_config(None, "predict", settings | {"model.plugin": None}))
    assert trained.report is not None
    tested = trained.report.out_of_fold.set_index("sequence")["prediction"]
    assert np.allclose(predicted.set_index("sequence").loc[tested.index, "prediction"], tested)


def test_rows_of_no_weight_do_not_train(data: Path, tmp_path):
    """Half of the labels are spoilt, but weigh next to nothing."""
    rows = pd.read_csv(data, sep="\t")
    rows["quality"] = ["STRONG", "1e-9"] * (len(rows) // 2) + ["GOOD"] * (len(rows) % 2)
    paths = []
    for name, spoilt in (("clean", 1.0), ("spoilt", 3.0)):
        table = rows.copy()
        table.loc[table["quality"] == "1e-9", "half_life_hours"] *= spoilt
        paths.append(tmp_path / f"{name}.tsv")
        table.to_csv(paths[-1], sep="\t", index=False)
    losses = []
    for path in paths:
        settings = settings_for(path, tmp_path / path.stem, scaling="none", splitpos=None)
        settings |= {"weightpos": "quality", "weightedregression": True, "splitratio": "60,20,20"}
        biolm_ray.finetune(load_config(None, "fine-tune", settings))
        results = json.loads((tmp_path / path.stem / "fine-tune" / "all_results.json").read_text())
        losses.append(results["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_resume_keeps_finished_folds_and_refuses_other_settings(data: Path, tmp_path):
    settings = settings_for(data, tmp_path)
    biolm_ray.finetune(load_config(None, "fine-tune", settings))
    (tmp_path / "fine-tune" / "1" / "done.json").unlink()
    times = {f: (tmp_path / "fine-tune" / f / "model.safetensors").stat().st_mtime for f in "012"}
    biolm_ray.finetune(load_config(None, "fine-tune", {**settings, "resume": True}))
    later = {f: (tmp_path / "fine-tune" / f / "model.safetensors").stat().st_mtime for f in "012"}
    assert [f for f in "012" if later[f] > times[f]] == ["1"]
    changed = {**settings, "resume": True, "training.learning_rate": 0.5}
    with pytest.raises(ConfigError, match=r"differing: training\.learning_rate"):
        biolm_ray.finetune(load_config(None, "fine-tune", changed))


def test_a_fold_that_fails_leaves_the_others_and_resume_trains_it_alone(
    data: Path, tmp_path, capsys
):
    settings = settings_for(data, tmp_path)
    folder = tmp_path / "fine-tune"
    (folder / "1" / "steps.csv").mkdir(parents=True)  # in the way
    with pytest.raises(UnexpectedError, match=r"1 of 3 models failed; 2 fin(.|\n)*1: .*steps"):
        biolm_ray.finetune(load_config(None, "fine-tune", settings))
    said = capsys.readouterr().err
    told = "fold 1 failed: unexpected IsADirectoryError: "
    assert 0 <= said.find(told) < said.find("results: "), said
    assert "Traceback" not in said
    _, _, details = (folder / "logs" / "run.log").read_text().partition(f"ERROR {told}")
    assert "in the worker: ray::train_with_ray()" in details
    assert "journal.py" in details.partition("RESULT")[0]
    assert [(folder / fold / "done.json").exists() for fold in "012"] == [True, False, True]
    (folder / "1" / "steps.csv").rmdir()
    times = {f: (folder / f / "model.safetensors").stat().st_mtime_ns for f in "02"}
    biolm_ray.finetune(load_config(None, "fine-tune", {**settings, "resume": True}))
    assert times == {f: (folder / f / "model.safetensors").stat().st_mtime_ns for f in "02"}
    assert (folder / "1" / "done.json").exists()


def test_resume_with_a_number_trains_on_from_the_best_weights(data: Path, tmp_path):
    settings = settings_for(data, tmp_path, splitratio="60,20,20", splitpos=None)
    biolm_ray.finetune(load_config(None, "fine-tune", settings))
    first = json.loads((tmp_path / "fine-tune" / "trainer_state.json").read_text())
    biolm_ray.finetune(load_config(None, "fine-tune", {**settings, "resume": 3}))
    second = json.loads((tmp_path / "fine-tune" / "trainer_state.json").read_text())
    assert second["epoch"] == 3
    losses = [state["log_history"][0]["loss"] for state in (first, second)]
    assert losses[1] < losses[0]


def test_data_can_be_prepared_without_training(data: Path, tmp_path):
    settings = settings_for(data, tmp_path, getdata=True)
    result = biolm_ray.finetune(load_config(None, "fine-tune", settings))
    assert Path(result.prepared).exists()
    assert result.report is None
    assert not (tmp_path / "fine-tune" / "0").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model.variant": "reference", "blocksize": 16}, ConfigError, "blocksize 16 is too short"),
        ({"model.chanels": 8}, ConfigError, "did you mean 'channels'"),
        ({"model.name": "salukki"}, ConfigError, "saluki"),
        ({"labelpos": "id"}, DataError, "is not a finite number"),
        ({"testsplits": "['7']"}, DataError, "7"),
        ({"ngpus": 2, "gradacc": 1}, ConfigError, "gradacc 1 cannot be dealt to 2 workers"),
    ],
)
def test_what_cannot_work_is_told_before_training(data, tmp_path, change, error, message):
    settings = settings_for(data, tmp_path, **change)
    with pytest.raises(error, match=message):
        biolm_ray.finetune(load_config(None, "fine-tune", settings))
    assert not list(tmp_path.rglob("model.safetensors"))
