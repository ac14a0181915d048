"""From a file to a tokenizer and a prepared data set, through Ray Data."""

import bz2
import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biolm_ray.config.schema import Config
from biolm_ray.data import pieces
from biolm_ray.errors import DataError
from biolm_ray.preparation import prepare as preparing
from biolm_ray.preparation import spread
from biolm_ray.preparation.prepare import prepare
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.vocabulary import fit_tokenizer

pytestmark = pytest.mark.usefixtures("ray_cluster")


def make_config(path: Path, mode: str = "fine-tune", run: dict | None = None, **data) -> Config:
    columns = {"id_column": 1, "sequence_column": 2, "token_separator": ","}
    return Config.model_validate(
        {
            "mode": mode,
            "output_path": str(path.parent / "out"),
            "data": {**columns, "path": str(path), **data},
            "run": run or {},
        }
    )


def write_rows(path: Path, num_rows: int = 30) -> Path:
    letters = np.random.default_rng(0).choice(list("acgu"), (num_rows, 12))
    lines = [
        f"g{row}\t{','.join(letters[row][: 3 + row % 10])}\t{row + 0.5}\t{row % 3}\tGOOD"
        for row in range(num_rows)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def rows_of(prepared: PreparedData) -> pa.Table:
    """Everything that is stored of the rows, in order."""
    return pa.concat_tables(pq.read_table(path) for path in prepared.part_paths())


def test_every_column_arrives_in_the_order_of_the_file(tmp_path):
    path = write_rows(tmp_path / "rows.tsv")
    config = make_config(path, label_column=3, split_column=4, weight_column=5)
    tokenizer = fit_tokenizer(config)
    prepared = prepare(config, tokenizer, tmp_path / "prepared", label_kind="number")
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    assert prepared.ids == [fields[0] for fields in lines]
    assert prepared.splits == [fields[3] for fields in lines]
    assert prepared.labels.tolist() == [[float(fields[2])] for fields in lines]
    assert prepared.target_names == ()
    assert set(prepared.weights) == {0.75}
    assert prepared.row_numbers.tolist() == list(range(30))
    assert prepared.line_numbers.tolist() == list(range(1, 31))
    for row, fields in enumerate(lines):
        assert tokenizer.tokens(prepared.token_ids(row)) == fields[1].split(",")
        assert prepared.specifiers(row) is None
        assert prepared.lengths[row] == len(fields[1].split(","))
    assert prepared.summary["rows"] == 30
    assert prepared.summary["tokens"] == prepared.lengths.sum()
    assert prepared.rows_within(5).tolist() == np.flatnonzero(prepared.lengths <= 5).tolist()
    assert prepared.num_longer(5) == (prepared.lengths > 5).sum()
    stored = rows_of(prepared).column("token_ids")[0].as_py()
    assert np.frombuffer(stored, np.uint8).tolist() == prepared.token_ids(0).tolist()


def test_several_targets_arrive_in_the_order_they_are_asked_for(tmp_path):
    path = write_rows(tmp_path / "rows.tsv")
    config = make_config(path, label_column=[4, 3])
    tokenizer = fit_tokenizer(config)
    prepared = prepare(config, tokenizer, tmp_path / "prepared", label_kind="number")
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    assert prepared.labels.tolist() == [[float(fields[3]), float(fields[2])] for fields in lines]
    assert prepared.target_names == ("column_4", "column_3")
    assert rows_of(prepared).column_names[-2:] == ["label", "label_2"]
    assert tokenizer.tokens(prepared.token_ids(29)) == lines[29][1].split(",")
    for columns in ([3, 4], [4]):
        other = make_config(path, label_column=columns)
        assert prepare(other, tokenizer, tmp_path, label_kind="number").name != prepared.name
    bad = make_config(path, label_column=[3, 5])
    with pytest.raises(DataError, match=r"line 1: label 'GOOD' in column 5 is not a finite number"):
        prepare(bad, tokenizer, tmp_path, label_kind="number")


def test_prepared_data_pickle_as_their_path(tmp_path):
    config = make_config(write_rows(tmp_path / "rows.tsv"))
    prepared = prepare(config, fit_tokenizer(config), tmp_path, label_kind=None)
    copy = pickle.loads(pickle.dumps(prepared))
    assert copy.ids == prepared.ids
    assert len(pickle.dumps(prepared)) < 1000
    assert copy.labels is None
    assert copy.weights is None
    assert copy.splits is None


def test_ranges_blocks_and_compression_do_not_change_what_is_prepared(tmp_path, monkeypatch):
    path = write_rows(tmp_path / "rows.tsv")
    config = make_config(path)
    tokenizer = fit_tokenizer(config)
    expected = rows_of(prepare(config, tokenizer, tmp_path, label_kind=None))
    monkeypatch.setattr(pieces, "PIECE_BYTES", 100)
    monkeypatch.setattr(spread, "FEWEST_BYTES", 0)
    again = make_config(path, run={"prepare_again": True})
    found = prepare(again, tokenizer, tmp_path, label_kind=None)
    assert len(found.part_paths()) > 4
    assert rows_of(found).equals(expected)
    assert fit_tokenizer(config).vocabulary == tokenizer.vocabulary
    for compress, suffix in ((gzip.compress, "gz"), (bz2.compress, "bz2")):
        packed = tmp_path / f"rows.tsv.{suffix}"
        packed.write_bytes(compress(path.read_bytes()))
        found = prepare(make_config(packed), tokenizer, tmp_path, label_kind=None)
        assert rows_of(found).equals(expected)


def write_like(table: Path, path: Path) -> Path:
    """The rows of a table (id, sequence, label, split, weight) in another format, by its name."""
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    if ".fasta" in path.name:
        text = "".join(
            f">{name} y={label} fold={fold} w={weight}\n{sequence}\n"
            for name, sequence, label, fold, weight in rows
        )
        packed = gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode()
        path.write_bytes(packed)
    else:
        names = ("id", "sequence", "y", "fold", "w")
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        typed = pa.table({**columns, "y": [float(label) for label in columns["y"]]})
        if path.suffix == ".parquet":
            pq.write_table(typed, path, row_group_size=7)
        else:
            path.mkdir()
            (path / "state.json").write_text('{"_data_files": [{"filename": "data-0.arrow"}]}')
            (path / "dataset_info.json").write_text("{}")
            with pa.ipc.new_stream(path / "data-0.arrow", typed.schema) as writer:
                writer.write_table(typed, max_chunksize=11)
    return path


@pytest.mark.parametrize("name", ["rows.fasta", "rows.fasta.gz", "rows.parquet", "rows"])
def test_the_format_of_the_file_does_not_change_what_is_prepared(tmp_path, monkeypatch, name):
    table = write_rows(tmp_path / "table.tsv")
    config = make_config(table, label_column=3, split_column=4, weight_column=5)
    tokenizer = fit_tokenizer(config)
    expected = rows_of(prepare(config, tokenizer, tmp_path, label_kind="number"))
    monkeypatch.setattr(pieces, "PIECE_BYTES", 150)
    columns = {
        "id_column": "id",
        "sequence_column": "sequence",
        "label_column": "y",
        "split_column": "fold",
        "weight_column": "w",
    }
    other = make_config(write_like(table, tmp_path / name), has_header=True, **columns)
    found = prepare(other, tokenizer, tmp_path, label_kind="number")
    assert rows_of(found).equals(expected)
    assert fit_tokenizer(other).vocabulary == tokenizer.vocabulary


def test_several_files_are_numbered_as_one(tmp_path):
    write_rows(tmp_path / "a.tsv")
    second = write_rows(tmp_path / "b.tsv")
    second.write_text(second.read_text().replace("g", "h"))
    config = make_config(tmp_path / "*.tsv", label_column=3)
    prepared = prepare(config, fit_tokenizer(config), tmp_path / "out", label_kind="number")
    assert prepared.row_numbers.tolist() == list(range(60))
    assert prepared.line_numbers.tolist() == [*range(1, 31), *range(1, 31)]
    assert prepared.place(35) == (1, 6)
    assert prepared.manifest["files"] == ["a.tsv", "b.tsv"]
    assert prepared.ids[30:32] == ["h0", "h1"]


def test_a_prepared_file_is_used_again_until_content_or_settings_change(tmp_path):
    path = write_rows(tmp_path / "rows.tsv")
    config = make_config(path, label_column=3)
    tokenizer = fit_tokenizer(config)

    def where(config: Config) -> Path:
        prepared = prepare(config, tokenizer, tmp_path / "prepared", label_kind="number")
        return Path(prepared.location)

    first = where(config)
    written = (first / "manifest.json").stat().st_mtime_ns
    assert where(config) == first
    assert (first / "manifest.json").stat().st_mtime_ns == written
    moved = path.rename(tmp_path / "moved.tsv")
    assert where(make_config(moved, label_column=3)) == first
    assert where(make_config(moved, label_column=3, max_rows=10)) != first
    assert where(make_config(moved, label_column=3, split_column=4)) != first
    moved.write_text(moved.read_text().replace("\t0.5\t", "\t0.25\t"))
    changed = where(make_config(moved, label_column=3))
    assert changed != first
    assert PreparedData.open(changed).labels[0, 0] == 0.25


def test_data_prepared_by_older_rules_are_prepared_again_under_the_same_name(tmp_path):
    config = make_config(write_rows(tmp_path / "rows.tsv"), label_column=3)
    tokenizer = fit_tokenizer(config)
    first = prepare(config, tokenizer, tmp_path, label_kind="number")
    manifest = Path(first.location) / "manifest.json"
    older = json.loads(manifest.read_text())
    del older["rules"]
    older["summary"]["rows"] = 7
    manifest.write_text(json.dumps(older))
    again = prepare(config, tokenizer, tmp_path, label_kind="number")
    assert (again.location, again.num_rows) == (first.location, 30)


def test_max_rows_takes_the_first_rows_only(tmp_path):
    path = write_rows(tmp_path / "rows.tsv")
    with path.open("ab") as file:
        file.write(b"\xff broken line that must not be read\n")
    config = make_config(path, max_rows=7)
    prepared = prepare(config, fit_tokenizer(config), tmp_path, label_kind=None)
    assert prepared.row_numbers.tolist() == list(range(7))


def test_bom_crlf_quotes_blank_lines_and_spaces_are_read_through(tmp_path):
    path = tmp_path / "windows.csv"
    text = '\r\nid, sequence, label\r\n"g,1","a,c,g",1.5 \r\n  \r\n g2 ,"c,g,a", 2\r\n\r\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    config = make_config(
        path,
        has_header=True,
        column_separator=",",
        id_column="id",
        sequence_column="sequence",
        label_column="label",
    )
    tokenizer = fit_tokenizer(config)
    prepared = prepare(config, tokenizer, tmp_path, label_kind="number")
    assert prepared.ids == ["g,1", "g2"]
    assert prepared.labels.tolist() == [[1.5], [2.0]]
    assert prepared.line_numbers.tolist() == [3, 5]
    assert tokenizer.tokens(prepared.token_ids(1)) == ["c", "g", "a"]


def test_specifiers_come_back_row_by_row(tmp_path):
    path = tmp_path / "specifiers.tsv"
    path.write_text("g1\ta#2.5#0.2,c,a\ng2\tc,a,c#1#-1,c\n")
    config = make_config(path, specifier_separator="#")
    prepared = prepare(config, fit_tokenizer(config), tmp_path, label_kind=None)
    assert prepared.num_specifiers == 2
    expected = np.array([[0, 0], [0, 0], [1, -1], [0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(prepared.specifiers(1), expected)
    np.testing.assert_allclose(prepared.specifiers(0)[0], [2.5, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(prepared.encoded(1).specifiers, expected)


@pytest.mark.parametrize("encoding", ["atomic", "bpe", "3mer"])
def test_a_tokenizer_learnt_through_blocks_equals_one_learnt_in_memory(
    tmp_path, monkeypatch, encoding
):
    from biolm_ray.tokenization.fitting import fit, in_sample, make_settings

    path = write_rows(tmp_path / "rows.tsv", num_rows=60)
    config = make_config(path)
    tokenization = config.tokenization.model_copy(
        update={"encoding": encoding, "sample_size": 20, "vocabulary_size": 300}
    )
    config = config.model_copy(update={"tokenization": tokenization})
    texts = np.array([line.split("\t")[1] for line in path.read_text().splitlines()])
    sampled = texts[in_sample(np.arange(60), 60, 20, config.training.seed)].tolist()
    expected = fit(sampled, tokenization, make_settings(config))
    monkeypatch.setattr(pieces, "PIECE_BYTES", 300)
    monkeypatch.setattr(spread, "FEWEST_BYTES", 0)
    assert fit_tokenizer(config).vocabulary == expected.vocabulary
    packed = tmp_path / "rows.tsv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    of_packed = config.model_copy(
        update={"data": config.data.model_copy(update={"path": str(packed)})}
    )
    assert fit_tokenizer(of_packed).vocabulary == expected.vocabulary


def test_a_failed_preparation_leaves_no_file(tmp_path, monkeypatch):
    config = make_config(write_rows(tmp_path / "rows.tsv"))
    tokenizer = fit_tokenizer(config)

    def fail(*_, **__):
        raise DataError("broken off")

    monkeypatch.setattr(preparing, "finish", fail)
    with pytest.raises(DataError, match="broken off"):
        prepare(config, tokenizer, tmp_path / "prepared", label_kind=None)
    assert list((tmp_path / "prepared").iterdir()) == []


def test_measured_half_lives_are_prepared_whole(shared, tmp_path):
    config = Config.model_validate(
        {
            "mode": "fine-tune",
            "output_path": str(tmp_path),
            "data": {
                "path": str(shared / "data" / "mrna_halflife_yeast_cheng2017.tsv.gz"),
                "has_header": True,
                "id_column": "id",
                "sequence_column": "sequence",
                "label_column": "label",
                "split_column": "fold",
            },
        }
    )
    tokenizer = fit_tokenizer(config)
    prepared = prepare(config, tokenizer, tmp_path, label_kind="number")
    assert prepared.num_rows == 3838
    assert set(prepared.splits) == {str(fold) for fold in range(10)}
    assert prepared.summary["length_min"] == 284
    assert prepared.summary["length_median"] == 1484
    assert prepared.summary["length_max"] == 5662
    assert {token for token in tokenizer.vocabulary if not token.startswith("[")} == set("ACGT")
