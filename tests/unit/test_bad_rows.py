"""Rows that cannot be used, and rows that only lack the region that is asked for."""

from pathlib import Path

import pyarrow as pa
import pytest
from divided import plan_of

from biolm_ray.config.schema import DataConfig
from biolm_ray.data.fields import LEAVE_OUT
from biolm_ray.errors import DataError
from biolm_ray.preparation.rejects import REJECT_SCHEMA, BadRows, num_to_refuse, write_rejected


def rejects(*rules: str) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"row": row, "file": 0, "line": row + 1, "rule": rule, "problem": rule, "raw": ""}
            for row, rule in enumerate(rules)
        ],
        schema=REJECT_SCHEMA,
    )


def bad_rows(folder: Path, **settings) -> BadRows:
    path = folder / "rows.tsv"
    path.write_text("g1\tac\n")
    data = DataConfig(path=str(path), **settings)
    return BadRows(plan_of(path, sequence_column=2), data, 10)


def test_rows_without_the_region_never_stop_a_run(tmp_path):
    found = bad_rows(tmp_path)
    found.add(rejects("region", "region"), 5)
    assert found.described == "region 2"
    assert num_to_refuse(rejects("region", "label")) == 1
    with pytest.raises(DataError, match=r"rows\.tsv, line 2: label"):
        found.add(rejects("region", "label"), 5)


def test_rows_without_the_region_do_not_count_as_rejected(tmp_path):
    found = bad_rows(tmp_path, on_bad_rows="quarantine", max_rejected_share=0.2)
    found.add(rejects("region", "region", "region", "label", "label"), 10)
    assert found.described == "region 3, label 2"
    with pytest.raises(DataError, match=r"3 of 10 rows cannot be used.*label 3.*line 4: label"):
        found.add(rejects("label"), 0)


NAMELESS = f"label 'NA' stands for a missing value; {LEAVE_OUT}"


def missing(number: int) -> pa.Table:
    table = rejects(*["label"] * number)
    return table.set_column(4, "problem", pa.array([NAMELESS] * number, pa.string()))


def test_the_remedy_names_the_share_of_rows_that_would_be_left_out(tmp_path):
    with pytest.raises(DataError) as told:
        bad_rows(tmp_path).add(missing(3), 10)
    wanted = f"{NAMELESS} and data.max_rejected_share: 0.3, since 3 of 10 rows are bad (2 more"
    assert wanted in str(told.value)
    with pytest.raises(DataError) as told:
        bad_rows(tmp_path, max_rejected_share=0.3).add(missing(3), 10)
    assert f"{NAMELESS} (2 more" in str(told.value)
    with pytest.raises(DataError) as told:
        bad_rows(tmp_path).add(missing(10), 10)
    assert "quarantine" not in str(told.value)


def test_quarantine_is_not_advised_where_it_is_set(tmp_path):
    with pytest.raises(DataError) as told:
        bad_rows(tmp_path, on_bad_rows="quarantine").add(missing(3), 10)
    assert str(told.value).endswith(
        "the first is rows.tsv, line 1: label 'NA' stands for a missing value; to leave out as "
        "many, set data.max_rejected_share: 0.3"
    )
    write_rejected(tmp_path / "rejected.tsv", missing(1), ["rows.tsv"])
    assert "quarantine" not in (tmp_path / "rejected.tsv").read_text()


def test_rows_are_written_without_control_characters(tmp_path):
    table = rejects("id").set_column(5, "raw", pa.array(["g\r1\t\x1b[2J\\n"], pa.large_string()))
    write_rejected(tmp_path / "rejected.tsv", table, ["rows.tsv"])
    written = (tmp_path / "rejected.tsv").read_bytes().decode()
    assert written.splitlines()[1] == "rows.tsv\t1\tid\tid\tg\\r1\\t\\x1b[2J\\\\n"
