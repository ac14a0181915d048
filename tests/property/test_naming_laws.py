"""Whatever users call their classes and targets, columns and files stay theirs and ours apart."""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm_ray.data.columns import Layout
from biolm_ray.data.naming import given_name, kept_apart
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.inference.score_table import score_columns
from biolm_ray.inference.scores_file import (
    ScoresMetadata,
    class_column,
    class_columns,
    merge_parts,
    read_columns,
    scores_schema,
    table_stem,
)
from biolm_ray.report.cross_validation import pooled_metrics
from biolm_ray.report.readings import class_folders
from biolm_ray.report.tables import out_of_fold_table
from biolm_ray.training.fold_tables import class_report, prediction_table, write_table
from biolm_ray.training.metrics import classification_metrics, regression_metrics

OURS = [
    *("sequence", "position", "token", "replacement", "label", "pred", "start_offset", "loo"),
    *(
        "loo_std",
        "loo_model",
        "std",
        "model",
        "prediction",
        "prediction_std",
        "probability",
        "fold",
    ),
    *("row", "split", "accuracy", "macro avg", "weighted avg", "window5", "mse", "test_mse", "all"),
]
PIECES = [
    *OURS,
    "_",
    "a",
    "A",
    "b",
    " ",
    "/",
    "..",
    ".csv",
    ".parquet",
    ",",
    '"',
    "#",
    "'",
    "ß",
    "\u4e2d",
]
names = st.one_of(
    st.sampled_from(OURS),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join),
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=60),
).map(str.strip)
"""What a field of a file can hold: not empty, blanks at its ends taken away."""
KIN = ["{}", "std_{}", "window5_{}", "{}.csv", "{}.parquet", "{}/", "..{}", "{}_", "{}_3", "loo_{}"]


@st.composite
def several_names(draw) -> list[str]:
    """A name and others, most of which are made of it."""
    name = draw(names.filter(bool))
    kin = [form.format(each) for form in KIN for each in (name, name.upper())]
    others = st.one_of(st.sampled_from(kin), st.sampled_from(kin), names.filter(bool))
    return list(dict.fromkeys([name, *draw(st.lists(others, min_size=2, max_size=4))]))


def classes_of(found: list[str]) -> Targets:
    return Targets(task="classification", classes=tuple(sorted(found)))


def read_back(folder: Path, table) -> dict[str, float]:
    write_table(folder / "test_predictions.csv", table)
    return pooled_metrics(out_of_fold_table({0: folder}, {0: np.arange(len(table))}))


@given(names.filter(bool), st.sets(names.filter(bool), max_size=3))
def test_a_name_kept_apart_from_ours_is_given_back(name: str, ours: set[str]) -> None:
    ours = {each for each in ours if not each.endswith("_")}
    column = kept_apart(name, ours)
    assert column not in ours
    assert given_name(column, ours) == name


@given(several_names(), st.booleans())
@settings(deadline=None)
def test_classes_have_columns_of_their_own_in_tables_of_scores(found, averaged: bool) -> None:
    targets = classes_of(found)
    schema = scores_schema(targets, averaged=averaged)
    columns = score_columns("replace", targets, 2 if averaged else 1)
    assert len(schema.names) == len(set(schema.names)) == 10 + len(found) + averaged
    assert len(columns) == len(set(columns)) == 8 + len(found) + averaged
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / "loo.parquet", Path(folder) / "loo.csv"]
        metadata = ScoresMetadata(edit="replace", window=1, task="classification")
        merge_parts([], paths[0], schema, metadata)
        with paths[1].open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(columns)
        for path in paths:
            read = class_columns(read_columns(path)[0])
            assert read == {name: class_column(name) for name in targets.classes or ()}


@given(several_names())
@settings(deadline=None)
def test_classes_are_read_back_from_predictions(found) -> None:
    targets = classes_of(found)
    probabilities = np.random.default_rng(len(found)).dirichlet(np.ones(len(found)), 12)
    numbers = np.arange(12) % len(found)
    assert targets.classes is not None
    labels = [targets.classes[number] for number in numbers]
    table = prediction_table([f"g{i}" for i in range(12)], labels, probabilities, targets)
    assert len(set(table.columns)) == 3 + len(found)
    with TemporaryDirectory() as folder:
        metrics = read_back(Path(folder), table)
    for name, value in classification_metrics(numbers, probabilities).items():
        assert metrics[f"test_{name}"] == pytest.approx(value)
    report = class_report(labels, labels)["class"].tolist()
    assert len(set(report)) == len(report) == len(found) + 3


@given(several_names())
@settings(deadline=None)
def test_targets_are_read_back_from_predictions(found) -> None:
    places = tuple(range(2, 2 + len(found)))
    layout = Layout(names=("id", "seq", *found), id=0, sequence=1, label=places)
    targets = Targets(
        task="regression", scaler=(Scaler(kind="none"),) * len(found), names=layout.target_names
    )
    labels, predictions = np.random.default_rng(len(found)).normal(size=(2, 12, len(found)))
    ids = [f"g{i}" for i in range(12)]
    table = prediction_table(ids, labels, predictions, targets, deviations=predictions)
    assert len(set(table.columns)) == 1 + 3 * len(found)
    with TemporaryDirectory() as folder:
        metrics = read_back(Path(folder), prediction_table(ids, labels, predictions, targets))
    for name, value in regression_metrics(labels, predictions, targets.suffixes).items():
        assert metrics[f"test_{name}"] == pytest.approx(value)


@given(several_names())
@settings(deadline=None)
def test_no_two_targets_share_a_file(found) -> None:
    places = tuple(range(2, 2 + len(found)))
    layout = Layout(names=("id", "seq", *found), id=0, sequence=1, label=places)
    stems = [f"{start}_{name}" for start in ("loo", "loo_window5") for name in layout.target_names]
    files = [
        f"{stem}{end}" for stem in stems for end in (".csv", ".csv.gz", ".parquet", "", ".bedgraph")
    ]
    assert len({file.casefold() for file in files}) == len(files)
    assert all(Path(file).name == file and len(file.encode()) < 200 for file in files)
    assert [table_stem(Path(f"{stem}.csv")) for stem in stems] == stems


@given(several_names())
def test_no_two_classes_share_a_folder(found) -> None:
    folders = class_folders(found)
    assert len({folder.casefold() for folder in folders}) == len(found)
    assert all(Path(folder).name == folder for folder in folders)
