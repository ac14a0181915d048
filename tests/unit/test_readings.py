from pathlib import Path

import pandas as pd
import pytest
from scored import class_rows, score_rows, write_scores

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import InterpretConfig
from biolm_ray.errors import ConfigError
from biolm_ray.report import interpretation
from biolm_ray.report.interpretation import (
    describe_interpretation,
    interpret_tables,
    write_interpretation,
)
from biolm_ray.report.readings import find_readings

PLAIN = InterpretConfig(edit="mask", plots=0, kmer=0)
TWO = [{"no": 0.5, "yes": -0.5}, {"yes": 0.25, "no": -0.25}]
"""By sequence, the scores of two classes, of which the first is the predicted one."""
THREE = [{"a/b": 3.0, "a_b": -2.0, "c": -1.0}, {"c": 4.0, "a/b": -4.0, "a_b": 0.0}]
ENDINGS = ["csv", "parquet"]


def table_of(by_class: list[dict[str, float]]) -> pd.DataFrame:
    return pd.concat([class_rows(f"g{i}", "acgt", each) for i, each in enumerate(by_class)])


def mean_of(path: Path) -> float:
    return pd.read_csv(path)["mean"].mean()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("asked", "mean"), [(None, -0.125), ("yes", -0.125), ("no", 0.125)])
def test_two_classes_are_read_as_one_of_them_not_as_the_predicted_ones(
    tmp_path: Path, ending: str, asked: str | None, mean: float
) -> None:
    path = write_scores(tmp_path / f"loo_scores_mask.{ending}", table_of(TWO))
    found = write_interpretation(path, PLAIN.model_copy(update={"class_name": asked}))
    assert mean_of(found.paths["tokens"]) == mean
    assert f"changes of the probability of class {asked or 'yes'})" in describe_interpretation(
        found
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_of_several_classes_has_tables_of_its_own_scores(tmp_path: Path, ending: str) -> None:
    path = write_scores(tmp_path / f"loo_scores_mask.{ending}", table_of(THREE))
    found = write_interpretation(path, PLAIN)
    folders = {"class_a_b_1": -0.5, "class_a_b_2": -1.0, "class_c_3": 1.5}
    for folder, mean in folders.items():
        assert mean_of(tmp_path / "loo_scores_mask" / folder / "tokens.csv") == mean
        assert found.paths[f"{folder}/tokens"].is_file()
    assert not (tmp_path / "loo_scores_mask" / "tokens.csv").exists()
    assert "the probability of each of 3 classes" in describe_interpretation(found)


def test_each_class_has_a_genome_track_of_its_own_and_older_ones_go(tmp_path: Path) -> None:
    path = write_scores(tmp_path / "loo_scores_mask.csv", table_of(THREE))
    (tmp_path / "genes.bed").write_text("chr1\t10\t14\tg0\t0\t+\n")
    settings = PLAIN.model_copy(update={"coordinates": str(tmp_path / "genes.bed")})
    found = write_interpretation(path, settings)
    track = tmp_path / "loo_scores_mask_class_c_3.bedgraph"
    assert found.paths["class_c_3/genome track"] == track
    assert track.read_text().splitlines()[1].split("\t") == ["chr1", "10", "11", "-1"]
    found = write_interpretation(path, settings.model_copy(update={"class_name": "c"}))
    assert list(tmp_path.glob("*.bedgraph")) == [tmp_path / "loo_scores_mask.bedgraph"]
    assert not (tmp_path / "loo_scores_mask" / "class_c_3").exists()


def test_one_of_several_classes_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    table = table_of(THREE)
    for metadata, asked in (({"class_name": "c"}, None), ({"class_name": None}, "c")):
        path = write_scores(tmp_path / "loo_scores_mask.parquet", table, metadata)
        (reading,) = find_readings([path], asked)
        assert (reading.column, reading.folder) == ("loo_c", "")


def test_a_fold_that_lacks_a_class_has_no_tables_of_it(tmp_path: Path) -> None:
    paths = [
        write_scores(tmp_path / "0" / "loo_scores_mask.parquet", table_of(THREE)),
        write_scores(
            tmp_path / "1" / "loo_scores_mask.parquet",
            table_of([{"a/b": 1.0, "c": -1.0}]),
            {"class_name": "c"},
        ),
    ]
    settings = {"filepath": "x.tsv", "seqpos": 1, "outputpath": str(tmp_path)}
    config = load_config(None, "interpret", {**settings, "interpret.plots": 0})
    first, second, both = interpret_tables(paths, config)
    assert "class_a_b_2/tokens" in first.paths
    assert {name for name in second.paths if name.endswith("tokens")} == {
        "class_a_b_1/tokens",
        "class_c_3/tokens",
    }
    assert mean_of(both.paths["class_c_3/tokens"]) == pytest.approx((-1 + 4 - 1) / 3)
    assert mean_of(both.paths["class_a_b_2/tokens"]) == -1.0


@pytest.mark.parametrize("ending", ENDINGS)
def test_classes_that_look_like_numbers_are_classes(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(
        interpretation, "write_picture", lambda path, picture: drawn.append(picture)
    )
    table = class_rows("g", "acgtacgt", {"1": 0.1, "0": -0.1})
    table.iloc[3, table.columns.get_loc("loo_1")] = 5.0
    path = write_scores(tmp_path / f"loo_scores_mask.{ending}", table)
    write_interpretation(path, InterpretConfig(edit="mask", plots=1, kmer=0))
    (picture,) = drawn
    assert picture.changing == "the probability of class 1"
    assert picture.edit == "masking the token"
    assert (picture.marked.track.prediction, picture.marked.track.label) == ("1", "1")


@pytest.mark.parametrize(
    ("metadata", "named"),
    [({"target": "half_life_hours"}, "half_life_hours"), ({}, "the prediction")],
)
def test_a_number_that_changes_is_called_as_its_column(
    tmp_path: Path, metadata: dict[str, str], named: str
) -> None:
    rows = score_rows("g", "acgt", range(4))
    path = write_scores(tmp_path / "loo_scores_mask.parquet", rows, metadata)
    assert f"changes of {named})" in describe_interpretation(write_interpretation(path, PLAIN))


def test_a_class_that_is_not_scored_is_refused(tmp_path: Path) -> None:
    numbers = write_scores(tmp_path / "numbers.csv", score_rows("g", "acgt", range(4)))
    with pytest.raises(ConfigError, match="is about numbers; leave it out"):
        find_readings([numbers], "yes")
    classes = write_scores(tmp_path / "classes.csv", table_of(TWO))
    with pytest.raises(ConfigError, match=r"is 'maybe'; .* knows no, yes"):
        find_readings([classes], "maybe")
