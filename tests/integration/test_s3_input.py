"""Input on S3, read from a server on this machine."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from divided import plan_of, read_all

from biolm_ray.data.filesystems import locate
from biolm_ray.data.reading import divide
from biolm_ray.errors import DataError


def test_a_folder_of_plain_and_compressed_files_is_read(bucket):
    records = read_all(f"{bucket}/rows", has_header=True, sequence_column="seq")
    assert [r["id"] for r in records] == ["g0", "g1", "g2"] * 2
    assert [r["row"] for r in records] == list(range(6))


def test_patterns_and_single_files_are_found(bucket):
    (file,) = plan_of(f"{bucket}/rows/*.gz", has_header=True, sequence_column=2).files
    assert (file.path, file.compression) == (f"{bucket}/rows/part-1.tsv.gz", "gzip")
    assert len(read_all(f"{bucket}/rows/part-0.tsv", has_header=True, sequence_column=2)) == 3


def test_ranges_of_a_file_are_read_by_themselves(bucket, monkeypatch):
    monkeypatch.setattr("biolm_ray.data.pieces.PIECE_BYTES", 9)
    plan = plan_of(f"{bucket}/rows/part-0.tsv", has_header=True, sequence_column="seq")
    assert len(divide(plan)) == 4
    records = read_all(f"{bucket}/rows/part-0.tsv", has_header=True, sequence_column="seq")
    assert [r["id"] for r in records] == ["g0", "g1", "g2"]


def test_stamps_follow_the_content(bucket):
    path = f"{bucket}/changing.tsv"
    filesystem, inner = locate(path)
    stamps = []
    for content in (b"g1\tac\n", b"g1\tau\n"):
        with filesystem.open_output_stream(inner) as stream:
            stream.write(content)
        stamps.append(plan_of(path, sequence_column=2).files[0].stamp)
    assert stamps[0] != stamps[1]


def test_files_that_are_not_there_are_refused(bucket):
    with pytest.raises(DataError, match=r"s3://inputs/rows/part-7\.tsv does not exist"):
        plan_of(f"{bucket}/rows/part-7.tsv", sequence_column=2)
    with pytest.raises(DataError, match=r"s3://elsewhere/x\.tsv"):
        plan_of("s3://elsewhere/x.tsv", sequence_column=2)


def test_parquet_is_read_from_s3(bucket):
    filesystem, inner = locate(f"{bucket}/a.parquet")
    pq.write_table(pa.table({"id": ["g1"], "seq": ["ac"]}), inner, filesystem=filesystem)
    (record,) = read_all(f"{bucket}/a.parquet", sequence_column="seq")
    assert (record["id"], record["sequence"]) == ("g1", "ac")
