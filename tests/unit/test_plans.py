"""Which model scores which rows, and where its table goes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stored import store

from biolm_ray.config.load import load_config
from biolm_ray.data.splits import Fold
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.inference.plans import ScoringPlan, plan_scoring, sequence_lengths, superseded
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.training.trained_rows import save_rows

TABLE = "loo_scores_remove.csv"
TESTS = ((0, 1), (2, 3), (4, 5))
SPLITS = ["a", "a", "b", "b", "c", "c"]


def write(folder: Path, rows=range(6), splits: list[str] | None = SPLITS) -> PreparedData:
    """A data set of the rows of these numbers: row r is r + 1 tokens of its own."""
    lengths = np.array(list(rows)) + 1
    tokens = np.repeat(lengths + 6, lengths).astype(np.uint8)
    ids = [f"g{row}" for row in rows]
    return store(folder, [len(lengths)], tokens, lengths, None, ids=ids, splits=splits)


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedData:
    return write(tmp_path / "data")


def make_folds(experiment: Path, prepared: PreparedData) -> list[Path]:
    folders = [experiment / "fine-tune" / str(number) for number in range(3)]
    for number, path in enumerate(folders):
        path.mkdir(parents=True)
        test, validation = np.array(TESTS[number]), np.array(TESTS[(number + 1) % 3])
        train = np.setdiff1d(np.arange(6), [*test, *validation])
        save_rows(path, prepared, Fold(number, path.name, train, validation, test))
    return folders


@pytest.fixture
def folders(tmp_path: Path, prepared: PreparedData) -> list[Path]:
    return make_folds(tmp_path / "experiment", prepared)


def planned(output: Path, folders: list[Path], prepared: PreparedData, **settings) -> dict:
    """Each table's rows and models, by its path below the output path, or by its whole path."""
    given = {"filepath": "x.tsv", "seqpos": "2", "outputpath": str(output), "splitpos": "3"}
    given |= {name.replace("__", "."): value for name, value in settings.items()}
    plans = plan_scoring(load_config(None, "interpret", given), folders, prepared)
    return {
        str(plan.out_csv.relative_to(output) if plan.out_csv.is_relative_to(output) else plan): (
            plan.rows.tolist(),
            [folder.name for folder in plan.folders],
        )
        for plan in plans
    }


OWN = {f"fine-tune/{i}/{TABLE}": (list(rows), [str(i)]) for i, rows in enumerate(TESTS)}


def test_own_rows_are_scored_by_the_model_that_tested_them_beside_it(
    tmp_path: Path, folders, prepared
) -> None:
    assert planned(tmp_path / "experiment", folders, prepared) == OWN


def with_rows_kept_aside(output: Path, prepared: PreparedData) -> list[Path]:
    """Two folds of rows 0 to 3, and rows 4 and 5 kept aside from both."""
    folders = [output / "fine-tune" / str(number) for number in range(2)]
    for number, path in enumerate(folders):
        path.mkdir(parents=True)
        halves = [np.array([0, 1]), np.array([2, 3])]
        fold = Fold(number, path.name, halves[1 - number], np.zeros(0, int), halves[number])
        save_rows(path, prepared, replace(fold, kept_aside=np.array([4, 5])))
    return folders


def test_rows_kept_aside_are_scored_by_all_models(tmp_path: Path, prepared) -> None:
    folders = with_rows_kept_aside(tmp_path, prepared)
    aside = {f"interpret/kept_aside/{TABLE}": ([4, 5], ["0", "1"])}
    own = {f"fine-tune/{i}/{TABLE}": ([2 * i, 2 * i + 1], [str(i)]) for i in range(2)}
    assert planned(tmp_path, folders, prepared) == own | aside
    assert planned(tmp_path, folders, prepared, inferenceonsplits="[c]") == aside


def test_a_fold_without_a_row_of_the_named_splits_is_left_out_in_a_line(
    tmp_path: Path, folders, prepared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "biolm_ray")
    found = planned(tmp_path / "experiment", folders, prepared, inferenceonsplits="[a, c]")
    assert found == {name: OWN[name] for name in (f"fine-tune/0/{TABLE}", f"fine-tune/2/{TABLE}")}
    assert f"{folders[1]} has no test rows in the splits a, c" in caplog.text


def test_where_only_rows_kept_aside_are_scored_that_alone_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "biolm_ray")
    data = write(tmp_path / "data")
    folders = with_rows_kept_aside(tmp_path, data)
    planned(tmp_path, folders, data, inferenceonsplits="[c]")
    assert caplog.messages == ["2 rows kept aside, scored by both models"]


def test_folds_without_a_row_are_told_together(
    tmp_path: Path, folders, prepared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "biolm_ray")
    planned(tmp_path / "experiment", folders, prepared, inferenceonsplits="[a]")
    (said,) = caplog.messages
    assert said.startswith(f"{folders[1]}, {folders[2]} have no test rows in the splits a")
    assert said.endswith("they are left out, and tables that they have stay as they are")


def test_every_table_of_a_run_has_a_title(tmp_path: Path, folders) -> None:
    mixed = write(tmp_path / "mixed", [9, 5, 3, 2, 8], None)
    given = {"filepath": "x.tsv", "seqpos": "2", "outputpath": str(tmp_path / "experiment")}
    plans = plan_scoring(load_config(None, "interpret", given), folders, mixed)
    titles = [plan.title for plan in plans]
    assert sequence_lengths(plans[:1], mixed) == {"g3": 4, "g2": 3}
    assert titles == ["fold 1", "fold 2", "rows that are new to the models"]


def test_splits_without_a_row_for_any_fold_end_the_run_before_it_begins(
    tmp_path: Path, folders, prepared
) -> None:
    with pytest.raises(DataError, match=r"in the splits b \(inferenceonsplits\) is for these"):
        planned(
            tmp_path / "experiment",
            folders,
            prepared,
            inferenceonsplits="[b]",
            interpret__folds=[0],
        )


def test_a_model_outside_of_the_output_path_is_only_read(tmp_path: Path, folders, prepared) -> None:
    elsewhere = tmp_path / "elsewhere"
    expected = {f"interpret/{i}/{TABLE}": (list(rows), [str(i)]) for i, rows in enumerate(TESTS)}
    assert planned(elsewhere, folders, prepared) == expected
    one = planned(elsewhere, folders[1:2], prepared)
    assert one == {f"interpret/{TABLE}": ([2, 3], ["1"])}


def test_links_are_followed_to_find_out_whose_a_model_is(tmp_path: Path, folders, prepared) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "experiment")
    assert planned(link, [link / "fine-tune" / path.name for path in folders], prepared) == OWN
    through = tmp_path / "elsewhere" / "models"
    through.parent.mkdir()
    through.symlink_to(tmp_path / "experiment" / "fine-tune")
    found = planned(through.parent, [through / path.name for path in folders], prepared)
    assert {Path(name).parts[0] for name in found} == {"interpret"}


def test_a_fine_tune_folder_on_another_disk_is_the_experiments_own(
    tmp_path: Path, prepared
) -> None:
    disk, experiment = tmp_path / "disk", tmp_path / "here"
    make_folds(disk, prepared)
    experiment.mkdir()
    (experiment / "fine-tune").symlink_to(disk / "fine-tune")
    own = [experiment / "fine-tune" / str(number) for number in range(3)]
    assert planned(experiment, own, prepared) == OWN


def test_new_rows_are_scored_by_all_models(tmp_path: Path, folders) -> None:
    new = write(tmp_path / "new", range(6, 9), None)
    found = planned(tmp_path / "out", folders, new)
    assert found == {f"interpret/{TABLE}": ([0, 1, 2], ["0", "1", "2"])}
    found = planned(tmp_path / "out", folders, new, interpret__folds=[2, 0])
    assert found == {f"interpret/{TABLE}": ([0, 1, 2], ["2", "0"])}


def test_rows_of_the_training_in_another_file_are_scored_by_the_fold_that_left_them_out(
    tmp_path: Path, folders, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "biolm_ray")
    mixed = write(tmp_path / "mixed", [9, 5, 3, 2, 8], None)
    expected = {
        f"interpret/1/{TABLE}": ([2, 3], ["1"]),
        f"interpret/2/{TABLE}": ([1], ["2"]),
        f"interpret/all_models/{TABLE}": ([0, 4], ["0", "1", "2"]),
    }
    assert planned(tmp_path / "experiment", folders, mixed) == expected
    assert "3 of 5 rows are among those that some of the 3 models were trained" in caplog.text
    found = planned(tmp_path / "experiment", folders, mixed, interpret__folds=[1])
    assert found == {
        f"interpret/1/{TABLE}": ([2, 3], ["1"]),
        f"interpret/all_models/{TABLE}": ([0, 4], ["1"]),
    }
    assert "left out: 1 row that" in caplog.text


def test_a_single_model_scores_what_it_was_trained_with_and_says_so(
    tmp_path: Path, folders, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = write(tmp_path / "mixed", [9, 5, 1], None)
    found = planned(tmp_path / "out", folders[:1], mixed)
    assert found == {f"interpret/{TABLE}": ([0, 1, 2], ["0"])}
    assert "1 of 3 rows is among those that the model was trained or validated" in caplog.text


def test_a_fold_that_does_not_exist_is_refused(tmp_path: Path, folders, prepared) -> None:
    with pytest.raises(ConfigError, match="fold 3, but there are 3 models"):
        planned(tmp_path / "experiment", folders, prepared, interpret__folds=[3])


def superseded_by(output: Path, *written: str) -> set[str]:
    """What all tables of a run take the place of."""
    plans = [ScoringPlan((), np.zeros(0, int), output / name / TABLE) for name in written]
    return {
        str(path.relative_to(output))
        for plan in plans
        for path in superseded(plan.out_csv, plans, output)
    }


def test_what_cannot_stay_beside_new_tables_is_listed(tmp_path: Path) -> None:
    stem, places = TABLE.removesuffix(".csv"), ["fine-tune/0", "fine-tune/1", "fine-tune"]
    places += ["interpret", "interpret/0", "interpret/all_models", "interpret/kept_aside"]
    places += ["interpret/.new.x"]
    for place in places:
        (tmp_path / place / stem).mkdir(parents=True)
        (tmp_path / place / f"{stem}_class_x.bedgraph").touch()
        for ending in (".csv", ".csv.gz", ".parquet", ".bedgraph"):
            (tmp_path / place / f"{stem}{ending}").touch()
            (tmp_path / place / f"{stem}_window3{ending}").touch()
    files = [stem, *(f"{stem}{ending}" for ending in (".csv", ".csv.gz", ".parquet", ".bedgraph"))]
    files.append(f"{stem}_class_x.bedgraph")

    def all_in(*chosen: str) -> set[str]:
        return {f"{place}/{name}" for place in chosen for name in files}

    assert superseded_by(tmp_path, "fine-tune/0") == all_in("fine-tune/0", "fine-tune")
    assert superseded_by(tmp_path, "interpret/kept_aside") == all_in(
        "interpret/kept_aside", "fine-tune"
    )
    new = all_in("interpret", "interpret/0", "interpret/all_models")
    assert superseded_by(tmp_path, "interpret") == new
    assert superseded_by(tmp_path, "interpret/0", "interpret/2") == new
    assert superseded_by(tmp_path, "elsewhere") == set()
