"""Parquet files and folders that the library `datasets` saved."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from divided import plan_of, read_all, read_pieces

from biolm_ray.data import pieces
from biolm_ray.data.fields import LEAVE_OUT
from biolm_ray.data.reading import divide, scan_piece
from biolm_ray.errors import DataError

TABLE = pa.table(
    {
        "name": pa.array(["g1", " g2 ", "g3", None, "g5"]),
        "sequence": pa.array(["ac", "gu ", None, "ac", "ca"]).dictionary_encode(),
        "half_life": pa.array([1, 2, 3, 4, None], pa.int32()),
        "words": ["1.5", "x", "2", "3", "nan"],
        "floats": pa.array([0.1, float("nan"), 1e300, 2.0, float("inf")], pa.float64()),
        "chromosome": pa.array([1, 2, 3, 4, 5]),
    }
)


def read(path, **settings) -> list[dict]:
    return read_all(path, id_column="name", **{"sequence_column": "sequence", **settings})


def save_dataset(folder, *tables: pa.Table) -> None:
    """Write a folder as `Dataset.save_to_disk` does."""
    folder.mkdir(parents=True)
    names = [f"data-{index:05}-of-{len(tables):05}.arrow" for index in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pa.ipc.new_stream(folder / name, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    (folder / "dataset_info.json").write_text("{}")
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))


def test_typed_columns_become_text_and_numbers(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet")
    records = read(tmp_path / "a.parquet", label_kind="number", label_column="half_life")
    assert [(r["row"], r["line"], r["id"], r["sequence"], r["label"]) for r in records[:2]] == [
        (0, 1, "g1", "ac", 1.0),
        (1, 2, "g2", "gu", 2.0),
    ]
    assert [r["problem"] for r in records[2:]] == [
        "the sequence in column 'sequence' is empty",
        "the id in column 'name' is empty",
        f"the label in column 'half_life' is empty; {LEAVE_OUT}",
    ]
    assert records[4]["raw"] == "g5\tca\t"


def test_several_targets_come_from_typed_columns_and_text(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet")
    records = read(tmp_path / "a.parquet", label_kind="number", label_column=["floats", "words"])
    assert (records[0]["label"], records[0]["label_2"]) == (0.1, 1.5)
    assert records[1]["problem"].startswith("label 'nan' in column 'floats' stands for a missing")


def test_labels_may_be_text_or_numbers_and_weights_words(tmp_path):
    table = TABLE.append_column("weight", pa.array(["GOOD", "0.5", "2", "1", "-1"]))
    pq.write_table(table, tmp_path / "a.parquet")
    settings = {"weight_column": "weight", "split_column": "chromosome"}
    records = read(tmp_path / "a.parquet", label_kind="number", label_column="words", **settings)
    assert [(r["label"], r["weight"], r["split"]) for r in records[:1]] == [(1.5, 0.75, "1")]
    assert records[1]["problem"] == "label 'x' in column 'words' is not a finite number"
    records = read(tmp_path / "a.parquet", label_kind="number", label_column=5)
    assert [r["rule"] for r in records] == [None, "label", "sequence", "id", "label"]
    assert records[1]["problem"].startswith("label 'nan' in column 'floats' stands for a missing")
    records = read(tmp_path / "a.parquet", label_kind="class", label_column="chromosome")
    assert records[1]["label"] == "2"


def test_whole_numbers_too_large_for_a_float_are_rounded(tmp_path):
    table = pa.table({"name": ["g1"], "sequence": ["ac"], "y": [2**53 + 1]})
    pq.write_table(table, tmp_path / "a.parquet")
    (row,) = read(tmp_path / "a.parquet", label_kind="number", label_column="y")
    assert row["label"] == 2.0**53


def test_row_groups_are_read_in_pieces_that_cover_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 300)
    path = tmp_path / "a.parquet"
    table = pa.table({"name": [f"g{row}" for row in range(90)], "sequence": ["ac"] * 90})
    pq.write_table(table, path, row_group_size=10)
    plan = plan_of(path, id_column="name", sequence_column="sequence", max_rows=55)
    parts = divide(plan)
    assert len(parts) > 2
    assert [part.start for part in parts] == [0, *[part.stop for part in parts[:-1]]]
    assert parts[-1].stop == path.stat().st_size
    assert sum(scan_piece(plan, part).num_records for part in parts) == 90
    rows = [row for block in read_pieces(plan, parts) for row in block.to_pylist()]
    assert [row["id"] for row in rows] == [f"g{row}" for row in range(55)]
    assert [row["line"] for row in rows] == list(range(1, 56))
    assert plan.where(0, 7) == "a.parquet, row 7"


def test_a_saved_dataset_is_read_in_the_order_of_its_state(tmp_path):
    save_dataset(tmp_path / "d", TABLE.slice(0, 3), TABLE.slice(3))
    records = read(tmp_path / "d", sequence_column=2, label_kind="class", label_column="chromosome")
    assert [(r["row"], r["line"]) for r in records] == [(0, 1), (1, 2), (2, 3), (3, 1), (4, 2)]
    assert records[4]["id"] == "g5"


def test_one_column_may_have_two_roles(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet")
    save_dataset(tmp_path / "d", TABLE)
    for path in (tmp_path / "a.parquet", tmp_path / "d"):
        assert read(path, sequence_column="name")[0]["sequence"] == "g1"


def test_a_dataset_dictionary_gives_its_splits_as_a_column(tmp_path):
    for split, start in {"train": 0, "test": 1}.items():
        save_dataset(tmp_path / "d" / split, TABLE.slice(start, 1))
    (tmp_path / "d" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    records = read(tmp_path / "d", split_column="split")
    assert [(r["id"], r["split"]) for r in records] == [("g1", "train"), ("g2", "test")]


def test_unknown_and_unusable_columns_are_refused(tmp_path):
    table = pa.table({"id": ["g1"], "sequence": [["a", "c"]]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no column is named 'name', asked for as id"):
        read(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'sequence', asked for as sequence, holds list"):
        read_all(tmp_path / "a.parquet", sequence_column=2)


def test_a_damaged_parquet_file_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize("saved", ["a.parquet", "folder"])
def test_class_labels_of_datasets_come_by_their_names(tmp_path, saved):
    features = {"place": {"names": ["nucleus", "cytoplasm"], "_type": "ClassLabel"}}
    noted = json.dumps({"info": {"features": features}}).encode()
    table = pa.table({"name": list("abcd"), "sequence": ["ac"] * 4, "place": [1, 0, -1, None]})
    table = table.replace_schema_metadata({b"huggingface": noted})
    path = tmp_path / saved
    if saved == "folder":
        save_dataset(path, table)
    else:
        pq.write_table(table, path)
    records = read(path, label_kind="class", label_column="place")
    assert [r["label"] for r in records[:2]] == ["cytoplasm", "nucleus"]
    assert [r["problem"] for r in records[2:]] == [
        f"the label in column 'place' is empty; {LEAVE_OUT}"
    ] * 2
