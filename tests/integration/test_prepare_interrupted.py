"""A preparation that is killed and started again."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from racing import as_of_a_dead_process

from biolm_ray.config.schema import Config
from biolm_ray.data import pieces
from biolm_ray.errors import DataError, ResourceError
from biolm_ray.preparation import prepare as preparation
from biolm_ray.preparation import spread, stored_pieces
from biolm_ray.preparation.prepare import prepare
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.stored_pieces import STATE
from biolm_ray.preparation.vocabulary import fit_tokenizer
from biolm_ray.results.lock import held_in_turn

PIECE_BYTES = 2_000
SLOWLY = """
import time
from pathlib import Path
from biolm_ray.data import pieces
from biolm_ray.preparation import stored_pieces
from test_prepare_interrupted import PIECE_BYTES, make_config
from biolm_ray.preparation.prepare import prepare
from biolm_ray.preparation.vocabulary import fit_tokenizer

pieces.PIECE_BYTES = PIECE_BYTES
config = make_config(Path({path!r}))
tokenizer = fit_tokenizer(config)
close = stored_pieces.PieceWriter.close

def close_slowly(writer):
    close(writer)
    time.sleep(0.2)

stored_pieces.PieceWriter.close = close_slowly
prepare(config, tokenizer, Path({path!r}).parent / "prepared", label_kind=None)
"""


def make_config(path: Path) -> Config:
    return Config.model_validate(
        {
            "mode": "pre-train",
            "output_path": str(path.parent / "out"),
            "data": {
                "path": str(path), "id_column": 1, "sequence_column": 2, "token_separator": ","
            },
        }
    )  # fmt: skip


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "rows.tsv"
    path.write_text("".join(f"g{row}\t{'a,c,g,u,' * (5 + row % 9)}\n" for row in range(600)))
    old = time.time() - 60  # a file that was just written is read again to be sure
    os.utime(path, (old, old))
    return path


@contextmanager
def prepared_slowly(path: Path) -> Iterator[subprocess.Popen]:
    """Another process that prepares the data, with a pause after each piece."""
    script = SLOWLY.format(path=str(path))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_states(process: subprocess.Popen, folder: Path, number: int) -> list[Path]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        states = sorted(folder.glob(f"*/{STATE}/*.json"))
        if len(states) >= number:
            return states
        assert process.poll() is None, "it has ended"
        time.sleep(0.02)
    raise AssertionError("no piece was stored in time")


def test_killed_at_any_moment_it_goes_on_where_it_was(path, monkeypatch, ray_cluster):
    folder = path.parent / "prepared"
    with prepared_slowly(path) as process:
        states = wait_for_states(process, folder, 3)
    target = states[0].parents[1]
    with pytest.raises(DataError, match="broken off"):
        PreparedData.open(target)
    states = sorted(target.glob(f"{STATE}/*.json"))
    assert states
    first_part = sorted(target.glob("rows/*.parquet"))[0]
    written = first_part.stat().st_mtime_ns

    monkeypatch.setattr(pieces, "PIECE_BYTES", PIECE_BYTES)
    monkeypatch.setattr(spread, "FEWEST_BYTES", 0)
    config = make_config(path)
    tokenizer = fit_tokenizer(config)
    prepared = prepare(config, tokenizer, folder, label_kind=None)
    assert prepared.location == str(target)
    assert first_part.stat().st_mtime_ns == written
    assert not (target / STATE).exists()

    fresh = prepare(config, tokenizer, path.parent / "fresh", label_kind=None)
    tables = [
        pa.concat_tables(pq.read_table(part) for part in data.part_paths())
        for data in (prepared, fresh)
    ]
    assert tables[0].equals(tables[1])
    assert len(fresh) == 600
    assert prepared.manifest == fresh.manifest


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"scans"}


def test_of_two_processes_that_prepare_the_same_data_one_waits_for_the_other(
    path, monkeypatch, caplog
):
    caplog.set_level("INFO", "biolm_ray")
    folder = path.parent / "prepared"
    monkeypatch.setattr(pieces, "PIECE_BYTES", PIECE_BYTES)
    config = make_config(path)
    with prepared_slowly(path) as process:
        states = wait_for_states(process, folder, 1)
        prepared = prepare(config, fit_tokenizer(config), folder, label_kind=None)
        assert process.wait(timeout=60) == 0
    waiting = f"waiting for the preparation of the same data in {prepared.location}: pre-train is"
    assert waiting in caplog.text
    assert f"prepared before: {prepared.location}" in caplog.text
    assert len(prepared.ids) == 600
    assert names_in(folder) == {states[0].parents[1].name}


def test_data_that_are_prepared_again_stay_readable_all_the_time(path, monkeypatch):
    folder, config = path.parent / "prepared", make_config(path)
    tokenizer = fit_tokenizer(config)
    reader = prepare(config, tokenizer, folder, label_kind=None)
    again = config.model_copy(update={"run": config.run.model_copy(update={"prepare_again": True})})
    finish, seen = preparation.finish, []

    def finish_beside_a_reader(*arguments, **more):
        seen.append(PreparedData.open(reader.location).ids)
        if len(seen) > 1:
            raise DataError("bad rows")
        finish(*arguments, **more)

    monkeypatch.setattr(preparation, "finish", finish_beside_a_reader)
    made = prepare(again, tokenizer, folder, label_kind=None)
    assert made.manifest == reader.manifest
    with pytest.raises(DataError, match="bad rows"):
        prepare(again, tokenizer, folder, label_kind=None)
    assert [len(ids) for ids in (*seen, reader.ids)] == [600, 600, 600]
    assert reader.token_ids(599).tolist() == made.token_ids(599).tolist()
    assert names_in(folder) == {reader.name}


def test_what_a_killed_run_has_left_is_cleared_away_by_the_next(path):
    folder, config = path.parent / "prepared", make_config(path)
    tokenizer = fit_tokenizer(config)
    name = prepare(config, tokenizer, folder, label_kind=None).name
    (folder / f".{name}.abc" / "new").mkdir(parents=True)
    (folder / f".{name}.lock").write_bytes(as_of_a_dead_process())
    again = config.model_copy(update={"run": config.run.model_copy(update={"prepare_again": True})})
    assert len(prepare(again, tokenizer, folder, label_kind=None)) == 600
    assert names_in(folder) == {name}


def test_whole_data_in_a_folder_that_another_run_holds_are_used_at_once(path):
    folder, config = path.parent / "prepared", make_config(path)
    tokenizer = fit_tokenizer(config)
    name = prepare(config, tokenizer, folder, label_kind=None).name
    with held_in_turn(folder / f".{name}.lock", "tune", "the data", 0):
        assert len(prepare(config, tokenizer, folder, label_kind=None)) == 600


def test_a_failed_task_leaves_the_pieces_before_it(path, monkeypatch):
    from biolm_ray.preparation import piece_work

    monkeypatch.setattr(pieces, "PIECE_BYTES", PIECE_BYTES)
    config = make_config(path)
    tokenizer = fit_tokenizer(config)
    encode = piece_work.encode_block
    calls = []

    def fail_late(block, file, job):
        calls.append(block)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return encode(block, file, job)

    monkeypatch.setattr(piece_work, "encode_block", fail_late)
    with pytest.raises(KeyboardInterrupt):
        prepare(config, tokenizer, path.parent / "prepared", label_kind=None)
    assert len(list((path.parent / "prepared").glob(f"*/{STATE}/*.json"))) == 4
    monkeypatch.setattr(piece_work, "encode_block", encode)
    assert len(prepare(config, tokenizer, path.parent / "prepared", label_kind=None)) == 600


def test_a_full_disk_is_told_and_what_is_stored_is_kept(path, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", PIECE_BYTES)
    config = make_config(path)
    tokenizer = fit_tokenizer(config)
    folder = path.parent / "prepared"
    store_part = stored_pieces.store_part
    names = []

    def fail(_):
        raise OSError(28, "disk full")

    def fill_disk(target, name, rows):
        names.append(name)
        if len(names) > 3:
            target.write(f"rows/{name}", fail)
        return store_part(target, name, rows)

    monkeypatch.setattr(stored_pieces, "store_part", fill_disk)
    with pytest.raises(ResourceError, match=r"part-000003-0000\.parquet cannot be written"):
        prepare(config, tokenizer, folder, label_kind=None)
    assert len(list(folder.glob("*/rows/*"))) == 3
    monkeypatch.setattr(stored_pieces, "store_part", store_part)
    assert len(prepare(config, tokenizer, folder, label_kind=None)) == 600
