"""The weights in a model folder, ours or of the reference system: tensors and nothing else."""

import pickle
import struct
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from biolm_ray.errors import DataError, in_short
from biolm_ray.models.legacy import translated_names

WEIGHTS_FILE = "model.safetensors"
OLD_WEIGHTS_FILE = "pytorch_model.bin"
KINDS_OF_NUMBERS = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
"""Of weights, and of the counters and masks that models keep beside them."""
REMEDY = "copy the model folder once more from where it came from, or train the model again"
SAFETENSORS_ERRORS = (SafetensorError, OSError, RuntimeError, TypeError, ValueError, KeyError)
TORCH_ERRORS = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, EOFError, ImportError, OSError),
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError),
)
"""What reading a file as one of torch raises where it is none, or a damaged one."""


def weights_file(folder: Path) -> Path | None:
    """Find the weights in a model folder; None if there are none."""
    paths = [folder / name for name in (WEIGHTS_FILE, OLD_WEIGHTS_FILE)]
    return next((path for path in paths if path.is_file()), None)


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Read the tensors of a model folder, by the names of our modules.

    Raises:
        DataError: The file is missing, damaged, holds more than tensors, or numbers that are not
            finite.
    """
    weights = stored_weights(folder)
    for name, tensor in weights.items():
        if tensor.dtype not in KINDS_OF_NUMBERS:
            raise DataError(
                f"{folder}: the weights '{name}' are stored as {tensor.dtype}, which is not read; "
                "store them as float32, or use another model"
            )
        if not tensor.isfinite().all():
            raise DataError(
                f"{folder}: the weights '{name}' hold numbers that are not finite (NaN or "
                "infinite), so that every prediction would be none; train the model again"
            )
    return translated_names(weights)


def stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of the stored weights; of our own file nothing else is read."""
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        return {name: tuple(value.shape) for name, value in stored_weights(folder).items()}
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SAFETENSORS_ERRORS as error:
        raise _damaged(path, error) from None


def stored_weights(folder: Path) -> dict[str, Tensor]:
    """Read the tensors of a model folder, by the names they are stored with.

    Raises:
        DataError: The file is missing, damaged, or holds more than tensors.
    """
    path, old_path = folder / WEIGHTS_FILE, folder / OLD_WEIGHTS_FILE
    if path.is_file():
        try:
            return load_file(path)
        except SAFETENSORS_ERRORS as error:
            raise _damaged(path, error) from None
    if not old_path.is_file():
        raise DataError(f"{folder}: {WEIGHTS_FILE} is missing; the model folder is incomplete")
    try:
        _check_old_file(old_path)
        stored = torch.load(old_path, map_location="cpu", weights_only=True)
    except TORCH_ERRORS as error:
        # Torch advises to load such a file with all that is in it, which could run code.
        is_advice = isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error)
        reason = "" if is_advice else f" ({in_short(error)})"
        raise DataError(
            f"{old_path}: damaged, or holds more than weights, and nothing else is read of such a "
            f"file{reason}; {REMEDY}"
        ) from None
    if not isinstance(stored, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in stored.items()
    ):
        raise DataError(f"{old_path}: holds no table of tensors; {REMEDY}")
    _check_extent(stored, old_path)
    return stored


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: damaged ({in_short(error)}); {REMEDY}")


def _check_old_file(path: Path) -> None:
    """Refuse an archive that unpacks to more than it is; torch itself never compresses."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > path.stat().st_size:
            raise DataError(f"{path}: damaged, or no file of torch: it unpacks to {unpacked} bytes")


def _check_extent(stored: dict[str, Tensor], path: Path) -> None:
    """Refuse tensors that stand for far more numbers than the file holds."""
    num_bytes = path.stat().st_size
    for name, value in stored.items():
        has_numbers = value.layout == torch.strided and value.device.type == "cpu"
        if not has_numbers or value.numel() * value.element_size() > num_bytes:
            raise DataError(
                f"{path}: '{name}' is said to be of the shape {list(value.shape)}, more than the "
                f"file of {num_bytes} bytes holds"
            )
