"""Where the tokens of a row lie in a file of rows."""

import io
import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from biolm_ray.errors import DataError
from biolm_ray.preparation import row_files
from biolm_ray.preparation.manifest import MANIFEST
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.row_files import Group, binary_rows, prepared_schema, row_starts
from biolm_ray.preparation.row_files import write_rows as write_file


def make_rows(id_type: str, lengths: list[int], channels: int = 0) -> tuple[pa.Table, list]:
    random = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = random.integers(0, 200, offsets[-1]).astype(id_type)
    schema = prepared_schema(
        num_specifiers=channels, label_kind="number", has_weights=False, has_splits=True
    )
    columns = {
        "row": np.arange(len(lengths)),
        "id": [f"g{row}" for row in range(len(lengths))],
        "length": np.array(lengths, np.int32),
        "center": np.full(len(lengths), -1, np.int32),
        "token_ids": binary_rows(ids, offsets),
        "label": np.arange(len(lengths)) / 2,
        "split": ["train"] * len(lengths),
    }
    expected = [ids[start:stop] for start, stop in pairwise(offsets)]
    if channels:
        values = random.normal(size=(offsets[-1], channels)).astype(np.float32)
        columns["specifiers"] = binary_rows(values, offsets)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema), expected


@pytest.mark.parametrize("id_type", ["uint8", "uint16", "int32"])
@pytest.mark.parametrize("group_rows", [1, 3, 100])
def test_every_row_is_found_by_its_place_in_the_file(monkeypatch, id_type, group_rows):
    monkeypatch.setattr(row_files, "GROUP_ROWS", group_rows)
    lengths = [5, 1, 300, 2, 7, 40_000, 3]
    table, expected = make_rows(id_type, lengths, channels=2)
    file = io.BytesIO()
    groups = write_file(file, table)
    assert sum(group.num_rows for group in groups) == len(lengths)
    content = np.frombuffer(file.getvalue(), np.uint8)
    size = np.dtype(id_type).itemsize
    starts = row_starts(groups, np.array(lengths), size, "tokens")
    for row, start in enumerate(starts):
        found = content[start : start + lengths[row] * size].view(id_type)
        np.testing.assert_array_equal(found, expected[row])
    starts = row_starts(groups, np.array(lengths), 8, "specifiers")
    specifiers = table["specifiers"].to_pylist()
    for row, start in enumerate(starts):
        assert content[start : start + lengths[row] * 8].tobytes() == specifiers[row]


def test_a_table_of_several_blocks_is_laid_out_as_one():
    table, expected = make_rows("uint8", [4, 9, 2, 8, 1, 6])
    parts = pa.concat_tables([table.slice(0, 2), table.slice(2, 1), table.slice(3)])
    file = io.BytesIO()
    groups = write_file(file, parts)
    starts = row_starts(groups, np.array([4, 9, 2, 8, 1, 6]), 1, "tokens")
    content = file.getvalue()
    for start, ids in zip(starts, expected, strict=True):
        assert list(content[start : start + len(ids)]) == ids.tolist()


def test_a_file_cut_short_is_refused_not_read(tmp_path):
    table, _ = make_rows("uint8", [5, 6, 7])
    path = tmp_path / "rows" / "part.parquet"
    path.parent.mkdir()
    with path.open("w+b") as file:
        groups = write_file(file, table)
    manifest = {
        "name": "n",
        "id_type": "uint8",
        "num_specifiers": 0,
        "columns": table.schema.names,
        "summary": {"rows": 3},
        "rejected": {},
        "parts": [{"file": "part.parquet", "rows": 3, "groups": [list(vars(groups[0]).values())]}],
    }
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    whole = PreparedData.open(tmp_path)
    assert len(whole.token_ids(2)) == 7
    content = path.read_bytes()
    damaged = PreparedData.open(tmp_path)
    assert damaged.lengths.tolist() == [5, 6, 7]
    path.write_bytes(content[1:] + b"\0")
    with pytest.raises(DataError, match=r"part\.parquet is damaged"):
        damaged.token_ids(1)


def test_a_folder_without_a_manifest_is_no_prepared_data_set(tmp_path):
    with pytest.raises(DataError, match="broken off"):
        PreparedData.open(tmp_path)


def test_a_group_is_written_down_as_three_numbers():
    assert Group(*[3, 17, None]) == Group(num_rows=3, tokens_start=17)
