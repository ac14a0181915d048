"""Results of another run are never read, and what a run replaces is moved aside as a whole.

Everything runs in this process, without Ray, which has no part in it.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

import biolm_ray
from biolm_ray import load_config, stages
from biolm_ray.demo.data import write_demo_data
from biolm_ray.errors import BiolmError, ConfigError, DataError
from biolm_ray.experiment import cross_validation
from biolm_ray.experiment.failures import Outcome
from biolm_ray.experiment.runtime import Cluster
from biolm_ray.inference.prediction import predict_folders
from biolm_ray.results.manifest import MANIFEST, read_manifest
from biolm_ray.training.workers import Workers

SMALL = {"model.channels": 8, "model.num_layers": 3, "nepochs": 1, "blocksize": 512}


@pytest.fixture(scope="module", autouse=True)
def in_this_process() -> Iterator[None]:
    @contextmanager
    def connected(address):
        yield Cluster(joined=False, num_cpus=1, node_cpus=1, most_cpus=1, num_gpus=0, most_gpus=0)

    def run_jobs(jobs, work, placement, display):
        return [Outcome(job, work(job, Workers(), lambda event: None)) for job in jobs]

    def predict(*arguments, **options):
        return predict_folders(*arguments, num_workers=0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "connected", connected)
        patch.setattr(stages, "check_shared", lambda folder: None)
        patch.setattr(stages, "predict_folders", predict)
        patch.setattr(cross_validation, "run_jobs", run_jobs)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "transcripts.tsv"
    write_demo_data(path, num_rows=24)
    return path


def run(mode: str, data: Path, output: Path, **more):
    columns = {"tokensep": ",", "idpos": "id", "seqpos": "sequence"}
    if mode != "tokenize":
        columns |= {"labelpos": "half_life_hours"}
    settings = {"filepath": str(data), "outputpath": str(output), **columns}
    if mode != "tokenize":
        settings |= {"task": "regression"}
    if mode in {"fine-tune", "tune"}:
        settings |= {"batchsize": 4, **SMALL}
    settings |= more
    names = {"fine-tune": "finetune"}
    function = getattr(biolm_ray, names.get(mode, mode))
    return function(load_config(None, mode, settings))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "logs" not in path.parts and "scans" not in path.parts
    }


@pytest.fixture(scope="module")
def two_after_three(data: Path, tmp_path_factory) -> Path:
    """Three folds, scored and used, and then two in the same folder."""
    output = tmp_path_factory.mktemp("experiment")
    run("fine-tune", data, output, crossvalidation=3)
    run("interpret", data, output)
    run("predict", data, output)
    run("fine-tune", data, output, crossvalidation=2)
    return output


def test_models_of_an_earlier_run_are_not_averaged(two_after_three: Path, data, caplog):
    caplog.set_level(logging.INFO, "biolm_ray")
    run("predict", data, two_after_three)
    log = (two_after_three / "predict" / "logs" / "run.log").read_text()
    assert "predicting 24 rows with 2 models" in log


def test_scores_of_an_earlier_run_are_not_read(two_after_three: Path, data):
    with pytest.raises(ConfigError, match="no table of scores"):
        biolm_ray.load_scores(two_after_three / "fine-tune")
    run("interpret", data, two_after_three)
    table = biolm_ray.load_scores(two_after_three / "fine-tune").table
    assert sorted(table["sequence"].unique()) == sorted(pd.read_csv(data, sep="\t")["id"])
    assert not table.duplicated(["sequence", "position"]).any()


def test_what_was_replaced_is_an_experiment_of_its_own(two_after_three: Path, data, tmp_path):
    log = (two_after_three / "fine-tune" / "logs" / "run.log").read_text()
    assert "replaced, and kept in" in log
    assert "3 models and" in log
    (aside,) = [
        folder
        for folder in (two_after_three / "replaced").iterdir()
        if folder.name.startswith("fine-tune")
    ]
    assert sorted(path.name for path in (aside / "fine-tune").glob("[0-9]")) == ["0", "1", "2"]
    assert (aside / "predict" / "test_predictions.csv").exists()
    config = load_config(aside / "fine-tune" / "config.yaml", "fine-tune")
    assert config.splits.num_folds == 3
    assert biolm_ray.load_scores(aside / "fine-tune").table["sequence"].nunique() == 24
    run("predict", data, tmp_path, pretrainedmodel=str(aside))
    log = (tmp_path / "predict" / "logs" / "run.log").read_text()
    assert "predicting 24 rows with 3 models" in log
    run("predict", data, tmp_path / "one", pretrainedmodel=str(aside / "fine-tune" / "0"))
    log = (tmp_path / "one" / "predict" / "logs" / "run.log").read_text()
    assert "predicting 24 rows with 1 model\n" in log


FAILING = [
    ("fine-tune", {"labelpos": "nothing", "crossvalidation": 2}),
    ("fine-tune", {"labelpos": "id", "crossvalidation": 2}),
    ("fine-tune", {"crossvalidation": 2000}),
    ("fine-tune", {"getdata": True, "blocksize": 256}),
    ("predict", {"labelpos": "nothing"}),
    ("interpret", {"interpret.folds": [7]}),
    ("tokenize", {"seqpos": "nothing"}),
]


@pytest.mark.parametrize(("mode", "change"), FAILING)
def test_a_run_that_fails_or_is_trivial_changes_no_result(two_after_three, data, mode, change):
    before = contents(two_after_three)
    if "getdata" in change:
        run(mode, data, two_after_three, **change)
    else:
        with pytest.raises(BiolmError):
            run(mode, data, two_after_three, **change)
    after = contents(two_after_three)
    prepared = {name for name in after.keys() - before.keys() if name.startswith("prepared/")}
    assert {name: text for name, text in after.items() if name not in prepared} == before


def test_an_unfinished_experiment_is_refused_unless_asked_for(data, tmp_path):
    run("fine-tune", data, tmp_path, crossvalidation=3)
    weights = tmp_path / "fine-tune" / "1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    message = r"1 of 3 folds not finished \(1\): .*model\.safetensors has another content.*--resume"
    for mode in ("predict", "interpret"):
        with pytest.raises(ConfigError, match=message):
            run(mode, data, tmp_path)
    run("predict", data, tmp_path, **{"model.allow_missing_folds": True})
    log = (tmp_path / "predict" / "logs" / "run.log").read_text()
    assert "1 of 3 folds missing (1), as model.allow_missing_folds has it" in log
    assert "with 2 models" in log
    run("fine-tune", data, tmp_path, crossvalidation=3, resume=True)
    log = (tmp_path / "fine-tune" / "logs" / "run.log").read_text()
    assert "1 does not count as finished" in log
    assert "2 of 3 models are finished already" in log
    assert not (tmp_path / "replaced" / "fine-tune").exists()
    run("predict", data, tmp_path)


@pytest.mark.parametrize("resume", [True, "auto"])
def test_a_finished_experiment_that_is_resumed_keeps_all_that_was_made_of_it(
    data, tmp_path, resume
):
    settings = {"crossvalidation": 2, "run.replaced_results": "remove"}
    run("fine-tune", data, tmp_path, **settings)
    run("predict", data, tmp_path)
    run("interpret", data, tmp_path)
    before, manifest = contents(tmp_path), read_manifest(tmp_path)
    run("fine-tune", data, tmp_path, **settings, resume=resume)
    after, now = contents(tmp_path), read_manifest(tmp_path)
    assert "fine-tune/0/loo_scores_remove.csv" in before
    assert {name for name in before if after.get(name) != before[name]} == {MANIFEST}
    assert after.keys() == before.keys()
    assert not (tmp_path / "replaced").exists()
    assert manifest is not None
    assert now is not None
    for mode in ("predict", "interpret"):
        assert now.modes[mode] == manifest.modes[mode]
    assert now.modes["fine-tune"].folds == manifest.modes["fine-tune"].folds
    weights = tmp_path / "fine-tune" / "1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    run("fine-tune", data, tmp_path, **{**settings, "run.replaced_results": "keep"}, resume=resume)
    (aside,) = (tmp_path / "replaced").iterdir()
    assert (aside / "predict" / "test_predictions.csv").exists()
    assert (aside / "fine-tune" / "1" / "loo_scores_remove.csv").exists()
    assert (tmp_path / "fine-tune" / "0" / "loo_scores_remove.csv").exists()


def test_a_model_trained_on_from_its_own_folder_finds_its_weights_aside(data, tmp_path):
    settings = {"splitratio": "60,20,20", "pretrainedmodel": None}
    run("fine-tune", data, tmp_path, **settings)
    settings["pretrainedmodel"] = str(tmp_path / "fine-tune")
    with pytest.raises(ConfigError, match=r"which run\.replaced_results: remove would remove"):
        run("fine-tune", data, tmp_path, **settings, **{"run.replaced_results": "remove"})
    run("fine-tune", data, tmp_path, **settings)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    aside = manifest.modes["fine-tune"].replaced
    assert aside is not None
    assert (tmp_path / aside / "fine-tune" / "model.safetensors").exists()
    before = contents(tmp_path / "fine-tune")
    (tmp_path / "fine-tune" / "done.json").unlink()
    run("fine-tune", data, tmp_path, **settings, resume=True)
    after = contents(tmp_path / "fine-tune")
    assert after["model.safetensors"] == before["model.safetensors"]


def test_results_are_removed_where_that_is_set(data, tmp_path):
    run("fine-tune", data, tmp_path, crossvalidation=3)
    run("fine-tune", data, tmp_path, crossvalidation=2, **{"run.replaced_results": "remove"})
    assert sorted(path.name for path in (tmp_path / "fine-tune").glob("[0-9]")) == ["0", "1"]
    assert not list((tmp_path / "replaced").glob("*"))


def test_another_tokenizer_is_told_and_the_one_before_kept(data, tmp_path):
    run("tokenize", data, tmp_path)
    run("fine-tune", data, tmp_path, splitratio="60,20,20")
    before = contents(tmp_path)
    run("tokenize", data, tmp_path)
    log = tmp_path / "tokenize" / "logs" / "run.log"
    assert "the same as before" in log.read_text()
    after = contents(tmp_path)
    assert {name for name in before if after[name] != before[name]} <= {MANIFEST}
    run("tokenize", data, tmp_path, encoding="3mer")
    assert "The models in fine-tune keep the one they were trained with" in log.read_text()
    (aside,) = (tmp_path / "replaced").glob("tokenize-*")
    assert (aside / "tokenizer.json").read_bytes() == before["tokenizer.json"]
    run("predict", data, tmp_path)


def test_a_tokenizer_learnt_with_other_settings_is_not_trained_with(data, tmp_path):
    run("tokenize", data, tmp_path, vocabsize=50)
    for asked in ({"vocabsize": 20}, {"data.letter_case": "upper"}):
        with pytest.raises(ConfigError, match=r"tokenizer.json has the .*; run tokenize again or"):
            run("fine-tune", data, tmp_path, **asked)
    run("fine-tune", data, tmp_path, vocabsize=50, splitratio="60,20,20")


def test_test_rows_that_earlier_weights_were_trained_with_are_told(data, tmp_path):
    run("fine-tune", data, tmp_path / "first", crossvalidation=3)
    weights = str(tmp_path / "first" / "fine-tune" / "0")
    for more in ({}, {"resume": 1}):
        run("fine-tune", data, tmp_path, crossvalidation=2, pretrainedmodel=weights, **more)
        log = (tmp_path / "fine-tune" / "logs" / "run.log").read_text()
        assert log.count("of 24 test rows are among those that the earlier weights of") == 1
    run("predict", data, tmp_path)
    log = (tmp_path / "predict" / "logs" / "run.log").read_text()
    assert "rows are among those that each of the 2 models was trained or validated with" in log


def test_results_without_a_manifest_are_read_as_they_are_with_a_warning(data, tmp_path):
    run("fine-tune", data, tmp_path, crossvalidation=2)
    (tmp_path / MANIFEST).unlink()
    run("predict", data, tmp_path / "new", pretrainedmodel=str(tmp_path))
    log = (tmp_path / "new" / "predict" / "logs" / "run.log").read_text()
    assert f"WARNING {tmp_path / 'fine-tune'}: no manifest.json says which models" in log
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(DataError, match="not readable as JSON"):
        run("predict", data, tmp_path / "new", pretrainedmodel=str(tmp_path))


def test_the_manifest_vouches_for_all_tables_and_models(data, tmp_path):
    run("fine-tune", data, tmp_path, crossvalidation=2)
    content = json.loads((tmp_path / MANIFEST).read_text())
    record = content["modes"]["fine-tune"]
    assert [fold["folder"] for fold in record["folds"]] == ["fine-tune/0", "fine-tune/1"]
    assert all(
        {"model.safetensors", "test_predictions.csv", "done.json"} <= set(fold["files"])
        for fold in record["folds"]
    )
    assert {table["path"] for table in record["tables"]} == {
        f"fine-tune/{name}"
        for name in (
            "out_of_fold.csv",
            "cross_validation.csv",
            "cross_validation.json",
            "cross_validation.txt",
        )
    }
