import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import biolm_ray
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.inference import loaded_scores
from biolm_ray.inference.loaded_scores import explained
from biolm_ray.inference.score_table import score_columns
from biolm_ray.inference.scores_file import (
    ScoresMetadata,
    merge_parts,
    scores_schema,
    write_part,
)
from biolm_ray.results.manifest import (
    FoldRecord,
    ModeRecord,
    new_run,
    record_tables,
    update_manifest,
    with_mode,
)

NUMBERS = Targets(task="regression", scaler=Scaler(kind="none"))
CLASSES = Targets(task="classification", classes=("cytoplasm", "nucleus"))
METADATA = ScoresMetadata(edit="insert", window=1, task="regression", num_models=2)


def scores_of(name: str, tokens: str, first: float, pred: float = 1.5) -> pd.DataFrame:
    places = np.arange(len(tokens))
    return pd.DataFrame(
        {
            "sequence": name,
            "token": list(tokens),
            "label": None,
            "pred": pred,
            "start_offset": places,
            "end_offset": places + 1,
            "loo": first + places,
            "loo_std": 0.5,
            "loo_model": (first + places) / 2,
            "position": places,
        }
    )


def write_scores(folder: Path, *tables: pd.DataFrame, metadata: ScoresMetadata = METADATA) -> Path:
    schema = scores_schema(NUMBERS, averaged=metadata.num_models > 1)
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for index, table in enumerate(tables):
        parts.append(folder / f"part{index}")
        whole = pa.Table.from_pandas(table.reindex(columns=schema.names), schema=schema)
        pq.write_table(whole, parts[-1])
    path = folder / f"loo_scores_{metadata.edit}.parquet"
    merge_parts(parts, path, schema, metadata)
    for part in parts:
        part.unlink()
    return path


def test_the_typed_table_has_the_agreed_columns_and_types(tmp_path: Path) -> None:
    path = write_scores(tmp_path, scores_of("x", "ac", 1.0), scores_of("y", "g", 3.0))
    schema = pq.read_schema(path)
    assert {field.name: str(field.type) for field in schema} == {
        "sequence": "dictionary<values=string, indices=int32, ordered=0>",
        "position": "int32",
        "token": "string",
        "replacement": "string",
        "label": "double",
        "pred": "double",
        "start_offset": "int32",
        "end_offset": "int32",
        "loo": "double",
        "loo_model": "double",
        "loo_std": "double",
    }
    table = pq.read_table(path)
    assert table["sequence"].to_pylist() == ["x", "x", "y"]
    assert table["replacement"].null_count == table["label"].null_count == 3


def test_classes_have_texts_for_labels_and_a_column_each() -> None:
    schema = scores_schema(CLASSES, averaged=False)
    assert [str(schema.field(name).type) for name in ("label", "pred")] == ["string", "string"]
    assert schema.names[-2:] == ["loo_cytoplasm", "loo_nucleus"]


@pytest.mark.parametrize(
    ("name", "first"),
    [("x", b"x,a,,1.5,0,1,-0.25,0.5\n"), ('g,1 "x"\n', b'"g,1 ""x""\n",')],
)
def test_texts_are_in_quotes_only_where_they_must_be(
    tmp_path: Path, name: str, first: bytes
) -> None:
    schema = scores_schema(NUMBERS, averaged=True)
    whole = scores_of(name, "ac", -0.25).reindex(columns=schema.names)
    table = pa.Table.from_pandas(whole, schema=schema)
    csv, parquet = tmp_path / "part.csv", tmp_path / "part.parquet"
    columns = score_columns("remove", NUMBERS, 2)
    write_part(csv, parquet, table, columns)
    assert csv.read_bytes().startswith(first)
    read = pd.read_csv(csv, names=columns)
    pd.testing.assert_frame_equal(read, whole[columns], check_dtype=False, check_exact=True)
    assert pq.read_table(parquet)["sequence"].to_pylist() == [name, name]


def test_an_insertion_behind_the_last_token_has_no_token(tmp_path: Path) -> None:
    schema = scores_schema(NUMBERS, averaged=True)
    rows = scores_of("x", "ac", 1.0).assign(token=["a", None], replacement="g")
    table = pa.Table.from_pandas(rows.reindex(columns=schema.names), schema=schema)
    csv, parquet = tmp_path / "part.csv", tmp_path / "part.parquet"
    write_part(csv, parquet, table, ["token", "replacement"])
    written = pq.read_table(parquet)
    assert written["token"].to_pylist() == ["a", None]
    assert written["replacement"].to_pylist() == ["g", "g"]
    assert csv.read_text() == "a,g\n,g\n"


def test_a_table_is_loaded_with_what_it_was_made_by(tmp_path: Path) -> None:
    path = write_scores(tmp_path, scores_of("x", "ac", 1.0))
    for found in (path, path.with_suffix(".csv"), tmp_path):
        scores = biolm_ray.load_scores(found)
        assert scores.table["loo"].tolist() == [1.0, 2.0]
        assert scores.metadata["edit"] == "insert"
        assert scores.metadata["num_models"] == 2


def test_a_lone_csv_is_loaded_without_metadata_and_a_token_may_be_called_na(tmp_path: Path) -> None:
    path = tmp_path / "loo_scores_remove.csv.gz"
    table = scores_of("007", "ac", 1.0).drop(columns="position").assign(token=["NA", "c"])
    table.to_csv(path, index=False)
    scores = biolm_ray.load_scores(path)
    assert scores.table["token"].tolist() == ["NA", "c"]
    assert scores.table["sequence"].tolist() == ["007", "007"]
    assert scores.table["position"].tolist() == [0, 1]
    assert scores.metadata == {}


def test_classes_stay_texts_in_a_lone_csv(tmp_path: Path) -> None:
    table = scores_of("x", "ac", 1.0).drop(columns=["position", "loo_model", "loo_std"])
    table = table.assign(label="01", pred="1", loo_01=1.0, loo_1=-1.0)
    table.to_csv(tmp_path / "loo_scores_remove.csv", index=False)
    read = biolm_ray.load_scores(tmp_path).table
    assert read[["label", "pred"]].to_numpy().tolist() == [["01", "1"]] * 2
    assert explained(read)[2].tolist() == [0.0]


def test_the_tables_of_all_folds_are_put_together_in_the_order_of_the_folds(tmp_path: Path) -> None:
    for fold, largest in (("0", 1e-7), ("2", 3e-7), ("10", 2e-7)):
        made = ScoresMetadata(edit="mask", window=1, task="regression", largest_difference=largest)
        write_scores(tmp_path / fold, scores_of(f"from {fold}", "a", 0.0), metadata=made)
    scores = biolm_ray.load_scores(tmp_path)
    assert scores.table["sequence"].tolist() == ["from 0", "from 2", "from 10"]
    assert scores.metadata["largest_difference"] == 3e-7


def experiment_with_scores(output: Path) -> None:
    """Scores of three folds, of which the last is of an earlier run."""
    run = new_run("0.1.0")
    for fold in "012":
        path = write_scores(output / "fine-tune" / fold, scores_of(f"from {fold}", "a", 0.0))
        if fold != "2":
            record_tables(output, "interpret", run, [path])


def test_tables_that_the_manifest_does_not_name_are_not_read(tmp_path: Path) -> None:
    experiment_with_scores(tmp_path)
    scores = biolm_ray.load_scores(tmp_path / "fine-tune")
    assert scores.table["sequence"].tolist() == ["from 0", "from 1"]
    stale = tmp_path / "fine-tune" / "2"
    for path in (stale, stale / "loo_scores_insert.csv", stale / "loo_scores_insert.parquet"):
        with pytest.raises(ConfigError, match="of an earlier run, or of one that was broken off"):
            biolm_ray.load_scores(path)


def test_a_table_that_has_changed_is_refused(tmp_path: Path) -> None:
    experiment_with_scores(tmp_path)
    write_scores(tmp_path / "fine-tune" / "1", scores_of("another", "a", 0.0))
    with pytest.raises(DataError, match=r"1/loo_scores_insert\.parquet has .*; run"):
        biolm_ray.load_scores(tmp_path / "fine-tune")


@pytest.mark.parametrize("later", ["0", "1"])
def test_tables_of_two_runs_are_not_put_together(tmp_path: Path, monkeypatch, later: str) -> None:
    experiment_with_scores(tmp_path)
    read, run = loaded_scores._load_file, new_run("0.1.0")

    def replaced_meanwhile(path: Path):
        found = read(path)
        if path.parent.name == later:
            for fold in "01":
                path = tmp_path / "fine-tune" / fold
                path = write_scores(path, scores_of(f"later {fold}", "a", 0.0))
                record_tables(tmp_path, "interpret", run, [path])
        return found

    monkeypatch.setattr(loaded_scores, "_load_file", replaced_meanwhile)
    with pytest.raises(DataError, match=r"has .* (another content|in place of)"):
        biolm_ray.load_scores(tmp_path / "fine-tune")


def test_missing_tables_of_folds_are_told(tmp_path: Path, caplog) -> None:
    experiment_with_scores(tmp_path)
    folds = tuple(FoldRecord(name=name, folder=f"fine-tune/{name}") for name in "012")
    record = ModeRecord(run=new_run("0.1.0"), folds=folds)
    update_manifest(tmp_path, lambda manifest: with_mode(manifest, "fine-tune", record))
    biolm_ray.load_scores(tmp_path / "fine-tune")
    assert f"{tmp_path / 'fine-tune'}: no table of fold 2" in caplog.text


def test_tables_without_a_manifest_are_read_with_a_warning(tmp_path: Path, caplog) -> None:
    write_scores(tmp_path, scores_of("x", "ac", 1.0))
    biolm_ray.load_scores(tmp_path)
    assert f"{tmp_path}: no manifest.json says which run it is of" in caplog.text


def test_what_is_no_table_of_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no table of scores there"):
        biolm_ray.load_scores(tmp_path)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="it has no column 'sequence'"):
        biolm_ray.load_scores(tmp_path / "other.csv")
    for name in ("loo_scores_mask.csv", "loo_scores_remove.csv"):
        (tmp_path / name).write_text("")
    several = re.escape("several tables: loo_scores_mask, loo_scores_remove; name one")
    with pytest.raises(ConfigError, match=several):
        biolm_ray.load_scores(tmp_path)


def test_sequences_are_explained_one_by_one_even_under_one_name() -> None:
    table = pd.concat([scores_of("x", "ac", 1.0), scores_of("x", "gat", 5.0, pred=2.5)])
    values, tokens, base_values = explained(table)
    assert [row.tolist() for row in values] == [[1.0, 2.0], [5.0, 6.0, 7.0]]
    assert [row.tolist() for row in tokens] == [["a", "c"], ["g", "a", "t"]]
    assert base_values.tolist() == [1.5, 2.5]


def test_several_edits_at_a_position_are_averaged_and_classes_start_at_zero() -> None:
    table = scores_of("x", "aac", 1.0).assign(position=[0, 0, 1], pred="nucleus")
    values, tokens, base_values = explained(table)
    assert values[0].tolist() == [1.5, 3.0]
    assert tokens[0].tolist() == ["a", "c"]
    assert base_values.tolist() == [0.0]


def test_scores_become_an_explanation_of_shap(tmp_path: Path) -> None:
    path = write_scores(tmp_path, scores_of("x", "ac", 1.0), scores_of("y", "g", 3.0))
    explanation = biolm_ray.load_scores(path).to_shap()
    assert explanation.shape == (2, None)
    assert explanation[0].values.tolist() == [1.0, 2.0]
    assert explanation[1].data.tolist() == ["g"]
    assert explanation.base_values.tolist() == [1.5, 1.5]
