"""The weights in a model folder, ours or of the reference system: tensors and nothing else."""

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from biolm_ray.errors import DataError
from biolm_ray.models.legacy import translated_names

WEIGHTS_FILE = "model.safetensors"
OLD_WEIGHTS_FILE = "pytorch_model.bin"


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
    except SafetensorError as error:
        raise DataError(f"{path}: damaged ({error})") from None


def stored_weights(folder: Path) -> dict[str, Tensor]:
    """Read the tensors of a model folder, by the names they are stored with.

    Raises:
        DataError: The file is missing, damaged, or holds more than tensors.
    """
    path, old_path = folder / WEIGHTS_FILE, folder / OLD_WEIGHTS_FILE
    if path.is_file():
        try:
            return load_file(path)
        except SafetensorError as error:
            raise DataError(f"{path}: damaged ({error})") from None
    if not old_path.is_file():
        raise DataError(f"{folder}: {WEIGHTS_FILE} is missing; the model folder is incomplete")
    _check_old_file(old_path)
    try:
        stored = torch.load(old_path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise DataError(f"{old_path}: damaged, or holds more than weights ({reason})") from None
    if not isinstance(stored, dict) or not all(isinstance(v, Tensor) for v in stored.values()):
        raise DataError(f"{old_path}: holds no table of tensors")
    _check_extent(stored, old_path)
    return stored


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
        if value.layout != torch.strided or value.numel() * value.element_size() > num_bytes:
            raise DataError(
                f"{path}: '{name}' is said to be of the shape {list(value.shape)}, more than the "
                f"file of {num_bytes} bytes holds"
            )
