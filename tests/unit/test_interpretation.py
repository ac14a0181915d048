from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scored import score_rows, write_scores

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import InterpretConfig
from biolm_ray.errors import DataError
from biolm_ray.report import interpretation
from biolm_ray.report.interpretation import (
    describe_interpretation,
    describe_interpretations,
    interpret_tables,
    write_interpretation,
)

SMALL = InterpretConfig(edit="mask", plots=0)


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    parts = [
        score_rows(f"g/{number}", ["a", "s", *"acgtac", "e", *"ggtatttat"], draw.normal(size=18))
        for number in range(5)
    ]
    return write_scores(tmp_path / "loo_scores_mask.csv", pd.concat(parts))


def test_what_can_be_told_is_written_beside_the_table(scores: Path) -> None:
    found = write_interpretation(scores, SMALL)
    assert found.folder == scores.parent / "loo_scores_mask"
    assert {path.name for path in found.folder.iterdir()} == {
        "tokens.csv",
        "regions.csv",
        "codons.csv",
        "kmers.csv",
        "top_elements.csv",
    }
    assert found.notes == ()
    assert str(found.folder) in describe_interpretation(found).splitlines()[0]


def test_parquet_and_csv_lead_to_the_same_files(scores: Path) -> None:
    parts = pd.read_csv(scores)
    parts.insert(1, "position", 0)
    parts.insert(3, "replacement", None)
    parquet = write_scores(scores.with_suffix(".parquet"), parts)
    one = write_interpretation(scores, SMALL, scores.parent / "one")
    two = write_interpretation(parquet, SMALL, scores.parent / "two")
    assert one.paths.keys() == two.paths.keys()
    for name, path in one.paths.items():
        assert path.read_bytes() == two.paths[name].read_bytes()


def test_a_typed_table_beside_is_read_instead_and_names_may_hold_dots(tmp_path: Path) -> None:
    rows = score_rows("g", "acgtac", range(6))
    path = write_scores(tmp_path / "loo_scores_mask_half.life.csv", rows)
    write_scores(path.with_suffix(".parquet"), rows.assign(loo=1.0))
    settings = {"filepath": "x.tsv", "seqpos": 1, "outputpath": str(tmp_path)}
    config = load_config(None, "interpret", {**settings, "interpret.plots": 0})
    (found,) = interpret_tables([path], config)
    assert found.folder == tmp_path / "loo_scores_mask_half.life"
    assert set(pd.read_csv(found.paths["tokens"])["mean"]) == {1.0}


def test_plots_kmers_and_motifs_are_as_many_as_asked_for(scores: Path) -> None:
    settings = InterpretConfig(edit="mask", plots=2, kmer=0, motifs={"ARE": "UAUUUA"})
    found = write_interpretation(scores, settings)
    assert len(list((found.folder / "plots").glob("0?_g_?.png"))) == 2
    assert "kmers" not in found.paths
    assert pd.read_csv(found.paths["motifs"])["num_occurrences"].tolist() == [5]
    assert "2 plots" in describe_interpretation(found)


def test_the_length_of_kmers_is_that_of_the_setting(scores: Path) -> None:
    found = write_interpretation(scores, InterpretConfig(plots=0, kmer=3))
    assert set(pd.read_csv(found.paths["kmers"])["kmer"].str.len()) == {3}


def test_a_file_of_coordinates_leads_to_a_genome_track(scores: Path) -> None:
    bed = scores.with_name("genes.bed")
    bed.write_text("chr1\t10\t26\tg/1\t0\t-\n")
    settings = InterpretConfig(plots=0, coordinates=str(bed))
    found = write_interpretation(scores, settings)
    assert found.paths["genome track"] == scores.with_name("loo_scores_mask.bedgraph")
    assert len(found.paths["genome track"].read_text().splitlines()) == 17
    assert found.notes == ("4 sequences have no place in the genome track",)


def test_a_model_of_the_3utr_has_no_genome_track(scores: Path) -> None:
    settings = InterpretConfig(plots=0, coordinates="not read")
    found = write_interpretation(scores, settings, only_utr3=True)
    assert "genome track" not in found.paths
    assert "no genome track" in found.notes[0]
    assert pd.read_csv(found.paths["regions"])["region"].tolist() == ["3'UTR"]


def test_unknown_regions_are_told(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "loo.csv", score_rows("g", "acgtac", range(6)))
    found = write_interpretation(scores, SMALL)
    assert "1 of 1 sequence has no known regions" in found.notes[0]
    assert "regions" not in found.paths


def test_proteins_have_no_codons(tmp_path: Path) -> None:
    scores = write_scores(tmp_path / "loo.csv", score_rows("g", "MKLEFIQP", range(8)))
    found = write_interpretation(scores, InterpretConfig(plots=1, kmer=2, motifs={"m": "LXF"}))
    assert "codons" not in found.paths
    assert pd.read_csv(found.paths["motifs"])["num_occurrences"].tolist() == [1]


@pytest.mark.parametrize(
    ("columns", "start"), [("[utr5, cds, utr3]", "1"), ("[cds_place]", "2")], ids=["three", "one"]
)
def test_regions_come_from_columns_of_the_input(tmp_path: Path, columns: str, start: str) -> None:
    rows = tmp_path / "rows.tsv"
    rows.write_text("id\tseq\tutr5\tcds\tutr3\tcds_place\ng\tacgtacgg\t1\t6\t1\t2-7\n")
    scores = write_scores(tmp_path / "loo.csv", score_rows("g", "acgtacgg", range(8)))
    config = load_config(
        None, "interpret",
        {"filepath": str(rows), "seqpos": "seq", "interpret.region_columns": columns,
         "interpret.plots": 0, "stripheader": True, "outputpath": str(tmp_path)},
    )  # fmt: skip
    (found,) = interpret_tables([scores], config)
    codons = pd.read_csv(found.paths["codons"]).set_index("codon")["mean"]
    assert codons.to_dict() == {"CGU": 1 + 2 + 3, "ACG": 4 + 5 + 6}


def test_tables_of_folds_are_also_read_together(tmp_path: Path) -> None:
    for fold in range(2):
        (tmp_path / str(fold)).mkdir()
    rows = [score_rows("g", "acgtac", range(6)), score_rows("h", "ccgg", range(4))]
    paths = [write_scores(tmp_path / f"{i}/loo_scores_mask.csv", rows[i]) for i in range(2)]
    settings = {"filepath": "x.tsv", "seqpos": 1, "outputpath": str(tmp_path)}
    config = load_config(None, "interpret", {**settings, "interpret.plots": 1})
    one, two, both = interpret_tables(paths, config)
    assert [one.folder.parent, two.folder.parent] == [tmp_path / "0", tmp_path / "1"]
    assert both.folder == tmp_path / "loo_scores_mask"
    alone = write_interpretation(
        write_scores(tmp_path / "alone.csv", pd.concat(rows)), InterpretConfig(plots=1)
    )
    assert both.paths.keys() == alone.paths.keys()
    for name in ("tokens", "kmers", "top_elements"):
        assert both.paths[name].read_bytes() == alone.paths[name].read_bytes()
    assert "all 2 tables together" in describe_interpretation(both)
    text = "\n".join(describe_interpretations([one, two, both]))
    assert "2 of 2 sequences have no known regions" in text
    assert text.count("no known regions") == 1


def test_what_holds_for_every_table_is_said_once(tmp_path: Path) -> None:
    rows = score_rows("g", "MKLEFIQP", range(8))
    paths = [write_scores(tmp_path / f"{fold}/loo_scores_mask.csv", rows) for fold in range(2)]
    settings = {"filepath": "x.tsv", "seqpos": 1, "outputpath": str(tmp_path)}
    config = load_config(None, "interpret", {**settings, "interpret.plots": 0})
    text = "\n".join(describe_interpretations(interpret_tables(paths, config)))
    assert text.count("as these are proteins") == 1


def test_a_table_without_a_score_is_told_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = score_rows("g", "acgtac", range(6))
    paths = [tmp_path / str(fold) / "loo_scores_mask.csv" for fold in range(2)]
    for path, table in zip(paths, (rows, rows.iloc[:0]), strict=True):
        write_scores(path, table)
        write_scores(path.with_suffix(".parquet"), table)
    settings = {"filepath": "x.tsv", "seqpos": 1, "outputpath": str(tmp_path)}
    config = load_config(None, "interpret", {**settings, "interpret.plots": 0})
    (found,) = interpret_tables(paths, config)
    assert found.folder == tmp_path / "0" / "loo_scores_mask"
    assert f"{paths[1]} holds no score" in caplog.text
    assert interpret_tables(paths[1:], config) == []


def test_what_another_run_made_of_a_table_does_not_stay_beside_the_new(scores: Path) -> None:
    bed = scores.with_name("genes.bed")
    bed.write_text("chr1\t10\t26\tg/1\t0\t-\n")
    first = InterpretConfig(plots=2, motifs={"ARE": "UAUUUA"}, coordinates=str(bed))
    before = write_interpretation(scores, first)
    assert {"motifs", "genome track", "plot 2"} <= before.paths.keys()
    after = write_interpretation(scores, SMALL)
    assert sorted(after.folder.iterdir()) == sorted(after.paths.values())
    assert not before.paths["genome track"].exists()


def test_what_cannot_be_made_leaves_what_was_made_before(
    scores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write_interpretation(scores, SMALL)
    contents = {path: path.read_bytes() for path in before.paths.values()}

    def draw(*arguments: object) -> None:
        raise DataError("no picture")

    monkeypatch.setattr(interpretation, "write_picture", draw)
    with pytest.raises(DataError, match="no picture"):
        write_interpretation(scores, InterpretConfig(plots=1, kmer=3))
    assert {path: path.read_bytes() for path in before.folder.iterdir()} == contents
