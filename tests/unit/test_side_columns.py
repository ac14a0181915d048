from pathlib import Path

import pandas as pd
import pytest

from biolm_ray.config.schema import Column, DataConfig
from biolm_ray.data.side_columns import read_side_columns
from biolm_ray.errors import DataError

ROWS = pd.DataFrame(
    {"id": ["a", "b", "c"], "seq": ["acg", "ac", "acgt"], "u": [1, 0, 2], "c": [2, 2, 1]}
)


def named(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name=name) for name in names)


@pytest.mark.parametrize("name", ["rows.tsv", "rows.tsv.gz", "rows.csv", "rows.parquet"])
def test_columns_are_read_by_identifier_from_every_format(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        ROWS.to_parquet(path, index=False, row_group_size=2)
    else:
        ROWS.to_csv(path, index=False, sep="," if ".csv" in name else "\t")
    config = DataConfig(
        path=str(path), has_header=True, id_column=Column(name="id"),
        sequence_column=Column(name="seq"), split_column=Column(name="none"),
    )  # fmt: skip
    found = read_side_columns(config, named("u", "c"), ["a", "c"])
    assert found == {"a": ("1", "2"), "c": ("2", "1")}


def test_columns_are_read_below_titles_and_beside_row_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("Table S1\n\nid\tseq\tcds\n1\ta\tacg\t1-3\n2\tb\tac\t1-2\n")
    config = DataConfig(
        path=str(path), has_header=True, skip_lines=1, id_column=Column(name="id"),
        sequence_column=Column(name="seq"),
    )  # fmt: skip
    found = read_side_columns(config, named("cds"), ["a", "b"])
    assert found == {"a": ("1-3",), "b": ("1-2",)}


def test_attributes_are_read_from_fasta(tmp_path: Path) -> None:
    path = tmp_path / "rows.fasta"
    path.write_text(">a cds=1-3\nacg\n>b half_life=2\nac\n>c cds=2-4\nacgt\n")
    config = DataConfig(path=str(path))
    assert read_side_columns(config, named("cds"), ["a", "b", "c"]) == {
        "a": ("1-3",),
        "c": ("2-4",),
    }


def test_an_identifier_with_two_answers_has_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.fasta"
    path.write_text(">a cds=1-3\nacg\n>a cds=2-3\nacg\n>b cds=1-2\nac\n>b cds=1-2\nac\n")
    found = read_side_columns(DataConfig(path=str(path)), named("cds"), ["a", "b"])
    assert found == {"b": ("1-2",)}


def test_a_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    ROWS.to_csv(path, index=False, sep="\t")
    config = DataConfig(path=str(path), has_header=True, sequence_column=Column(index=1))
    with pytest.raises(DataError, match="no column is named 'cds'"):
        read_side_columns(config, named("cds"), ["a"])
