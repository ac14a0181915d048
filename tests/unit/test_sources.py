"""Finding input files: paths, lists, folders, patterns and URIs."""

import bz2
import gzip
import json
import lzma
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from divided import read_all
from pyarrow import fs

from biolm_ray.config.paths import is_uri
from biolm_ray.data.filesystems import locate
from biolm_ray.data.sources import find_files
from biolm_ray.errors import ConfigError, DataError

ROW = b"g1\tac\n"


def names_of(*paths, **settings) -> list[str]:
    return [file.name for file in find_files([str(path) for path in paths], **settings)]


def make_files(folder, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ROW)


def test_files_of_a_folder_come_by_name_without_hidden_ones(tmp_path):
    make_files(tmp_path, "part-1.tsv", "part-0.tsv", "_SUCCESS", ".part-0.crc", "deeper/x.tsv")
    assert names_of(tmp_path) == ["part-0.tsv", "part-1.tsv"]
    assert names_of(f"{tmp_path}/") == ["part-0.tsv", "part-1.tsv"]
    assert names_of(tmp_path.as_uri()) == ["part-0.tsv", "part-1.tsv"]


def test_lists_keep_their_order(tmp_path):
    make_files(tmp_path, "b.tsv", "a.tsv")
    assert names_of(tmp_path / "b.tsv", tmp_path / "a.tsv") == ["b.tsv", "a.tsv"]


def test_patterns_match_within_each_folder(tmp_path):
    make_files(tmp_path, "x/b1.tsv", "x/b2.tsv", "x/c.txt", "y/b3.tsv", "y/z/b4.tsv")
    assert names_of(tmp_path / "x" / "b?.tsv") == ["b1.tsv", "b2.tsv"]
    assert names_of(tmp_path / "*" / "*.tsv") == ["b1.tsv", "b2.tsv", "b3.tsv"]
    assert names_of(tmp_path / "[y]" / "b*.tsv") == ["b3.tsv"]
    assert names_of(f"{tmp_path.as_uri()}/*/b1.tsv") == ["b1.tsv"]


def test_relative_patterns_start_in_the_working_folder(tmp_path, monkeypatch):
    make_files(tmp_path, "x/b1.tsv", "a.tsv")
    monkeypatch.chdir(tmp_path)
    assert names_of("x/*.tsv", "*.tsv") == ["b1.tsv", "a.tsv"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    make_files(tmp_path, "a[1].tsv", "a1.tsv")
    assert names_of(tmp_path / "a[1].tsv") == ["a[1].tsv"]


def test_compression_is_told_by_content_not_by_name(tmp_path):
    packed = {
        "gzip": gzip.compress(ROW) + gzip.compress(b"g2\tgu\n"),
        "bz2": bz2.compress(ROW) + bz2.compress(b"g2\tgu\n"),
        "xz": lzma.compress(ROW) + lzma.compress(b"g2\tgu\n"),
        "zstd": pa.compress(ROW + b"g2\tgu\n", "zstd", asbytes=True),
        None: ROW + b"g2\tgu\n",
    }
    for compression, content in packed.items():
        path = tmp_path / "rows.txt"
        path.write_bytes(content)
        assert find_files([str(path)])[0].compression == compression
        assert [row["id"] for row in read_all(path, sequence_column=2)] == ["g1", "g2"]


def test_the_format_is_told_by_content_not_by_name(tmp_path):
    table = pa.table({"id": ["g1"], "sequence": ["ac"]})
    pq.write_table(table, tmp_path / "parquet")
    with (
        pa.OSFile(str(tmp_path / "datasets"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    (tmp_path / "fasta").write_bytes(gzip.compress(b"\n>g1\nac\n"))
    (tmp_path / "table").write_bytes(ROW)
    for name in ("parquet", "datasets", "fasta", "table"):
        assert find_files([str(tmp_path / name)])[0].format == name


def test_stamps_change_with_the_file(tmp_path):
    make_files(tmp_path, "a.tsv")
    path = tmp_path / "a.tsv"
    (before,) = find_files([str(path)])
    assert find_files([str(path)]) == (before,)
    path.write_bytes(ROW.replace(b"a", b"u"))
    os.utime(path, ns=(1, 1))
    (after,) = find_files([str(path)])
    assert (before.size, before.stamp != after.stamp) == (after.size, True)


def test_uris_are_told_from_paths():
    assert is_uri("s3://bucket/rows.tsv")
    assert not is_uri("/data/rows.tsv")
    assert not is_uri("C:/rows.tsv")


def test_any_fsspec_address_can_be_read():
    import fsspec

    with fsspec.open("memory://inputs/a.tsv", "wb") as file:
        file.write(b"g1\tac\n" * 5)
    filesystem, inner = locate("memory://inputs/a.tsv")
    assert filesystem.get_file_info(inner).type == fs.FileType.File
    assert len(read_all("memory://inputs/a.tsv", sequence_column=2)) == 5
    assert names_of("memory://inputs/*.tsv") == names_of("memory://inputs") == ["a.tsv"]


def test_unknown_schemes_are_answered_with_known_ones():
    with pytest.raises(ConfigError, match="unknown scheme 'sss'; known are file, s3, gs"):
        find_files(["sss://bucket/rows.tsv"])


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["half_lives.tsv"], r"half_lives\.tsv does not exist; did you mean 'half_life\.tsv'"),
        (["nowhere/a.tsv"], r"a\.tsv does not exist \(nor does the folder .*nowhere\)"),
        (["*.csv"], r"no file matches .*\*\.csv"),
        (["void"], "void is a folder without data files"),
        (["half_life.tsv", "half_life.*"], r"half_life\.tsv is given twice"),
        (["half_life.tsv", "a.fasta"], r"a\.fasta is FASTA, but half_life\.tsv is delimited text"),
        (["empty.tsv"], r"empty\.tsv is empty"),
        (["dataset"], r"data-0\.arrow does not exist, but state\.json beside it names it"),
        (["broken"], r"state\.json is not as datasets writes it: it has no list '_data_files'"),
    ],
)
def test_what_cannot_be_found_is_refused(tmp_path, paths, message):
    make_files(tmp_path, "half_life.tsv", "void/_SUCCESS")
    (tmp_path / "empty.tsv").write_bytes(b"")
    (tmp_path / "a.fasta").write_bytes(b">g1\nac\n")
    for folder, state in {
        "dataset": {"_data_files": [{"filename": "data-0.arrow"}]},
        "broken": {},
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match=message):
        find_files([str(tmp_path / path) for path in paths])


def test_a_format_that_the_content_contradicts_is_refused(tmp_path):
    make_files(tmp_path, "a.tsv")
    pq.write_table(pa.table({"id": ["g1"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.tsv is text, not parquet as data\.format says"):
        find_files([str(tmp_path / "a.tsv")], "parquet")
    with pytest.raises(DataError, match=r"a\.parquet is parquet, not table as data\.format says"):
        find_files([str(tmp_path / "a.parquet")], "table")


def test_text_that_looks_like_fasta_can_be_a_table(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b">g1\tac\n")
    (row,) = read_all(tmp_path / "a.tsv", format="table", sequence_column=2)
    assert row["id"] == ">g1"


def test_a_server_that_cannot_be_reached_is_told(monkeypatch):
    from huggingface_hub.errors import HTTPError

    def refuse(*_, **__):
        raise HTTPError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfFileSystem.info", refuse)
    with pytest.raises(DataError, match=r"hf://datasets/u/d/x\.tsv cannot be read: no route"):
        find_files(["hf://datasets/u/d/x.tsv"])
