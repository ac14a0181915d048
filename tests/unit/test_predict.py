import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from biolm_ray.config.schema import OWN_CODE, Column, PreprocessingConfig
from biolm_ray.data.columns import Layout
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.inference import prediction
from biolm_ray.inference.inputs import check_label_columns
from biolm_ray.inference.predict import (
    MeanPredictions,
    averaged,
    check_same_tokens,
    checked_predictions,
)
from biolm_ray.models.batches import Framing, RowBatches
from biolm_ray.tokenization.tokenizer import Encoded
from biolm_ray.training import evaluate

SEQUENCES = [[1, 2, 3, 4, 5], [6], [7, 7, 7], [2, 4]]


class Summing(nn.Module):
    """Adds up the tokens that it is shown."""

    def __init__(self, factor: float, num_outputs: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(factor * torch.arange(1.0, num_outputs + 1))

    def forward(self, token_ids: Tensor, lengths: Tensor, specifiers: Tensor | None = None):
        return token_ids.sum(dim=1, keepdim=True) * self.factors


class FakePrepared:
    num_specifiers = 0
    lengths = np.array([len(tokens) for tokens in SEQUENCES])
    ids = tuple("abcd")
    manifest = {"files": ["rows.tsv"]}  # noqa: RUF012

    def place(self, row: int) -> tuple[int, int]:
        return 0, row + 1

    def specifiers(self, row: int) -> None:
        return None

    def encoded(self, row: int) -> Encoded:
        return Encoded(np.array(SEQUENCES[row], dtype=np.int32))


def make_model(
    factor: float = 1.0,
    classes: tuple[str, ...] | None = None,
    names: tuple[str, ...] = (),
    **framing,
):
    scalers = [Scaler(kind="standard", center=0.0, spread=spread) for spread in (10.0, 50.0)]
    scaler = None if classes else tuple(scalers) if names else scalers[0]
    task = "classification" if classes else "regression"
    targets = Targets(task=task, scaler=scaler, classes=classes, names=names)
    card = SimpleNamespace(
        model="summing", targets=targets, inputs=SimpleNamespace(num_specifiers=0)
    )
    return SimpleNamespace(
        module=Summing(factor, targets.num_outputs).eval(),
        card=card,
        tokenizer=SimpleNamespace(vocabulary={"a": 0}),
        framing=Framing(**({"pad_id": 0, "block_size": 3} | framing)),
        folder=Path("fine-tune/0"),
    )


@pytest.fixture
def predict_with_models(monkeypatch):
    """Predicts rows with models that lie in no folder, in this process."""

    def predict(models, rows, may_predict=None, progress=None) -> MeanPredictions:
        by_folder = {Path(str(place)): model for place, model in enumerate(models)}
        data = SimpleNamespace(open=lambda _: FakePrepared())
        monkeypatch.setattr(prediction, "load_model", lambda folder, **_: by_folder[folder])
        monkeypatch.setattr(prediction, "PreparedData", data)
        if may_predict is None:
            may_predict = np.ones((len(models), len(rows)), dtype=bool)
        found, targets = prediction.predict_folders(
            list(by_folder),
            "somewhere",
            rows,
            may_predict,
            PreprocessingConfig(),
            OWN_CODE,
            num_workers=0,
            progress=progress,
        )
        assert targets is models[0].card.targets
        return found

    return predict


@pytest.fixture
def predict_rows(predict_with_models):
    """The same with one model."""
    return lambda model, rows, progress=None: predict_with_models([model], rows, None, progress)[0]


def test_rows_are_cropped_as_the_model_sees_them_and_predicted_in_their_order(predict_rows) -> None:
    predictions = predict_rows(make_model(), np.array([2, 0, 1]))
    assert predictions.tolist() == [[210.0], [60.0], [60.0]]
    left = predict_rows(make_model(cut_side="left"), np.array([0]))
    assert left.tolist() == [[120.0]]


def test_predictions_do_not_depend_on_how_many_rows_are_read_at_once(
    monkeypatch, predict_rows
) -> None:
    rows, calls = np.array([3, 1, 0, 2]), []
    whole = predict_rows(make_model(), rows)
    monkeypatch.setattr(prediction, "ROWS_AT_ONCE", 3)
    parts = predict_rows(make_model(), rows, progress=lambda *done: calls.append(done))
    assert parts.tolist() == whole.tolist()
    assert calls == [(3, 4), (4, 4)]


def test_predictions_that_are_no_numbers_are_refused_with_model_and_row(predict_rows) -> None:
    message = r"model fine-tune/0: the predictions of 2 of 2 rows .* that of 'c' .rows.tsv, line 3"
    with pytest.raises(DataError, match=message):
        predict_rows(make_model(math.inf), np.array([2, 1]))


def test_several_models_give_mean_and_sample_deviation(predict_with_models) -> None:
    models = [make_model(1.0), make_model(3.0)]
    mean, deviation, num_models = predict_with_models(models, np.array([1]))
    assert mean.tolist() == [[120.0]]
    assert num_models.tolist() == [2]
    assert deviation is not None
    assert deviation == pytest.approx(np.array([[60.0 * 2**0.5]]))


def test_each_row_is_averaged_over_the_models_that_may_predict_it(
    predict_with_models, predict_rows
) -> None:
    models, calls = [make_model(factor) for factor in (1.0, 3.0, 7.0)], []
    may_predict = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1]], dtype=bool)
    rows = np.array([1, 3, 2, 0])
    found = predict_with_models(
        models, rows, may_predict, progress=lambda *done: calls.append(done)
    )
    assert found.num_models.tolist() == [3, 1, 2, 1]
    alone = [predict_rows(model, rows)[:, 0] for model in models]
    for place, who in enumerate(may_predict.T):
        each = np.array([alone[model][place] for model in np.flatnonzero(who)])
        assert found.mean[place, 0] == each.mean()
        assert found.deviation is not None
        expected = each.std(ddof=1) if len(each) > 1 else np.nan
        assert found.deviation[place, 0] == pytest.approx(expected, nan_ok=True)
    assert calls[-1] == (7, 7)


def test_the_progress_of_several_models_counts_their_rows_together(predict_with_models) -> None:
    calls = []
    predict_with_models(
        [make_model(1.0), make_model(3.0)],
        np.array([1, 0]),
        progress=lambda *done: calls.append(done),
    )
    assert calls == [(2, 4), (4, 4)]


def test_rows_are_read_one_batch_at_a_time(monkeypatch, predict_rows) -> None:
    model, shapes = make_model(), []
    model.module.register_forward_hook(lambda module, given, _: shapes.append(given[0].shape))
    monkeypatch.setattr(prediction, "PREDICTION_BATCH_TOKENS", 4)
    predict_rows(model, np.arange(4))
    assert shapes == [(2, 2), (1, 3), (1, 3)]


def test_rows_dealt_out_in_parts_are_predicted_as_all_at_once(
    monkeypatch, predict_with_models
) -> None:
    models = [make_model(1.0), make_model(3.0)]
    for place in (prediction, evaluate):
        monkeypatch.setattr(place, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(prediction, "PREDICTION_BATCH_TOKENS", 3)
    rows, prepared = np.array([3, 1, 0, 2]), FakePrepared()
    may_predict = np.array([[True, True, True, True], [False, True, False, True]])
    progress: list[tuple[int, int]] = []
    found = predict_with_models(
        models, rows, may_predict, progress=lambda *counts: progress.append(counts)
    )
    each = np.full((2, 4, 1), np.nan)
    for model, who, mine in zip(models, may_predict, each, strict=True):
        batches = RowBatches(prepared, model.framing)
        outputs = evaluate.model_outputs(
            model.module, batches, rows[who], num_outputs=1, batch_tokens=3
        )
        mine[who] = checked_predictions(model, outputs, prepared, rows[who])
    for one, other in zip(found, averaged(each, may_predict), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(progress) > 3
    assert progress[-1] == (6, 6)


def test_few_rows_are_worth_one_worker_and_many_as_many_as_there_are() -> None:
    assert prediction.workers_worth(10.0, 16) == 1
    assert prediction.workers_worth(5e11, 16) == 5
    assert prediction.workers_worth(1e20, 16) == 16


def test_one_model_has_no_deviation(predict_with_models) -> None:
    assert predict_with_models([make_model()], np.array([1]))[1] is None


def test_classes_are_predicted_as_probabilities(predict_rows) -> None:
    model = make_model(0.1, classes=("low", "high"))
    probabilities = predict_rows(model, np.array([0, 1]))
    assert probabilities.shape == (2, 2)
    assert probabilities.sum(axis=1) == pytest.approx([1.0, 1.0])


def test_data_with_other_channels_than_the_model_knows_is_refused(predict_rows) -> None:
    model = make_model()
    model.card.inputs.num_specifiers = 2
    with pytest.raises(DataError, match=r"carry 0 specifier values, but model summing .* on 2"):
        predict_rows(model, np.array([0]))


def test_models_that_read_or_predict_differently_are_not_averaged() -> None:
    first, second = make_model(), make_model()
    check_same_tokens([first, second], ["one", "two"])
    second.tokenizer.vocabulary = {"b": 0}
    with pytest.raises(ConfigError, match="two and one have different vocabularies"):
        check_same_tokens([first, second], ["one", "two"])
    with pytest.raises(ConfigError, match="two predicts the classes x, y, one predicts a number"):
        check_same_tokens([first, make_model(classes=("x", "y"))], ["one", "two"])
    two = make_model(names=("a", "b"))
    with pytest.raises(ConfigError, match="two predicts the targets a, b, one predicts a number"):
        check_same_tokens([first, two], ["one", "two"])
    with pytest.raises(ConfigError, match="two predicts the targets b, a, one predicts the target"):
        check_same_tokens([two, make_model(names=("b", "a"))], ["one", "two"])


def test_each_target_is_predicted_in_its_own_units(predict_rows) -> None:
    model = make_model(names=("a", "b"))
    predictions = predict_rows(model, np.array([1, 3]))
    assert predictions.tolist() == [[60.0, 600.0], [60.0, 600.0]]


def test_labels_must_be_those_that_the_model_predicts() -> None:
    several = make_model(names=("half_life", "tpm")).card.targets
    half_life, tpm = Column(name="half life"), Column(name="tpm")
    for columns in ((), (half_life, tpm), (Column(index=1), Column(index=2))):
        check_label_columns(columns, several, Path("model"))
    with pytest.raises(ConfigError, match="names 1 column, but model predicts the targets half"):
        check_label_columns((tpm,), several, Path("model"))
    with pytest.raises(
        ConfigError, match="names tpm, half_life, but model predicts half_life, tpm"
    ):
        check_label_columns((tpm, half_life), several, Path("model"))
    with pytest.raises(ConfigError, match="names 2 columns, but model predicts a single target"):
        check_label_columns((tpm, half_life), make_model().card.targets, Path("model"))


def columns_of(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name=name) for name in names)


@pytest.mark.parametrize(
    ("names", "other"),
    [
        (("a", "std_a", "A"), ("A", "std_a", "a")),
        (("x", "window5_x"), ("window5_x", "x")),
        (("level_2", "Level_2"), ("Level_2", "level_2")),
    ],
)
def test_the_order_of_labels_that_are_told_apart_by_their_places_is_checked(names, other) -> None:
    layout = Layout(id=0, sequence=1, names=("id", "seq", *names), label=(2, 3, 4)[: len(names)])
    assert layout.target_names[0] == f"{names[0]}_3"
    targets = make_model(names=layout.target_names).card.targets
    check_label_columns(columns_of(*names), targets, Path("model"))
    with pytest.raises(ConfigError, match=rf"names {', '.join(other)}, but model predicts"):
        check_label_columns(columns_of(*other), targets, Path("model"))


def test_labels_of_the_same_name_in_files_cannot_be_checked_and_are_told(caplog) -> None:
    targets = make_model(names=("a_b_3", "a_b_4")).card.targets
    check_label_columns(columns_of("a b", "a_b"), targets, Path("model"))
    assert "labelpos names columns that are alike (a b, a_b): make sure" in caplog.text
    caplog.clear()
    check_label_columns((Column(index=2), Column(index=3)), targets, Path("model"))
    assert not caplog.records
