"""Rows that cannot be used: set aside, counted, and refused when there are too many."""

from pathlib import Path

import numpy as np
import pytest

import biolm_ray
from biolm_ray.config.load import load_config
from biolm_ray.config.schema import Config
from biolm_ray.data import pieces
from biolm_ray.errors import DataError
from biolm_ray.preparation import spread
from biolm_ray.preparation.prepare import prepare
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.vocabulary import fit_tokenizer
from biolm_ray.tokenization.tokenizer import Tokenizer

pytestmark = pytest.mark.usefixtures("ray_cluster")

BAD_LINES = {
    10: ("", "sequence", "the sequence in column 2 ('seq') is empty"),
    20: ("\ta,c\t1.5", "id", "the id in column 1 ('id') is empty"),
    30: ("x30\ta,c\tn/a", "label", "label 'n/a' in column 3 ('y') stands for a missing value"),
    40: ("x39\t,,\t1.5", "tokens", "the sequence is empty"),
    50: ("x50", "columns", "has 1 column, column 2 asked for as sequence"),
    60: ("x07\ta,N\t1.5", "id", "id 'x07' stands on line 8 already"),
    70: ('x70\t"a,c\t1.5', "quotes", "a double quote opens a field"),
    80: ("x39\ta,c\t2.5", None, None),
}
BAD_LINES[10] = ("x10\t\t1.5", *BAD_LINES[10][1:])


def write_file(path: Path, num_rows: int = 100, bad_lines: dict | None = None) -> Path:
    bad = BAD_LINES if bad_lines is None else bad_lines
    lines = ["id\tseq\ty"]
    for line in range(2, num_rows + 2):
        lines.append(bad[line][0] if line in bad else f"x{line - 1:02d}\ta,c,g,{'u' * line}\t1.5")
    path.write_text("\n".join(lines) + "\n")
    return path


def make_config(path: Path, **data) -> Config:
    return Config.model_validate(
        {
            "mode": "fine-tune",
            "task": "regression",
            "output_path": str(path.parent / "out"),
            "data": {
                "path": str(path),
                "has_header": True,
                "id_column": "id",
                "sequence_column": "seq",
                "label_column": "y",
                "token_separator": ",",
                "on_bad_rows": "quarantine",
                "max_rejected_share": 0.2,
                "max_unknown_share": 0.5,
                **data,
            },
        }
    )


def prepare_file(path: Path, **data) -> tuple[PreparedData, Path, Tokenizer]:
    config = make_config(path, **data)
    tokenizer = fit_tokenizer(config)
    rejected = path.parent / "rejected.tsv"
    prepared = prepare(
        config, tokenizer, path.parent / "prepared", label_kind="number", rejected_path=rejected
    )
    return prepared, rejected, tokenizer


@pytest.mark.parametrize(("piece_bytes", "fewest"), [(1 << 20, 1 << 20), (200, 0)])
def test_bad_rows_are_set_aside_with_file_line_and_reason(
    tmp_path, monkeypatch, piece_bytes, fewest
):
    monkeypatch.setattr(pieces, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(spread, "FEWEST_BYTES", fewest)
    prepared, rejected, _ = prepare_file(write_file(tmp_path / "rows.tsv"))
    found = [line.split("\t") for line in rejected.read_text().splitlines()]
    assert found[0] == ["file", "line", "rule", "reason", "row"]
    expected = {line: rest for line, (_, *rest) in BAD_LINES.items() if rest[0] is not None}
    assert [int(fields[1]) for fields in found[1:]] == sorted(expected)
    for name, line, rule, reason, raw in found[1:]:
        assert name == "rows.tsv"
        assert rule == expected[int(line)][0]
        assert reason.startswith(expected[int(line)][1])
        assert raw
    assert len(prepared) == 100 - len(expected)
    good = [line for line in range(2, 102) if line not in expected]
    assert prepared.line_numbers.tolist() == good
    assert prepared.row_numbers.tolist() == [line - 2 for line in good]
    assert len(set(prepared.ids)) == len(prepared)
    assert prepared.summary["tokens"] == prepared.lengths.sum()
    assert prepared.manifest["rejected"] == {
        "sequence": 1, "id": 2, "label": 1, "tokens": 1, "columns": 1, "quotes": 1
    }  # fmt: skip
    for row in (0, 50, len(prepared) - 1):
        assert len(prepared.token_ids(row)) == prepared.lengths[row]


def test_the_row_itself_is_kept_so_that_it_can_be_mended(tmp_path):
    lines = {10: ("x10\t\t1.5\textra",)}
    _, rejected, _ = prepare_file(write_file(tmp_path / "rows.tsv", bad_lines=lines))
    assert rejected.read_text().splitlines()[1].endswith("\tx10\\t\\t1.5\\textra")


def test_too_many_bad_rows_stop_the_run_with_their_counts(tmp_path):
    path = write_file(tmp_path / "rows.tsv")
    with pytest.raises(DataError, match=r"no more than 2 % of all 100 may be rejected.*id 1") as e:
        prepare_file(path, max_rejected_share=0.02)
    assert "first is rows.tsv, line 10: the sequence in column 2 ('seq') is empty" in str(e.value)
    assert not (tmp_path / "prepared" / "manifest.json").exists()


def test_where_no_row_is_left_the_first_one_is_told(tmp_path):
    tokenizer = fit_tokenizer(make_config(write_file(tmp_path / "rows.tsv")))
    path = tmp_path / "bad.tsv"
    path.write_text("id\tseq\ty\nx1\t\t1.5\nx2\ta,c\tNA\n")
    config = make_config(path, max_rejected_share=1)
    first = r"bad\.tsv, line 2: the sequence in column 2 \('seq'\) is empty"
    with pytest.raises(DataError, match=rf"can be used: label 1, sequence 1; the first is {first}"):
        prepare(config, tokenizer, tmp_path / "prepared", label_kind="number")


def test_a_stricter_share_is_also_asked_of_data_prepared_before(tmp_path):
    path = write_file(tmp_path / "rows.tsv")
    prepare_file(path)
    tokenizer = fit_tokenizer(make_config(path))
    strict = make_config(path, max_rejected_share=0.05)
    with pytest.raises(DataError, match="7 of 100 rows cannot be used"):
        prepare(strict, tokenizer, tmp_path / "prepared", label_kind="number")


def test_stopping_names_the_first_bad_row_and_reads_no_further(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 300)
    lines = {10: ("x10\t\t1",), 11: ("x11\t\t1",), 90: ("x90\t\t1",)}
    path = write_file(tmp_path / "rows.tsv", bad_lines=lines)
    config = make_config(path, on_bad_rows="stop")
    with pytest.raises(DataError, match=r"rows\.tsv, line 10: .*\(1 more row .* among the first"):
        fit_tokenizer(config)


def test_labels_without_a_logarithm_are_left_out_of_training(tmp_path):
    rng = np.random.default_rng(0)
    lines = [
        f"g{row}\t{','.join(rng.choice(list('acgu'), 40))}\t{-1 if row in (3, 20) else row + 1}"
        for row in range(40)
    ]
    path = tmp_path / "rows.tsv"
    path.write_text("\n".join(lines) + "\n")
    settings = {
        "task": "regression", "filepath": str(path), "outputpath": str(tmp_path / "out"),
        "idpos": 1, "seqpos": 2, "labelpos": 3, "tokensep": ",", "scaling": "log",
        "blocksize": 256, "nepochs": 1, "splitratio": "60,20,20", "ngpus": 0, "silent": True,
        "data.on_bad_rows": "quarantine", "model.name": "saluki", "model.channels": 8,
    }  # fmt: skip
    result = biolm_ray.finetune(load_config(None, "fine-tune", settings))
    assert result.report is not None
    rejected = (tmp_path / "out" / "fine-tune" / "rejected.tsv").read_text().splitlines()
    assert [line.split("\t")[1] for line in rejected[1:]] == ["4", "21"]
    assert "is not above 0, as scaling log needs" in rejected[1]
