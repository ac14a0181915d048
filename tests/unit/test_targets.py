"""Scalers, class lists and weights against values worked out by hand."""

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from biolm_ray.data.targets import (
    Scaler,
    Targets,
    class_weights,
    fit_scaler,
    fit_targets,
    parse_weights,
)
from biolm_ray.errors import DataError

LABELS = np.array([1.0, 2.0, 4.0, 9.0])


@pytest.mark.parametrize("kind", ["none", "log", "minmax", "standard"])
def test_scaling_is_undone_by_unscaling(kind):
    scaler = fit_scaler(kind, LABELS)
    np.testing.assert_allclose(scaler.unscale(scaler.scale(LABELS)), LABELS, rtol=1e-12)


def test_scalers_agree_with_scikit_learn():
    column = LABELS[:, None]
    for kind, other in (("minmax", MinMaxScaler()), ("standard", StandardScaler())):
        expected = other.fit(column).transform(np.array([[5.0], [-3.0]]))[:, 0]
        found = fit_scaler(kind, LABELS).scale(np.array([5.0, -3.0]))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_log_scaling_standardizes_the_logarithms_of_training_labels():
    scaler = fit_scaler("log", np.exp([1.0, 3.0]))
    np.testing.assert_allclose([scaler.center, scaler.spread], [2, 1])
    np.testing.assert_allclose(scaler.scale(np.exp([2.0, 4.0])), [0, 2], atol=1e-12)
    np.testing.assert_allclose(scaler.unscale(np.array([-1.0])), np.exp([1.0]))


def test_log_scaling_takes_the_natural_logarithm():
    np.testing.assert_allclose(Scaler(kind="log").scale(np.array([1.0, np.e])), [0, 1], atol=1e-12)


@pytest.mark.parametrize("label", [0.0, -1.5])
def test_log_scaling_refuses_labels_that_are_not_positive(label):
    with pytest.raises(DataError, match=f"label {label:g} cannot be scaled by 'log'"):
        fit_scaler("log", np.array([2.0, label]))


@pytest.mark.parametrize("kind", ["minmax", "standard"])
def test_labels_that_are_all_alike_are_only_shifted(kind):
    scaler = fit_scaler(kind, np.array([0.1, 0.1, 0.1]))
    np.testing.assert_allclose(scaler.scale(np.array([0.1, 1.1])), [0, 1], atol=1e-12)


def test_only_training_rows_are_fitted():
    targets = fit_targets("regression", "standard", LABELS[:, None], np.array([0, 1]))
    assert targets.scaler == Scaler(kind="standard", center=1.5, spread=0.5)
    encoded = targets.encode(LABELS[:, None])
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[-1.0], [1.0], [5.0], [15.0]]
    np.testing.assert_allclose(targets.decode(encoded), LABELS[:, None])


def test_each_of_several_targets_is_scaled_on_its_own():
    labels = np.array([[1.0, 10.0], [3.0, 30.0], [5.0, 0.0]])
    targets = fit_targets("regression", "minmax", labels, np.array([0, 1]), ("a", "b"))
    assert targets.scaler == (
        Scaler(kind="minmax", center=1.0, spread=2.0),
        Scaler(kind="minmax", center=10.0, spread=20.0),
    )
    assert (targets.num_outputs, targets.suffixes) == (2, ("_a", "_b"))
    assert targets.encode(labels).tolist() == [[0.0, 0.0], [1.0, 1.0], [2.0, -0.5]]
    np.testing.assert_allclose(targets.decode(targets.encode(labels)), labels)


def test_a_single_target_is_written_as_it_always_was():
    targets = Targets(task="regression", scaler=Scaler(kind="log", center=1.0, spread=2.0))
    written = {
        "task": "regression",
        "scaler": {"kind": "log", "center": 1.0, "spread": 2.0},
        "classes": None,
    }
    assert targets.model_dump(mode="json") == written
    assert Targets.model_validate(written) == targets
    assert (targets.num_outputs, targets.suffixes) == (1, ("",))


def test_classes_are_numbered_in_natural_order():
    targets = fit_targets("classification", "none", ["10", "9", "9", "2"], np.array([0, 1, 3]))
    assert targets.classes == ("2", "9", "10")
    assert targets.num_outputs == 3
    assert targets.encode(["9", "10"]).tolist() == [1, 2]


@pytest.mark.parametrize("kind", [list, np.array, lambda labels: np.array(labels, dtype=object)])
def test_class_names_may_come_as_a_list_or_an_array_of_any_kind(kind):
    targets = fit_targets("classification", "none", kind(["b", "a", "b"]), np.array([0, 1]))
    assert targets.classes == ("a", "b")
    assert targets.encode(kind(["b", "a", "b"])).tolist() == [1, 0, 1]
    assert targets.encode(kind([])).tolist() == []


def test_class_names_may_be_numbers():
    targets = fit_targets("classification", "none", np.array([10, 9, 10]), np.array([0, 1, 2]))
    assert targets.classes == ("9", "10")
    assert targets.encode(np.array([9, 10])).tolist() == [0, 1]


def test_class_outputs_decode_to_probabilities_and_names():
    targets = Targets(task="classification", classes=("a", "b"))
    outputs = np.array([[0.0, np.log(3)], [1000.0, 0.0]])
    np.testing.assert_allclose(targets.decode(outputs), [[0.25, 0.75], [1, 0]])
    assert targets.class_names(outputs) == ["b", "a"]


def test_a_class_without_training_rows_is_named():
    targets = fit_targets("classification", "none", ["a", "b", "c"], np.array([0, 1]))
    with pytest.raises(DataError, match="class 'c' does not occur"):
        targets.encode(["c"])


@pytest.mark.parametrize(
    "targets",
    [
        Targets(task="regression", scaler=Scaler(kind="minmax", center=0.1, spread=3.3)),
        Targets(task="classification", classes=("x", "y")),
        Targets(
            task="regression",
            scaler=(Scaler(kind="none"), Scaler(kind="log", center=1.5)),
            names=("half_life", "tpm"),
        ),
    ],
)
def test_targets_survive_json(targets):
    assert Targets.model_validate_json(targets.model_dump_json()) == targets


def test_class_weights_agree_with_scikit_learn():
    numbers = np.array([0, 0, 0, 1, 2, 2, 2, 2, 1])
    training_rows = np.arange(8)
    trained = numbers[training_rows]
    expected = compute_class_weight("balanced", classes=np.unique(trained), y=trained)
    np.testing.assert_allclose(class_weights(numbers, training_rows), expected)


def test_weights_are_numbers_or_words_in_any_case():
    weights = parse_weights(["STRONG", "good", "Weak", " POOR ", "0.3", "2"])
    assert weights.tolist() == [1.0, 0.75, 0.5, 0.25, 0.3, 2.0]


@pytest.mark.parametrize("text", ["FINE", "", "-1", "nan", "inf"])
def test_other_weights_are_refused(text):
    with pytest.raises(DataError, match=f"row 1: weight '{text}' is no number from 0 up"):
        parse_weights(["1", text])
