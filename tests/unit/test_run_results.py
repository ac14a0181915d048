"""Two runs into one folder at once."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.errors import ResourceError
from biolm_ray.experiment.results import RunResults, begin_run, told_when_stopped
from biolm_ray.experiment.training_results import begin_search, finish_training
from biolm_ray.experiment.training_results import begin_training as begin_trainings
from biolm_ray.results.holder import this_process
from biolm_ray.results.lock import LOCK, locked
from biolm_ray.results.manifest import (
    Manifest,
    ModeRecord,
    Moving,
    new_run,
    read_manifest,
    update_manifest,
    with_mode,
    write_manifest,
)

RUN = new_run("0.1.0")
NO_TOKENIZER: Any = None
MIXED = r"another run \(started .*mixed: when neither runs any more, run one of them again"


def begin(output: Path) -> RunResults:
    return begin_run(
        load_config(None, "predict", {"outputpath": str(output), "filepath": "x", "seqpos": 1}),
        "0.1.0",
    )


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def begin_training(results: RunResults) -> None:
    record = ModeRecord(run=results.run)
    update_manifest(results.output, lambda manifest: with_mode(manifest, "fine-tune", record))


def test_a_training_that_another_one_has_begun_in_is_refused(tmp_path):
    first = RunResults(output=tmp_path, mode="fine-tune", run=RUN)
    second = replace(first, run=new_run("0.1.0"))
    begin_training(first)
    finish_training(first, [])
    begin_training(first)
    begin_training(second)
    with pytest.raises(ResourceError, match=MIXED):
        finish_training(first, [])
    finish_training(second, [])
    write_manifest(tmp_path, Manifest())
    with pytest.raises(ResourceError, match=r"another run has begun .* mixed"):
        finish_training(second, [])


def test_a_table_that_another_run_has_written_meanwhile_is_refused(tmp_path):
    first, second = begin(tmp_path), begin(tmp_path)
    table = write(tmp_path / "predict" / "test_predictions.csv", "both")
    other = write(tmp_path / "predict" / "others.csv", "of the second alone")
    first.record_tables([table], [])
    with pytest.raises(ResourceError, match=MIXED):
        second.record_tables([other, table], [])
    second.record_tables([other], [])
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    tables = manifest.modes["predict"].tables
    assert [found.run for found in tables] == [first.run, second.run]


def test_tables_of_an_earlier_run_may_be_written_again_and_again(tmp_path):
    table = write(tmp_path / "predict" / "test_predictions.csv", "a")
    for _ in range(2):
        results = begin(tmp_path)
        results.record_tables([table], [])
        results.record_tables([table], [])


def test_a_run_that_was_suspended_changes_no_results_of_another(tmp_path):
    with locked(tmp_path, "fine-tune") as lock:
        results = RunResults(output=tmp_path, mode="fine-tune", run=RUN, lock=lock)
        write(tmp_path / "fine-tune" / "0" / "model.safetensors", "weights")
        holder = this_process("predict").model_copy(update={"machine": "another"})
        (tmp_path / LOCK).write_text(holder.model_dump_json())
        changes: list[Callable[[], object]] = [
            results.finish_moving,
            results.replace_all,
            results.publish,
            lambda: results.record_tables([], []),
            lambda: finish_training(results, []),
            lambda: begin_search(results, NO_TOKENIZER, continues=True),
            lambda: begin_trainings(results, NO_TOKENIZER, []),
        ]
        before = contents(tmp_path)
        for change in changes:
            with pytest.raises(ResourceError, match="predict has begun here"):
                change()
        assert contents(tmp_path) == before


def test_what_an_earlier_run_was_moving_stays_until_nothing_stops_this_one(tmp_path):
    write(tmp_path / "predict" / "a.csv", "a table")
    write_manifest(tmp_path, Manifest(moving=Moving(to="replaced/x", paths=("predict/a.csv",))))
    results = begin(tmp_path)
    assert (tmp_path / "predict" / "a.csv").exists()
    results.finish_moving()
    assert (tmp_path / "replaced" / "x" / "predict" / "a.csv").exists()


def stop_and_write(path: Path, text: str) -> str:
    signal.raise_signal(signal.SIGINT)
    write(path, text)
    return text


def test_a_stop_while_predictions_are_replaced_leaves_the_new_ones_whole(tmp_path):
    table = write(tmp_path / "predict" / "test_predictions.csv", "earlier")
    begin(tmp_path).record_tables([table], [])
    results = begin(tmp_path)
    with pytest.raises(KeyboardInterrupt) as raised, told_when_stopped(results):
        results.replace_with(lambda: stop_and_write(table, "new"), [])
    assert raised.value.__dict__["has_begun"]
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.moving is None
    assert [found.path for found in manifest.modes["predict"].tables] == [
        "predict/test_predictions.csv"
    ]
    assert table.read_text() == "new"
    replaced = raised.value.__dict__["replaced"] / "predict" / "test_predictions.csv"
    assert replaced.read_text() == "earlier"


def test_a_stop_while_a_search_makes_room_leaves_it_begun(tmp_path):
    write(tmp_path / "tune" / "trials.json", "{}")
    write(tmp_path / "tune" / "logs" / "config.yaml", "mode: tune")
    results = RunResults(output=tmp_path, mode="tune", run=RUN)
    tokenizer: Any = SimpleNamespace(save=lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as raised, told_when_stopped(results):
        begin_search(results, tokenizer, continues=False)
    assert raised.value.__dict__["has_begun"]
    assert (tmp_path / "tune" / "config.yaml").exists()
