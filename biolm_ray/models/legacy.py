"""Model folders of the reference system, read without running anything that is stored in them."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from biolm_ray import files
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.errors import DataError

Weight = TypeVar("Weight")
MOST_CARD_BYTES = 16 << 20
SCALER_FILE = "scaler.pkl"
SALUKI_MARK = "model.entry_block.conv.weight"
XLNET_MARK = "transformer.word_embedding.weight"
XLNET_HEAD = "logits_proj.bias"
XLNET_LANGUAGE_HEAD = "lm_loss.bias"
XLNET_SIZES = ("d_model", "n_layer", "n_head", "d_inner", "dropout")


class _StoredObject:
    """Stands in for a class named in a pickle: holds its state and does nothing."""

    def __new__(cls) -> "_StoredObject":
        stored = super().__new__(cls)
        stored.state = {}
        return stored

    state: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"a scaler's state is a {type(state).__name__}")
        self.state = state


class StoredLogScaler(_StoredObject):
    pass


class StoredMinMaxScaler(_StoredObject):
    pass


class StoredStandardScaler(_StoredObject):
    pass


STAND_INS = {
    "LogScaler": StoredLogScaler,
    "MinMaxScaler": StoredMinMaxScaler,
    "StandardScaler": StoredStandardScaler,
}
NUMPY_CORE = "numpy._core" if hasattr(np, "_core") else "numpy.core"
ARRAY_PARTS = {
    ("multiarray", "_reconstruct"),
    ("multiarray", "scalar"),
    ("numeric", "_frombuffer"),
}


class ScalerReader(pickle.Unpickler):
    """Unpickles label scalers; every other class or function is refused."""

    def find_class(self, module: str, name: str) -> Any:
        for ending, stand_in in STAND_INS.items():
            if name.endswith(ending):
                return stand_in
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        package, _, part = module.rpartition(".")
        if package in ("numpy.core", "numpy._core") and (part, name) in ARRAY_PARTS:
            return super().find_class(f"{NUMPY_CORE}.{part}", name)
        raise pickle.UnpicklingError(
            f"it asks for {module}.{name}, and only label scalers and number arrays are read, "
            "because anything else in a pickle could run code"
        )


def read_scaler(folder: Path) -> Scaler:
    """Read the label scaler of an old model folder; without a file, labels were not scaled.

    Raises:
        DataError: The file holds anything but a label scaler, or is damaged.
    """
    path = folder / SCALER_FILE
    if not path.is_file():
        return Scaler(kind="none")
    try:
        with path.open("rb") as file:
            stored = ScalerReader(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError,
            KeyError, IndexError, ImportError) as error:  # fmt: skip
        raise DataError(f"{path}: refused: {error}") from None
    return _translated(stored, path)


def _translated(stored: Any, path: Path) -> Scaler:
    if isinstance(stored, StoredLogScaler):
        return Scaler(kind="log")
    if isinstance(stored, StoredMinMaxScaler):
        span = _number(stored, "data_max_", path) - _number(stored, "data_min_", path)
        if tuple(stored.state.get("feature_range", (0, 1))) != (0, 1):
            raise DataError(f"{path}: scales to {stored.state['feature_range']}, not to (0, 1)")
        return Scaler(kind="minmax", center=_number(stored, "data_min_", path), spread=span or 1.0)
    if isinstance(stored, StoredStandardScaler):
        return Scaler(
            kind="standard",
            center=_number(stored, "mean_", path),
            spread=_number(stored, "scale_", path),
        )
    raise DataError(f"{path}: holds a {type(stored).__name__}, not a label scaler")


def _number(stored: _StoredObject, name: str, path: Path) -> float:
    values = np.asarray(stored.state.get(name, []), dtype=np.float64).ravel()
    if len(values) != 1 or not np.isfinite(values[0]):
        raise DataError(f"{path}: '{name}' of the scaler is {values.tolist()}, not one number")
    return float(values[0])


@dataclass(frozen=True)
class OldModel:
    """What the files of an old folder say about its model; a language model has no targets."""

    name: str
    options: dict[str, Any]
    num_specifiers: int
    targets: Targets | None


def is_reference_model(folder: Path, weights: dict[str, Tensor]) -> bool:
    """Tell whether a folder holds a model of the reference system, fine-tuned or pre-trained.

    A pre-trained XLNet of others has the same weights, but no vocabulary of its kind.
    """
    if SALUKI_MARK in weights or {XLNET_MARK, XLNET_HEAD} <= weights.keys():
        return True
    tokenizer = folder / "tokenizer.json"
    if not {XLNET_MARK, XLNET_LANGUAGE_HEAD} <= weights.keys() or not tokenizer.is_file():
        return False
    model = read_json(tokenizer).get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    return isinstance(vocabulary, dict) and "[CLS]" in vocabulary


def read_old_model(folder: Path, weights: dict[str, Tensor], num_columns: int) -> OldModel:
    """Gather what the files of a reference model say about it.

    Args:
        folder: Holds config.json and perhaps the scaler.
        weights: The tensors of pytorch_model.bin, by their stored names.
        num_columns: Tokens of the vocabulary that have a one-hot column.

    Raises:
        DataError: The scaler or the configuration cannot be read, or files contradict each other.
    """
    if SALUKI_MARK not in weights:
        config = read_json(folder / "config.json")
        return OldModel(
            name="xlnet",
            options={name: config[name] for name in XLNET_SIZES if name in config},
            num_specifiers=0,
            targets=_old_targets(folder, len(weights[XLNET_HEAD]))
            if XLNET_HEAD in weights
            else None,
        )
    channels, num_inputs, kernel = weights[SALUKI_MARK].shape
    if num_inputs < num_columns:
        raise DataError(
            f"{folder}: the weights take {num_inputs} input columns, but tokenizer.json has "
            f"{num_columns} tokens; the files belong to different models"
        )
    layers = {name.split(".")[2] for name in weights if name.startswith("model.mid_blocks.")}
    sizes = {"channels": channels, "num_layers": len(layers), "kernel": kernel}
    return OldModel(
        name="saluki",
        options={"variant": "reference", "padding": "blocksize", **sizes},
        num_specifiers=num_inputs - num_columns,
        targets=_old_targets(folder, len(weights["model.dense_block.l2.bias"])),
    )


def translated_names(weights: dict[str, Weight]) -> dict[str, Weight]:
    """Give the weights of a reference model, or what is told of each, the names of ours.

    Those of other models stay as they are.
    """
    if SALUKI_MARK in weights:
        return {name.removeprefix("model."): value for name, value in weights.items()}
    if XLNET_MARK in weights:
        return {f"network.{name}": value for name, value in weights.items()}
    return weights


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: The file is missing, too large, or holds none.
    """
    try:
        value = files.read_json(path, MOST_CARD_BYTES)
    except FileNotFoundError:
        raise DataError(f"{path}: the file is missing; the model folder is incomplete") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds a {type(value).__name__}, not an object with keys")
    return value


def _old_targets(folder: Path, num_outputs: int) -> Targets:
    if num_outputs == 1:
        return Targets(task="regression", scaler=read_scaler(folder))
    names = read_json(folder / "config.json").get("id2label", {})
    classes = tuple(str(names.get(str(index), index)) for index in range(num_outputs))
    return Targets(task="classification", classes=classes)
