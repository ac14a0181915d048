"""The scores that the reference system wrote for one of its own models."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biolm_ray.config.schema import DataConfig, InterpretConfig, PreprocessingConfig
from biolm_ray.inference.leave_one_out import make_planner, score_sequence
from biolm_ray.inference.score_table import score_columns, score_table
from biolm_ray.models.saved import load_model

COLUMNS = DataConfig.model_validate(
    {"path": "golden_40.tsv", "token_separator": ",", "id_column": 2, "sequence_column": 5}
)


@pytest.fixture(scope="module")
def scored(shared: Path) -> pd.DataFrame:
    return score_two_rows(shared, InterpretConfig(edit="remove"))


def score_two_rows(shared: Path, settings: InterpretConfig) -> pd.DataFrame:
    golden = shared / "golden"
    model = load_model(
        golden / "old_saluki_experiment", preprocessing=PreprocessingConfig(block_size=512)
    )
    tokenizer = model.tokenizer.adapted(data=COLUMNS)
    plan = make_planner(settings, tokenizer)
    tables = []
    for line in (golden / "data" / "golden_40.tsv").read_text().splitlines()[:2]:
        _, sequence_id, _, label, sequence = line.split("\t")
        encoded = tokenizer.encode([sequence])[0]
        scores = score_sequence(model, encoded, plan)
        assert scores.largest_difference < 1e-5
        tables.append(
            score_table(
                scores,
                sequence_id=sequence_id,
                label=float(label),
                tokenizer=tokenizer,
                targets=model.card.targets,
            )
            .select(score_columns(settings.edit, model.card.targets, 1))
            .to_pandas()
        )
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def golden_scores(shared: Path) -> pd.DataFrame:
    return pd.read_csv(shared / "golden" / "old_saluki_experiment" / "loo_remove_first2.csv")


def test_rows_and_columns_are_those_of_the_reference(
    scored: pd.DataFrame, golden_scores: pd.DataFrame
) -> None:
    assert list(scored.columns)[: len(golden_scores.columns)] == list(golden_scores.columns)
    for name in ("sequence", "token"):
        assert scored[name].tolist() == golden_scores[name].tolist()


def test_offsets_are_those_of_the_reference_but_count_a_junction_token_once(
    scored: pd.DataFrame, golden_scores: pd.DataFrame
) -> None:
    for _, rows in golden_scores.groupby("sequence"):
        ours = scored.loc[rows.index]
        letters = rows["token"].str.len().to_numpy()
        assert rows["end_offset"].tolist() == letters.cumsum().tolist()
        assert (rows["end_offset"] - rows["start_offset"]).tolist() == letters.tolist()
        assert ours["start_offset"].tolist() == list(range(len(rows)))
        assert ours["end_offset"].tolist() == list(range(1, len(rows) + 1))


def test_scores_and_predictions_are_those_of_the_reference(
    scored: pd.DataFrame, golden_scores: pd.DataFrame
) -> None:
    for name, tolerance in (("loo", 1e-5), ("label", 1e-9), ("pred", 1e-5)):
        np.testing.assert_allclose(scored[name], golden_scores[name], rtol=0, atol=tolerance)


def test_each_replacement_of_a_list_has_its_row_as_in_the_reference(shared: Path) -> None:
    golden = pd.read_csv(shared / "golden" / "old_saluki_experiment" / "loo_scores_replace.csv")
    others = {base: [new for new in "acgt" if new != base] for base in "acgt"}
    settings = InterpretConfig.model_validate(
        {"edit": "replace", "replacements": {**others, "gej": ["g"], "aej": "a"}}
    )
    ours = score_two_rows(shared, settings)
    assert len(golden) == 793
    for name in ("sequence", "token", "replacement"):
        assert ours[name].tolist() == golden[name].tolist()
    assert (ours["end_offset"] - ours["start_offset"] == 1).all()
