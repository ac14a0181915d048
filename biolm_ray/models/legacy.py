"""Model folders of the reference system, read without running anything that is stored in them."""

import io
import logging
import os
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from biolm_ray import files
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.errors import DataError

log = logging.getLogger("biolm_ray")

Weight = TypeVar("Weight")
MOST_SCALER_BYTES = 1 << 20
MOST_CARD_BYTES = 16 << 20
SCALER_FILE = "scaler.pkl"
SALUKI_MARK = "model.entry_block.conv.weight"
SALUKI_BIAS = "model.dense_block.l2.bias"
SALUKI_LAYERS = "model.mid_blocks."
XLNET_MARK = "transformer.word_embedding.weight"
XLNET_HEAD = "logits_proj.bias"
XLNET_LANGUAGE_HEAD = "lm_loss.bias"
XLNET_SIZES = ("d_model", "n_layer", "n_head", "d_inner", "dropout")


class _StoredObject:
    """Stands in for a class named in a pickle: holds its state and does nothing."""

    state: dict[str, Any]

    def __new__(cls) -> "_StoredObject":
        stored = super().__new__(cls)
        stored.state = {}
        return stored

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


class _StoredType:
    """Stands in for `numpy.dtype`; only plain numbers become an array."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = str(code), "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def read(self, content: Any) -> Any:
        """Turn bytes into numbers; anything else, such as names of columns, is left out."""
        if self.code not in ("f8", "f4", "i8", "i4", "u8", "u4"):
            return None
        return np.frombuffer(bytes(content), dtype=f"{self.order}{self.code}")


class _StoredArray:
    """Stands in for `numpy.ndarray` and what makes one."""

    values: Any = None

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.values = state[2].read(state[4])


class _StoredNumber(_StoredArray):
    """Stands in for what makes a single number."""

    def __init__(self, kind: Any = None, content: Any = b"") -> None:
        self.values = kind.read(content)


class _StoredBuffer(_StoredArray):
    """Stands in for what makes an array of a buffer."""

    def __init__(self, content: Any, kind: Any, *_: Any) -> None:
        self.values = kind.read(content)


STAND_INS = {
    "LogScaler": StoredLogScaler,
    "MinMaxScaler": StoredMinMaxScaler,
    "StandardScaler": StoredStandardScaler,
}
NUMPY_STAND_INS = {
    ("numpy", "dtype"): _StoredType,
    ("numpy", "ndarray"): _StoredArray,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _StoredArray),
            ("multiarray", "scalar", _StoredNumber),
            ("numeric", "_frombuffer", _StoredBuffer),
        )
    },
}


# The reader that is written in Python: the other takes memory for whatever a pickle announces.
class ScalerReader(pickle._Unpickler):  # pyright: ignore[reportAttributeAccessIssue]
    """Unpickles label scalers into stand-ins; every other class or function is refused.

    Nothing is looked up: what a pickle names is one of the classes above, or an error. NumPy's own
    functions are not among them, since they trust the numbers that they are given.
    """

    def find_class(self, module: str, name: str) -> Any:
        for ending, stand_in in STAND_INS.items():
            if name.endswith(ending):
                return stand_in
        stand_in = NUMPY_STAND_INS.get((module, name))
        if stand_in is not None:
            return stand_in
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
    if not os.path.lexists(path):
        log.warning(
            "%s: there is no %s, so what the model gives is taken for labels as they are",
            folder,
            SCALER_FILE,
        )
        return Scaler(kind="none")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_SCALER_BYTES + 1)
        if len(content) > MOST_SCALER_BYTES:
            raise ValueError(f"larger than {MOST_SCALER_BYTES >> 20} MB")
        stored = ScalerReader(io.BytesIO(content)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError,
            LookupError, ArithmeticError, MemoryError, RecursionError, OSError,
            struct.error) as error:  # fmt: skip
        raise DataError(f"{path}: refused: {str(error)[:200]}") from None
    return _translated(stored, path)


def _translated(stored: Any, path: Path) -> Scaler:
    if isinstance(stored, StoredLogScaler):
        return Scaler(kind="log")
    if isinstance(stored, StoredMinMaxScaler):
        span = _number(stored, "data_max_", path) - _number(stored, "data_min_", path)
        scaled_to = stored.state.get("feature_range", (0, 1))
        if not isinstance(scaled_to, tuple) or scaled_to != (0, 1):
            numbers = isinstance(scaled_to, tuple) and all(
                type(n) in (int, float) for n in scaled_to
            )
            found = str(scaled_to)[:40] if numbers else "something else"
            raise DataError(f"{path}: scales to {found}, not to (0, 1)")
        return Scaler(kind="minmax", center=_number(stored, "data_min_", path), spread=span or 1.0)
    if isinstance(stored, StoredStandardScaler):
        return Scaler(
            kind="standard",
            center=_number(stored, "mean_", path),
            spread=_number(stored, "scale_", path),
        )
    raise DataError(f"{path}: holds no label scaler")


def _number(stored: _StoredObject, name: str, path: Path) -> float:
    value = stored.state.get(name)
    values = value.values if isinstance(value, _StoredArray) else None
    if values is None or len(values) != 1 or not np.isfinite(values[0]):
        found = "missing" if values is None else f"{len(values)} numbers"
        raise DataError(f"{path}: '{name}' of the scaler is {found}, not one finite number")
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
            targets=_old_targets(folder, weights[XLNET_HEAD].numel())
            if XLNET_HEAD in weights
            else None,
        )
    shape, bias = weights[SALUKI_MARK].shape, weights.get(SALUKI_BIAS)
    if len(shape) != 3 or bias is None or bias.dim() != 1:
        raise DataError(f"{folder}: the weights are not all there, or not those of one model")
    channels, num_inputs, kernel = shape
    if num_inputs < num_columns:
        raise DataError(
            f"{folder}: the weights take {num_inputs} input columns, but tokenizer.json has "
            f"{num_columns} tokens; the files belong to different models"
        )
    layers = {name.split(".")[2] for name in weights if name.startswith(SALUKI_LAYERS)}
    sizes = {"channels": channels, "num_layers": len(layers), "kernel": kernel}
    return OldModel(
        name="saluki",
        options={"variant": "reference", "padding": "blocksize", **sizes},
        num_specifiers=num_inputs - num_columns,
        targets=_old_targets(folder, len(bias)),
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
    if not isinstance(names, dict):
        raise DataError(f"{folder / 'config.json'}: damaged ('id2label' names no classes)")
    classes = tuple(str(names.get(str(index), index)) for index in range(num_outputs))
    return Targets(task="classification", classes=classes)
