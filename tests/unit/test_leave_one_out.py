from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from biolm_ray.config.schema import InterpretConfig
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.errors import ConfigError
from biolm_ray.inference.leave_one_out import make_planner, score_sequence
from biolm_ray.inference.score_table import (
    chosen_class,
    combine_scores,
    score_columns,
    score_table,
)
from biolm_ray.models.batches import Framing
from biolm_ray.tokenization.tokenizer import Encoded

WORDS = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "a", "cg", "t"]


class FakeTokenizer:
    def __init__(self) -> None:
        self.vocabulary = {word: index for index, word in enumerate(WORDS)}
        self.encoding = "atomic"
        self.is_center = np.zeros(len(WORDS), dtype=bool)
        self.special_ids = {word: self.vocabulary[word] for word in WORDS if word[0] == "["}

    def tokens(self, token_ids) -> list[str]:
        return [WORDS[index] for index in token_ids]

    def num_letters(self, token_ids) -> np.ndarray:
        return np.array([len(WORDS[index]) for index in token_ids], dtype=np.int64)


class PlaceWeighted(nn.Module):
    """Sums values of tokens, each times its place, so that every edit has its own result."""

    def __init__(self, num_outputs: int = 1) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.arange(8.0)[:, None] * torch.arange(1.0, num_outputs + 1))
        self.batch_sizes: list[int] = []
        self.widths: list[int] = []

    def forward(self, token_ids: Tensor, lengths: Tensor, specifiers: Tensor | None = None):
        self.batch_sizes.append(len(token_ids))
        self.widths.append(token_ids.shape[1])
        places = torch.arange(1.0, token_ids.shape[1] + 1)
        present = torch.arange(token_ids.shape[1]) < lengths[:, None]
        summed = self.values[token_ids] * (places * present)[:, :, None]
        outputs = summed.sum(dim=1) / 100
        return outputs if specifiers is None else outputs + specifiers.sum(dim=(1, 2))[:, None]


def columns_of(edit: str, model: Any, num_models: int = 1) -> set[str]:
    """Those of the CSV table, and those that only the typed one has."""
    own = score_columns(edit, model.card.targets, num_models)
    return {*own, "replacement", "position", "loo_model"}


def make_model(
    *, classes: tuple[str, ...] | None = None, names: tuple[str, ...] = (), **framing
) -> SimpleNamespace:
    each = Scaler(kind="standard", center=5.0, spread=2.0)
    scaler = None if classes else tuple(each for _ in names) or each
    task = "classification" if classes else "regression"
    targets = Targets(task=task, scaler=scaler, classes=classes, names=names)
    return SimpleNamespace(
        spec=SimpleNamespace(local_stack=lambda module: None, shortcut=lambda module: None),
        module=PlaceWeighted(targets.num_outputs).eval(),
        card=SimpleNamespace(targets=targets),
        tokenizer=FakeTokenizer(),
        framing=Framing(**({"pad_id": 1, "block_size": 100} | framing)),
    )


def encode(*words: str, specifiers=None, center: int = -1) -> Encoded:
    ids = np.array([WORDS.index(word) for word in words], dtype=np.int32)
    return Encoded(ids, specifiers, center)


def place_weighted(*words: str) -> float:
    """The prediction of the fake model, in original units."""
    total = sum(WORDS.index(word) * place for place, word in enumerate(words, start=1))
    return total / 100 * 2.0 + 5.0


REMOVE = make_planner(InterpretConfig(edit="remove"), FakeTokenizer())


def test_a_score_is_the_prediction_after_the_edit_minus_the_one_before() -> None:
    scores = score_sequence(make_model(), encode("a", "cg", "t"), REMOVE)
    before = place_weighted("a", "cg", "t")
    assert scores.original == pytest.approx([before])
    expected = [place_weighted(*rest) - before for rest in (("cg", "t"), ("a", "t"), ("a", "cg"))]
    assert scores.loo[:, 0] == pytest.approx(expected, abs=1e-6)


def test_masks_and_replacements_put_their_token_in_place() -> None:
    model, before = make_model(), place_weighted("a", "cg", "t")
    masked = score_sequence(
        model, encode("a", "cg", "t"), make_planner(InterpretConfig(edit="mask"), FakeTokenizer())
    )
    assert masked.loo[1, 0] == pytest.approx(place_weighted("a", "[MASK]", "t") - before, abs=1e-6)
    settings = InterpretConfig(edit="replace", replacements={"t": "a"})
    plan = make_planner(settings, FakeTokenizer())
    replaced = score_sequence(model, encode("a", "cg", "t"), plan)
    assert replaced.positions.tolist() == [2]
    assert replaced.new_ids is not None
    assert replaced.new_ids.tolist() == [[5]]
    assert replaced.loo[0, 0] == pytest.approx(place_weighted("a", "cg", "a") - before, abs=1e-6)


def test_offsets_count_letters_of_the_whole_sequence_even_where_it_is_cut() -> None:
    model = make_model(block_size=2, cut_side="left")
    scores = score_sequence(model, encode("cg", "a", "cg", "t"), REMOVE)
    assert scores.positions.tolist() == [2, 3]
    assert scores.start_offsets.tolist() == [3, 5]
    assert scores.end_offsets.tolist() == [5, 6]
    assert scores.largest_difference < 1e-6


def test_special_tokens_stand_around_every_variant() -> None:
    model = make_model(prefix_ids=(2,), suffix_ids=(3,))
    scores = score_sequence(model, encode("a", "t"), REMOVE)
    before = place_weighted("[CLS]", "a", "t", "[SEP]")
    expected = place_weighted("[CLS]", "t", "[SEP]") - before
    assert scores.loo[0, 0] == pytest.approx(expected, abs=1e-6)


def test_equal_removals_are_run_once_and_nothing_is_padded() -> None:
    model = make_model()
    scores = score_sequence(model, encode("a", "a", "a", "t"), REMOVE, num_checks=0)
    assert model.module.batch_sizes == [1, 2]
    assert model.module.widths == [4, 3]
    assert scores.loo[0, 0] == scores.loo[1, 0] == scores.loo[2, 0]


@pytest.mark.parametrize("batch_tokens", [1, 7, 1000])
def test_the_size_of_the_batches_does_not_change_the_scores(batch_tokens: int) -> None:
    encoded = encode("a", "cg", "t", "a", "t")
    scores = score_sequence(make_model(), encoded, REMOVE, batch_tokens=batch_tokens)
    whole = score_sequence(make_model(), encoded, REMOVE)
    assert scores.loo == pytest.approx(whole.loo, abs=1e-7)


def test_a_batch_holds_no_more_tokens_than_allowed() -> None:
    model = make_model()
    encoded = encode(*["a", "t"] * 4)
    score_sequence(model, encoded, REMOVE, batch_tokens=21, num_checks=0)
    assert model.module.batch_sizes == [1, 3, 3, 2]


def test_the_only_token_of_a_sequence_can_be_removed() -> None:
    specifiers = np.ones((1, 1), dtype=np.float32)
    scores = score_sequence(make_model(), encode("t", specifiers=specifiers), REMOVE)
    expected = place_weighted("[PAD]") - place_weighted("t") - 2.0
    assert scores.loo[0, 0] == pytest.approx(expected, abs=1e-6)


def test_the_checks_notice_a_wrong_score() -> None:
    class Mixing(PlaceWeighted):
        def forward(self, token_ids, lengths, specifiers=None):
            outputs = super().forward(token_ids, lengths, specifiers)
            return outputs + outputs.mean()

    model = make_model()
    encoded = encode(*["a", "cg", "t"] * 3)
    assert score_sequence(model, encoded, REMOVE).largest_difference < 1e-6
    model.module = Mixing().eval()
    assert score_sequence(model, encoded, REMOVE).largest_difference > 0.01


def test_every_class_is_scored_and_loo_is_that_of_the_predicted_one() -> None:
    model = make_model(classes=("cytoplasm", "nucleus"))
    scores = score_sequence(model, encode("a", "cg", "t"), REMOVE)
    assert scores.loo.shape == (3, 2)
    assert scores.loo.sum(axis=1) == pytest.approx(np.zeros(3), abs=1e-12)
    table = score_table(
        scores,
        sequence_id="x",
        label="cytoplasm",
        tokenizer=model.tokenizer,
        targets=model.card.targets,
    ).to_pandas()
    assert set(table.columns) == columns_of("remove", model)
    assert set(table["pred"]) == {"nucleus"}
    assert table["loo"].tolist() == table["loo_nucleus"].tolist()
    assert (table["loo_cytoplasm"] > 0).all()


def test_each_target_has_a_table_with_its_own_scores() -> None:
    single, several = make_model(), make_model(names=("half_life", "tpm"))
    encoded = encode("a", "cg", "t")
    scores = score_sequence(several, encoded, REMOVE)
    tables = [
        score_table(
            scores,
            sequence_id="x",
            label=label,
            tokenizer=several.tokenizer,
            targets=several.card.targets,
            target=target,
        ).to_pandas()
        for target, label in enumerate((1.5, 2.5))
    ]
    alone = score_sequence(single, encoded, REMOVE)
    assert tables[0]["loo"].to_numpy() == pytest.approx(alone.loo[:, 0], abs=1e-6)
    assert tables[1]["loo"].to_numpy() == pytest.approx(2 * alone.loo[:, 0], abs=1e-6)
    assert tables[1]["pred"].tolist() == pytest.approx([2 * alone.original[0] - 5.0] * 3)
    assert [set(table["label"]) for table in tables] == [{1.5}, {2.5}]
    assert set(tables[1].columns) == columns_of("remove", several)


def test_the_table_has_the_columns_that_other_programs_read() -> None:
    model = make_model()
    settings = InterpretConfig(edit="replace", replacements={"t": "a"})
    plan = make_planner(settings, FakeTokenizer())
    scores = score_sequence(model, encode("cg", "t"), plan)
    table = score_table(
        scores, sequence_id="x", label=1.5, tokenizer=model.tokenizer, targets=model.card.targets
    ).to_pandas()
    assert set(table.columns) == columns_of("replace", model)
    row = table.to_dict(orient="records")[0]
    assert row.pop("pred") == pytest.approx(place_weighted("cg", "t"))
    assert row.pop("loo") == pytest.approx(
        place_weighted("cg", "a") - place_weighted("cg", "t"), abs=1e-6
    )
    assert row.pop("loo_model") == pytest.approx((5 - 7) * 2 / 100, abs=1e-6)
    assert row == {
        "sequence": "x",
        "token": "t",
        "replacement": "a",
        "label": 1.5,
        "start_offset": 2,
        "end_offset": 3,
        "position": 1,
    }


def test_a_chosen_class_is_scored_in_place_of_the_predicted_one() -> None:
    model = make_model(classes=("cytoplasm", "nucleus"))
    scores = score_sequence(model, encode("a", "cg", "t"), REMOVE)
    table = score_table(
        scores,
        sequence_id="x",
        label="cytoplasm",
        tokenizer=model.tokenizer,
        targets=model.card.targets,
        class_number=chosen_class("cytoplasm", model.card.targets),
    ).to_pandas()
    assert set(table["pred"]) == {"nucleus"}
    assert table["loo"].tolist() == table["loo_cytoplasm"].tolist()
    logits = [5 * 1 + 6 * 2 + 7 * 3, 6 * 1 + 7 * 2]
    assert table["loo_model"][0] == pytest.approx((logits[1] - logits[0]) / 100, abs=1e-6)


def test_of_two_classes_the_second_is_scored_and_of_more_the_predicted_one() -> None:
    for classes, number in ((("no", "yes"), 1), (("a", "b", "c"), None), (None, None)):
        assert chosen_class(None, make_model(classes=classes).card.targets) == number


def test_a_class_that_the_model_does_not_know_is_refused_with_those_it_knows() -> None:
    targets = make_model(classes=("cytoplasm", "nucleus")).card.targets
    with pytest.raises(ConfigError, match="'golgi'; the model knows cytoplasm, nucleus"):
        chosen_class("golgi", targets)
    with pytest.raises(ConfigError, match="the model predicts numbers"):
        chosen_class("golgi", make_model().card.targets)


def test_windows_and_insertions_tell_the_tokens_they_concern() -> None:
    model, encoded = make_model(), encode("a", "cg", "t")

    def table(**settings) -> pd.DataFrame:
        plan = make_planner(InterpretConfig(**settings), FakeTokenizer())
        return score_table(
            score_sequence(model, encoded, plan),
            sequence_id="x",
            label=None,
            tokenizer=model.tokenizer,
            targets=model.card.targets,
        ).to_pandas()

    windows = table(edit="remove", window=2)
    assert windows["token"].tolist() == ["acg", "cgt"]
    assert windows[["start_offset", "end_offset"]].to_numpy().tolist() == [[0, 3], [1, 4]]
    inserted = table(edit="insert", alphabet=("t",))
    assert inserted["token"].fillna("none").tolist() == ["a", "cg", "t", "none"]
    assert inserted["replacement"].tolist() == ["t"] * 4
    assert inserted["start_offset"].tolist() == inserted["end_offset"].tolist() == [0, 1, 3, 4]
    before = place_weighted("a", "cg", "t")
    assert inserted["loo"][3] == pytest.approx(place_weighted("a", "cg", "t", "t") - before)


def test_several_models_give_mean_and_sample_deviation() -> None:
    first, second = make_model(), make_model()
    with torch.no_grad():
        second.module.values.mul_(3.0)
    encoded = encode("a", "cg", "t")
    one, three = (score_sequence(model, encoded, REMOVE) for model in (first, second))
    both = combine_scores([one, three])
    assert both.loo == pytest.approx(2 * one.loo, abs=1e-6)
    assert both.loo_std == pytest.approx(np.abs(one.loo) * 2**0.5, abs=1e-6)
    table = score_table(
        both, sequence_id="x", label=None, tokenizer=first.tokenizer, targets=first.card.targets
    ).to_pandas()
    assert set(table.columns) == columns_of("remove", first, 2)
    assert table["label"].isna().all()


def test_masking_without_a_mask_token_is_refused() -> None:
    tokenizer = FakeTokenizer()
    tokenizer.special_ids = {"[PAD]": 1}
    with pytest.raises(ConfigError, match=r"needs a \[MASK\] token"):
        make_planner(InterpretConfig(edit="mask"), tokenizer)
