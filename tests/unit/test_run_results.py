"""Two runs into one folder at once."""

from dataclasses import replace
from pathlib import Path

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.errors import ResourceError
from biolm_ray.experiment.results import RunResults, begin_run, finish_training
from biolm_ray.results.manifest import (
    Manifest,
    ModeRecord,
    new_run,
    read_manifest,
    update_manifest,
    with_mode,
    write_manifest,
)

RUN = new_run("0.1.0")
MIXED = r"another run \(started .*mixed: when neither runs any more, run one of them again"


def begin(output: Path, mode: str = "predict") -> RunResults:
    return begin_run(
        load_config(None, mode, {"outputpath": str(output), "filepath": "x", "seqpos": 1}), "0.1.0"
    )


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


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
