"""Labels as a model sees them, and its outputs as users read them."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from pydantic import Field

from biolm_ray.config.schema import Section
from biolm_ray.data.ordering import sorted_naturally
from biolm_ray.errors import DataError

WEIGHT_WORDS = {"STRONG": 1.0, "GOOD": 0.75, "WEAK": 0.5, "POOR": 0.25}
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
Scaling = Literal["none", "log", "minmax", "standard"]


class Scaler(Section):
    """A reversible transform of labels, (value - center) / spread.

    Attributes:
        kind: The value is the natural logarithm of the label ("log") or the label itself; "none"
            leaves it as it is.
        center: Of the values: the training mean, or for "minmax" the minimum.
        spread: Of the values: the standard deviation, or the range; never 0. Experiments of the
            reference system have the bare logarithm: center 0 and spread 1.
    """

    kind: Scaling
    center: float = 0.0
    spread: float = 1.0

    def scale(self, labels: Float[np.ndarray, "*rows"]) -> Float[np.ndarray, "*rows"]:
        """Turn labels into model units.

        Raises:
            DataError: A label is zero or negative under "log".
        """
        labels = np.asarray(labels, dtype=np.float64)
        if self.kind == "none":
            return labels
        values = _logarithms(labels) if self.kind == "log" else labels
        return (values - self.center) / self.spread

    def unscale(self, values: Float[np.ndarray, "*rows"]) -> Float[np.ndarray, "*rows"]:
        """Turn model units back into labels."""
        values = np.asarray(values, dtype=np.float64)
        if self.kind == "none":
            return values
        # What is beyond float64 becomes infinite; whoever writes predictions looks for that.
        with np.errstate(over="ignore"):
            values = values * self.spread + self.center
            return np.exp(values) if self.kind == "log" else values


def fit_scaler(kind: Scaling, labels: Float[np.ndarray, " rows"]) -> Scaler:
    """Fit a scaler; only ever give it the labels of training rows.

    Labels that are all alike are only shifted.

    Raises:
        DataError: There is no label, or one that the scaling cannot take.
    """
    labels = np.asarray(labels, dtype=np.float64)
    if not labels.size:
        raise DataError("there is no training row to fit the label scaling on")
    if kind == "none":
        return Scaler(kind=kind)
    values = _logarithms(labels) if kind == "log" else labels
    low, high = float(values.min()), float(values.max())
    if kind == "minmax":
        return Scaler(kind=kind, center=low, spread=(high - low) or 1.0)
    spread = float(values.std()) if high > low else 1.0
    return Scaler(kind=kind, center=float(values.mean()), spread=spread or 1.0)


def _logarithms(labels: Float[np.ndarray, "*rows"]) -> Float[np.ndarray, "*rows"]:
    if (labels <= 0).any():
        raise DataError(
            f"label {labels[labels <= 0].flat[0]:g} cannot be scaled by 'log': "
            "labels must be above 0 (or set scaling: standard)"
        )
    return np.log(labels)


class Targets(Section):
    """What a model of this task predicts; it travels with the model as JSON.

    Attributes:
        scaler: Set for regression; one for each target where there are several.
        classes: Set for classification; output i of the model belongs to `classes[i]`.
        names: Of several targets; empty where there is just one.
        label_name: What a single one is called in headings; empty where it is not known.
    """

    task: Literal["regression", "classification"]
    scaler: Scaler | tuple[Scaler, ...] | None = None
    classes: tuple[str, ...] | None = None
    names: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    label_name: str = Field(default="", exclude_if=lambda name: not name)

    @property
    def num_outputs(self) -> int:
        return len(self.scalers) if self.classes is None else len(self.classes)

    @property
    def scalers(self) -> tuple[Scaler, ...]:
        """The scalers of a regression, also where there is just one."""
        assert self.scaler is not None
        return self.scaler if isinstance(self.scaler, tuple) else (self.scaler,)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the columns, metrics and files of each target end with; "" for a single one."""
        return tuple(f"_{name}" for name in self.names) or ("",)

    def encode(
        self, labels: Float[np.ndarray, "rows targets"] | Sequence[str]
    ) -> Float[np.ndarray, "rows targets"] | Int[np.ndarray, " rows"]:
        """Turn labels into scaled float32 values, or into int64 class numbers.

        Raises:
            DataError: A label that the scaling cannot take, or a class without training rows.
        """
        if self.classes is None:
            scaled = [
                scaler.scale(column)
                for scaler, column in zip(self.scalers, np.asarray(labels).T, strict=True)
            ]
            return np.stack(scaled, axis=1).astype(np.float32)
        numbers = {name: number for number, name in enumerate(self.classes)}
        names, places = _distinct_names(labels)
        unknown = sorted_naturally(name for name in names if name not in numbers)
        if unknown:
            raise DataError(
                f"class '{unknown[0]}' does not occur in the training rows; "
                f"the model knows {', '.join(self.classes)}"
            )
        return np.array([numbers[name] for name in names], dtype=np.int64)[places]

    def decode(
        self, outputs: Float[np.ndarray, "rows outputs"]
    ) -> Float[np.ndarray, "rows outputs"]:
        """Turn model outputs into what users read.

        Returns:
            Regression: values in the units of the labels. Classification: probabilities of the
            classes, the softmax of the outputs.
        """
        outputs = np.asarray(outputs, dtype=np.float64)
        if self.classes is None:
            values = [
                scaler.unscale(column)
                for scaler, column in zip(self.scalers, outputs.T, strict=True)
            ]
            return np.stack(values, axis=1)
        with np.errstate(invalid="ignore"):
            exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            return exponentials / exponentials.sum(axis=1, keepdims=True)

    def class_names(self, outputs: Float[np.ndarray, "rows outputs"]) -> list[str]:
        """The most probable class of each row, from outputs or from probabilities."""
        assert self.classes is not None
        return [self.classes[number] for number in np.asarray(outputs).argmax(axis=1)]


def fit_targets(
    task: Literal["regression", "classification"],
    scaling: Scaling,
    labels: Float[np.ndarray, "rows targets"] | Sequence[str],
    training_rows: Int[np.ndarray, " training_rows"],
    target_names: tuple[str, ...] = (),
    label_name: str = "",
) -> Targets:
    """Fit scalers or class list on the training rows of a fold; several targets have names."""
    if task == "regression":
        trained = np.asarray(labels)[training_rows]
        scalers = tuple(fit_scaler(scaling, column) for column in trained.T)
        if not target_names:
            (only,) = scalers
            return Targets(task=task, scaler=only, label_name=label_name)
        assert len(target_names) == len(scalers)
        return Targets(task=task, scaler=scalers, names=target_names)
    names, _ = _distinct_names(np.asarray(labels, dtype=object)[training_rows])
    return Targets(task=task, classes=tuple(sorted_naturally(names)))


def _distinct_names(labels: Sequence[Any] | np.ndarray) -> tuple[list[str], np.ndarray]:
    """The distinct labels as text, and for each label the place of its text in that list."""
    encoded = pa.array(labels).dictionary_encode()
    names = [str(label) for label in encoded.dictionary.to_pylist()]
    return names, encoded.indices.to_numpy()


def class_weights(
    class_numbers: Int[np.ndarray, " rows"], training_rows: Int[np.ndarray, " training_rows"]
) -> Float[np.ndarray, " classes"]:
    """Balanced weights: rows / (classes x rows of the class), as scikit-learn defines them.

    Args:
        class_numbers: As `Targets.encode` gives them, for all rows.
        training_rows: The rows that are counted; every class is among them.
    """
    counts = np.bincount(class_numbers[training_rows])
    assert counts.all(), "every class has training rows"
    return len(training_rows) / (len(counts) * counts)


def fits_float32(value: float) -> bool:
    """Whether a number is finite and stays so in float32, in which models compute."""
    return abs(value) <= LARGEST_FLOAT32  # false for NaN too


def parse_weight(text: str) -> float | None:
    """Read a row's weight: a number from 0 up or a word such as STRONG; None when neither."""
    word = WEIGHT_WORDS.get(text.strip().upper())
    if word is not None:
        return word
    try:
        value = float(text)
    except ValueError:
        return None
    return value if fits_float32(value) and value >= 0 else None


def parse_weights(texts: Sequence[str]) -> Float[np.ndarray, " rows"]:
    """Read the weights of many rows.

    Raises:
        DataError: A text is neither a number from 0 up nor one of the known words.
    """
    weights = [parse_weight(text) for text in texts]
    for row, weight in enumerate(weights):
        if weight is None:
            raise DataError(f"row {row}: weight '{texts[row]}' is no {weight_rule()}")
    return np.array(weights, dtype=np.float64)


def weight_rule() -> str:
    """What a weight may be, for messages."""
    return f"number from 0 up, nor one of {', '.join(WEIGHT_WORDS)}"
