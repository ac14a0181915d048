"""Two commands on one folder at once: the second is refused, the first ends well, readers work.

The first works in this process, without Ray, and stands still in the midst of its training until
the others are through; those that are refused are commands in processes of their own.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import start_command

from biolm_ray import finetune, load_config, predict, stages
from biolm_ray.cli import main
from biolm_ray.demo.data import write_demo_data
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.experiment import cross_validation
from biolm_ray.experiment.failures import Outcome
from biolm_ray.experiment.runtime import Cluster
from biolm_ray.inference.prediction import predict_folders
from biolm_ray.results.lock import LOCK
from biolm_ray.results.manifest import first_misfit, read_manifest
from biolm_ray.training.workers import Workers

COLUMNS = {"tokensep": ",", "idpos": "id", "seqpos": "sequence", "labelpos": "half_life_hours"}
SMALL = {"model.channels": 8, "model.num_layers": 3, "nepochs": 1, "blocksize": 512}


class Stages:
    """The first run, where it stands still: after its first fold, until it may go on."""

    def __init__(self) -> None:
        self.holds, self.stands, self.may_go_on = False, threading.Event(), threading.Event()

    def run_jobs(self, jobs, work, placement, display) -> list[Outcome]:
        outcomes = []
        for job in jobs:
            outcomes.append(Outcome(job, work(job, Workers(), lambda event: None)))
            self.stands.set()
            assert not self.holds or self.may_go_on.wait(300)
        return outcomes


@pytest.fixture
def first(monkeypatch) -> Stages:
    @contextmanager
    def connected(address):
        yield Cluster(joined=False, num_cpus=1, node_cpus=1, most_cpus=1, num_gpus=0, most_gpus=0)

    def predict(*arguments, num_workers, **options):
        return predict_folders(*arguments, num_workers=0, **options)

    first = Stages()
    monkeypatch.setattr(stages, "connected", connected)
    # As in a process that has joined a cluster, whose threads may run beside each other.
    monkeypatch.setattr(stages.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(stages, "check_shared", lambda folder: None)
    monkeypatch.setattr(stages, "predict_folders", predict)
    monkeypatch.setattr(cross_validation, "run_jobs", first.run_jobs)
    return first


@pytest.fixture
def data(tmp_path) -> Path:
    path = tmp_path / "data" / "transcripts.tsv"
    write_demo_data(path, num_rows=24)
    return path


def train(data: Path, output: Path, **more):
    settings = {"filepath": str(data), "outputpath": str(output), "task": "regression", **COLUMNS}
    settings |= {"batchsize": 4, "crossvalidation": 2, **SMALL, **more}
    return finetune(load_config(None, "fine-tune", settings))


def read_beside(data: Path, models: Path, output: Path, **more):
    settings = {"filepath": str(data), "pretrainedmodel": str(models), "outputpath": str(output)}
    settings |= {**COLUMNS, "model.allow_missing_folds": True, **more}
    return predict(load_config(None, "predict", settings))


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All below a folder with its times, but for the sign of life and the log of who works there.

    The runs of a process say all that they say in the logs of all of them.
    """
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in (folder, *sorted(folder.rglob("*")))
        if path.name not in (LOCK, "run.log")
    }


@contextmanager
def training(first: Stages, data: Path, output: Path, **more) -> Iterator[None]:
    """Train in a thread that stands still in the block, and ends well after it."""
    found = []
    thread = threading.Thread(target=lambda: found.append(train(data, output, **more)))
    first.holds = True
    thread.start()
    try:
        assert first.stands.wait(300)
        yield
    finally:
        first.may_go_on.set()
        thread.join()
    assert len(found) == 1


def test_a_second_command_is_refused_and_the_first_ends_well(first, data, tmp_path, capsys):
    output = tmp_path / "experiment"
    output.mkdir()
    (tmp_path / "link").symlink_to(output)
    flags = ["--filepath", str(data), "--task", "regression"]
    flags += [text for name, value in COLUMNS.items() for text in (f"--{name}", value)]
    with training(first, data, output):
        before = everything(output / "fine-tune")
        capsys.readouterr()
        for mode in ("tokenize", "pre-train", "fine-tune", "interpret", "tune"):
            space = ["--set", "tune.space={training.seed: [1, 2]}"] if mode == "tune" else []
            assert main([mode, *flags, *space, "--outputpath", f"{output}/"]) == 4
            assert "fine-tune is running here since" in capsys.readouterr().err
        second = start_command(tmp_path, "predict", *flags, "--outputpath", "link")
        told, _ = second.communicate(timeout=300)
        assert second.returncode == 4, told
        assert f"process {os.getpid()} on host" in told
        assert len(told.splitlines()) == 1
        assert everything(output / "fine-tune") == before
        assert {path.name for path in output.iterdir()} == {
            *("fine-tune", "prepared", "manifest.json", "tokenizer.json", "tokenization.json"),
            LOCK,
        }
    manifest = read_manifest(output)
    assert manifest is not None
    assert [
        first_misfit(output / fold.folder, fold.files)
        for fold in manifest.modes["fine-tune"].folds
        if fold.files
    ] == [None, None]
    assert not (output / LOCK).exists()


def test_a_reader_beside_a_training_uses_what_is_finished_and_writes_nothing_there(
    first, data, tmp_path
):
    output = tmp_path / "experiment"
    with training(first, data, output):
        before = everything(output)
        table = read_beside(data, output, tmp_path / "elsewhere").table
        assert len(table) == 24
        log = (tmp_path / "elsewhere" / "predict" / "logs" / "run.log").read_text()
        assert "1 of 2 folds missing (1)" in log
        assert everything(output) == before
        with pytest.raises(ConfigError, match=r"1 of 2 folds not finished \(1\)"):
            read_beside(data, output, tmp_path / "x", **{"model.allow_missing_folds": False})


def test_models_that_are_replaced_while_they_predict_are_not_averaged(
    first, data, tmp_path, monkeypatch
):
    output, elsewhere = tmp_path / "experiment", tmp_path / "elsewhere"
    train(data, output)

    def replaced_meanwhile(*arguments, num_workers, **options):
        train(data, output, **{"training.seed": 7})
        return predict_folders(*arguments, num_workers=0, **options)

    monkeypatch.setattr(stages, "predict_folders", replaced_meanwhile)
    with pytest.raises(DataError, match="was replaced or removed while the models were used"):
        read_beside(data, output, elsewhere)
    assert not (elsewhere / "predict" / "test_predictions.csv").exists()


def test_models_in_a_folder_that_cannot_be_written_to_are_used(first, data, tmp_path):
    output = tmp_path / "experiment"
    train(data, output)
    for path in (*output.rglob("*"), output):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = everything(output)
    try:
        assert len(read_beside(data, output, tmp_path / "elsewhere").table) == 24
        assert everything(output) == before  # which says it for the superuser, too
    finally:
        for path in (output, *output.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
