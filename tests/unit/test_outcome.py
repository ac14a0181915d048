"""A training is finished when its mark and every file that the mark names are there and fit."""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from biolm_ray.models.card import CARD_FILE
from biolm_ray.models.stored_weights import WEIGHTS_FILE
from biolm_ray.training.fold_tables import ALL_RESULTS, PREDICTIONS, write_results
from biolm_ray.training.outcome import DONE, done_already, mark_done

METRICS = {"epoch": 3.0, "test_spearman": 0.5, "test_loss": float("inf"), "test_samples": 2}
FILES = (WEIGHTS_FILE, CARD_FILE, ALL_RESULTS, PREDICTIONS, "rank_deltas.csv", "rows.npz")


@dataclass(frozen=True)
class Job:
    folder: Path

    @property
    def board(self) -> Path:
        return self.folder / "tboard"


@pytest.fixture
def job(tmp_path, caplog) -> Job:
    caplog.set_level(logging.WARNING, "biolm_ray")
    folder = tmp_path / "0"
    (folder / "checkpoint").mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(f"content of {name}")
    write_results(folder, METRICS)
    mark_done(Job(folder), METRICS)
    return Job(folder)


def test_a_finished_training_has_the_digests_of_its_files_and_no_checkpoint(job, caplog):
    assert done_already(job) == METRICS
    files = json.loads((job.folder / DONE).read_text())["files"]
    assert set(files) == {*FILES, "test_results.json"}
    assert files[WEIGHTS_FILE]["size"] == len(f"content of {WEIGHTS_FILE}")
    assert not (job.folder / "checkpoint").exists()
    assert not caplog.records


def test_what_was_never_finished_is_no_reason_for_a_warning(job, caplog):
    (job.folder / DONE).unlink()
    assert done_already(job) is None
    assert not caplog.records


@pytest.mark.parametrize("name", FILES)
def test_a_mark_without_its_files_does_not_count(job, caplog, name):
    (job.folder / name).unlink()
    assert done_already(job) is None
    assert f"0 does not count as finished: {job.folder / name} is missing" in caplog.text


@pytest.mark.parametrize("name", FILES)
def test_a_mark_with_other_files_does_not_count(job, caplog, name):
    (job.folder / name).write_text(f"CONTENT of {name}")
    assert done_already(job) is None
    assert f"does not count as finished: {job.folder / name} has " in caplog.text


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (0.99, f"{DONE} tells other metrics than {ALL_RESULTS}"),
        ("high", f"{DONE}: damaged ('metrics.test_spearman': "),
        (None, f"{DONE}: damaged ('metrics.test_spearman': "),
    ],
)
def test_a_mark_with_metrics_that_no_file_vouches_for_does_not_count(job, caplog, value, problem):
    content = json.loads((job.folder / DONE).read_text())
    content["metrics"]["test_spearman"] = value
    (job.folder / DONE).write_text(json.dumps(content))
    assert done_already(job) is None
    assert problem in caplog.text


def test_a_mark_that_is_nested_too_deeply_does_not_count(job, caplog):
    (job.folder / DONE).write_text("[" * 100_000)
    assert done_already(job) is None
    assert f"{DONE}: not readable as JSON (nested too deeply)" in caplog.text


def test_a_mark_of_another_training_does_not_count(job, tmp_path):
    other = Job(tmp_path / "1")
    shutil.copytree(job.folder, other.folder)
    assert done_already(other) == METRICS
    (other.folder / WEIGHTS_FILE).write_text("weights of fold 1")
    assert done_already(other) is None


FORGED = {
    "alone": {"test_pearson": 1.0},
    "with no files": {"metrics": {"test_pearson": 1.0}, "files": {}},
    "with other files": {
        "metrics": {"test_pearson": 1.0},
        "files": {WEIGHTS_FILE: {"size": 1, "sha256": "0" * 64}},
    },
    "with what is no digest": {"metrics": {}, "files": {WEIGHTS_FILE: {"size": 1}}},
    "a list": [1.0],
    "words": {"test_pearson": "perfect"},
}


@pytest.mark.parametrize("content", FORGED.values(), ids=FORGED)
def test_a_forged_mark_without_weights_does_not_count(tmp_path, content):
    folder = tmp_path / "0"
    folder.mkdir()
    (folder / DONE).write_text(json.dumps(content))
    assert done_already(Job(folder)) is None


def test_a_mark_that_leaves_the_weights_out_does_not_count(job, caplog):
    content = json.loads((job.folder / DONE).read_text())
    content["files"].pop(WEIGHTS_FILE)
    (job.folder / DONE).write_text(json.dumps(content))
    assert done_already(job) is None
    assert f"{DONE} does not name {WEIGHTS_FILE}" in caplog.text


@pytest.mark.parametrize("name", [WEIGHTS_FILE, CARD_FILE, ALL_RESULTS, PREDICTIONS])
def test_a_mark_of_an_earlier_version_counts_where_its_files_are(job, name):
    (job.folder / DONE).write_text(json.dumps(METRICS))
    assert done_already(job) == METRICS
    (job.folder / name).unlink()
    assert done_already(job) is None


def test_a_damaged_mark_does_not_count(job, caplog):
    (job.folder / DONE).write_text('{"metrics": {')
    assert done_already(job) is None
    assert f"{job.folder / DONE}: not readable as JSON" in caplog.text
