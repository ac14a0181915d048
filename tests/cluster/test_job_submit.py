import json
from pathlib import Path

import pytest
from ray_head import JobServer

from biolm_ray.demo.data import read_rows, write_demo_data

pytestmark = pytest.mark.cluster


def test_a_command_that_ends_well_ends_the_job_well(job_server: JobServer) -> None:
    job = job_server.submit("version", "--version")
    assert (job.submit_code, job.exit_code) == (0, 0), job.output
    assert "biolm_ray 0." in job.output


def test_the_exit_code_and_the_message_of_a_failing_command_pass_through(
    job_server: JobServer,
) -> None:
    job = job_server.submit("typo", "fine-tine")
    assert (job.submit_code, job.exit_code) == (1, 2), job.output
    assert "error: command line: 'fine-tine' is not a mode" in job.output


def test_a_fine_tune_runs_on_the_cluster_as_it_does_without(
    job_server: JobServer, tmp_path: Path
) -> None:
    data = write_demo_data(tmp_path / "demo.tsv", num_rows=60).data
    columns = ["--stripheader", "--idpos", "1", "--labelpos", "3", "--seqpos", "4"]
    training = ["--task", "regression", "--scaling", "log", "--batchsize", "8", "--nepochs", "1"]
    size = ["--set", "model.channels=8", "--ngpus", "0", "--crossvalidation", "3"]
    paths = ["--filepath", str(data), "--outputpath", str(tmp_path / "run"), "--tokensep", ","]
    job = job_server.submit("fine-tune", "fine-tune", *paths, *columns, *training, *size)

    assert (job.submit_code, job.exit_code) == (0, 0), job.output
    folder = tmp_path / "run" / "fine-tune"
    assert f"results: {folder}" in job.output
    folds = [path.name for path in sorted(folder.iterdir()) if path.name.isdigit()]
    assert folds == ["0", "1", "2"]
    ids = [row["sequence"] for row in read_rows(folder / "out_of_fold.csv", ",")]
    assert ids == [row["id"] for row in read_rows(data, "\t")]
    summary = json.loads((folder / "cross_validation.json").read_text())
    assert summary["mean"]["rows"] == 20
