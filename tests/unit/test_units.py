from pathlib import Path

import numpy as np
import pytest

from biolm_ray.config.schema import Column, InterpretConfig, PreprocessingConfig
from biolm_ray.inference.units import (
    LARGEST_COST,
    Unit,
    UnitResult,
    batched_cost,
    finished_unit,
    incremental_cost,
    make_units,
    read_result,
    save_result,
    table_path,
    work_key,
)


def test_units_hold_every_row_once_and_in_order() -> None:
    rows = np.random.default_rng(0).permutation(100)
    units = make_units(rows, np.arange(1, 101), room=60)
    assert [row for unit in units for row in unit.rows] == rows.tolist()
    assert [unit.index for unit in units] == list(range(len(units)))
    assert sum(unit.num_tokens for unit in units) == np.minimum(np.arange(1, 101), 60).sum()


def test_only_a_single_sequence_costs_more_than_the_share_of_a_unit() -> None:
    lengths = np.array([100, 2000, 10, 10, 10_000, 300, 300] * 20)
    units = make_units(np.arange(len(lengths)), lengths, room=12_288)
    assert all(unit.cost <= LARGEST_COST or len(unit.rows) == 1 for unit in units)
    assert sum(unit.cost for unit in units) == (lengths**2).sum()


def test_little_work_is_still_cut_into_pieces() -> None:
    units = make_units(np.arange(256), np.full(256, 100), room=512)
    assert len(units) == 64


def test_no_rows_make_no_units() -> None:
    assert make_units(np.arange(0), np.arange(0), room=10) == []


def write_tables(folder: Path, unit: Unit, *suffixes: str) -> None:
    for suffix in suffixes:
        for ending in (".csv", ".parquet"):
            table_path(folder, unit, suffix, ending).write_text("x,a")


def scored(folder: Path, *suffixes: str, **changes) -> tuple[Unit, UnitResult]:
    """A unit whose tables are written, of two models."""
    folder.mkdir(parents=True, exist_ok=True)
    unit = make_units(np.arange(1), np.array([5]), room=10)[0]
    result = UnitResult(
        num_tokens=5,
        num_scores=5,
        largest_difference=1e-7,
        squared_deviations=(0.5,) * len(suffixes),
        notes=("something",),
    ).model_copy(update=changes)
    write_tables(folder, unit, *suffixes)
    save_result(folder, unit, result, suffixes)
    return unit, result


def test_a_unit_counts_as_finished_only_once_all_is_written(tmp_path: Path, caplog) -> None:
    unit, result = scored(tmp_path / "other", "")
    assert finished_unit(tmp_path, unit) is None
    write_tables(tmp_path, unit, "")
    assert finished_unit(tmp_path, unit) is None
    assert not caplog.records, "what is not marked was never finished"
    save_result(tmp_path, unit, result)
    assert finished_unit(tmp_path, unit, averaged=True) == result
    assert read_result(tmp_path, unit) == result


def test_a_unit_of_several_targets_needs_the_tables_of_each(tmp_path: Path, caplog) -> None:
    unit, result = scored(tmp_path, "_a", "_b")
    assert finished_unit(tmp_path, unit, ("_a", "_b"), averaged=True) == result
    assert finished_unit(tmp_path, unit, ("_a", "_c"), averaged=True) is None
    assert "000000.json does not say what 000000_c.csv holds" in caplog.text


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_text(""),
        lambda path: path.write_text("x,"),
        lambda path: path.write_text("y,b"),
        lambda path: path.write_text("x,a\nx,a"),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to(path.name)),
    ],
)
def test_a_unit_with_a_damaged_table_is_told_and_scored_again(
    tmp_path: Path, caplog, ending: str, damage
) -> None:
    unit, result = scored(tmp_path, "")
    path = table_path(tmp_path, unit, "", ending)
    damage(path)
    assert finished_unit(tmp_path, unit, averaged=True) is None
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert record.getMessage().endswith("; its sequences are scored again")
    assert list(tmp_path.iterdir()) == []
    write_tables(tmp_path, unit, "")
    save_result(tmp_path, unit, result)
    assert finished_unit(tmp_path, unit, averaged=True) == result


def test_marks_of_other_sequences_models_or_versions_do_not_count(tmp_path: Path, caplog) -> None:
    other = {"num_tokens": 7}, {"squared_deviations": ()}, {"squared_deviations": (0.5, 0.5)}
    for number, changes in enumerate(other):
        unit, _ = scored(tmp_path / str(number), "", **changes)
        assert finished_unit(tmp_path / str(number), unit, averaged=True) is None
    unit, result = scored(tmp_path, "")
    mark = tmp_path / "000000.json"
    mark.write_text(result.model_dump_json())  # that of an earlier version
    assert finished_unit(tmp_path, unit, averaged=True) is None
    scored(tmp_path, "")
    mark.write_text(mark.read_text().replace('"format_version": 2', '"format_version": 3'))
    assert finished_unit(tmp_path, unit, averaged=True) is None
    said = [record.getMessage() for record in caplog.records]
    assert [
        next(words for words in ABOUT_MARKS if words in message) for message in said
    ] == ABOUT_MARKS[:1] + ABOUT_MARKS[1:2] * 2 + ABOUT_MARKS[2:]


ABOUT_MARKS = [
    "000000.json is about other sequences",
    "000000.json is about other models",
    "000000.json does not say what 000000.csv holds",
    "000000.json: written by a later version of biolm_ray",
]


def test_units_are_balanced_by_the_cost_of_the_way_they_are_scored() -> None:
    lengths = np.array([640, 64, 64])
    assert batched_cost(lengths).tolist() == [409_600, 4096, 4096]
    assert incremental_cost(lengths).tolist() == [71_680, 6592, 6592]
    units = make_units(np.arange(3), lengths, room=1000, cost=incremental_cost)
    assert [unit.cost for unit in units] == [71_680, 6592, 6592]


def test_work_is_named_by_weights_rows_edit_and_cropping_but_not_by_the_number_of_workers(
    tmp_path: Path,
) -> None:
    weights = tmp_path / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"one")
    folders, rows = [weights.parent], np.arange(3)

    plain = InterpretConfig()

    def key(settings=plain, rows=rows, preprocessing=None) -> str:
        return work_key(folders, "name of the data", rows, settings, preprocessing)

    before = key()
    assert key(InterpretConfig(num_workers=7, compress=True, distribute="tune")) == before
    assert key(InterpretConfig(num_workers=7)) == before
    reading = {"kmer": 3, "motifs": {"a": "UAU"}, "plots": 1, "coordinates": "genes.bed"}
    assert key(InterpretConfig(region_columns=Column(index=1), **reading)) == before
    assert key(InterpretConfig(edit="mask")) != before
    assert key(rows=rows[:2]) != before
    assert key(preprocessing=PreprocessingConfig(block_size=64)) != before
    weights.write_bytes(b"two")
    assert key() != before
