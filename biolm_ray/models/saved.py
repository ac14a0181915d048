"""Model folders: weights, tokenizer and a card that says how to build and feed the model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from biolm_ray.config.schema import OWN_CODE, PreprocessingConfig, TrustedCode
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.files import atomic_path
from biolm_ray.models.batches import Framing, frame
from biolm_ray.models.card import (
    CARD_FILE,
    ModelCard,
    card_spec,
    check_tokenizer,
    load_tokenizer,
    read_card,
)
from biolm_ray.models.checked_outputs import check_outputs
from biolm_ray.models.registry import find_spec, read_options, used_plugin
from biolm_ray.models.sizes import check_sizes, fill
from biolm_ray.models.spec import ModelSpec
from biolm_ray.models.stored_weights import WEIGHTS_FILE, load_weights, weights_file
from biolm_ray.records import write_record
from biolm_ray.results.manifest import file_digest
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.tokenization.tokenizer import SETTINGS_FILE, TOKENIZER_FILE, Tokenizer

FILES_BESIDE = (WEIGHTS_FILE, TOKENIZER_FILE, SETTINGS_FILE)
"""What a model is made of beside its card."""


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A trained model, ready to predict (in evaluation mode, on the CPU).

    Attributes:
        folder: Where it was loaded from, for messages.
    """

    spec: ModelSpec
    module: nn.Module
    card: ModelCard
    tokenizer: Tokenizer
    framing: Framing
    folder: Path | None = None


def is_model_folder(folder: Path) -> bool:
    """Tell whether a folder holds a model, ours or of the reference or Hugging Face."""
    return weights_file(folder) is not None and (folder / CARD_FILE).is_file()


def save_model(
    folder: Path,
    module: nn.Module,
    card: ModelCard,
    tokenizer: Tokenizer,
    plugin: str | None = None,
) -> None:
    """Write a model folder; config.json comes last, so that a folder with it is complete.

    `plugin` is the file or module that the run takes models from; the card keeps what it was.
    """
    spec = find_spec(card.model, plugin)
    options = spec.saved_options(read_options(spec, card.options), module)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder)
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(_distinct_tensors(module), temporary, metadata={"format": "pt"})
    used = used_plugin(card.model, plugin)
    files = {name: file_digest(folder / name) for name in FILES_BESIDE}
    changes = {"options": options, "plugin": used, "files": files}
    write_record(folder / CARD_FILE, card.model_copy(update=changes))


def described(folder: Path, card: ModelCard, trusted: TrustedCode) -> tuple[ModelSpec, Any]:
    """Find what builds the model of a card, and make sure that its weights are of that model.

    Returns:
        The model's spec and its options.

    Raises:
        ConfigError: It needs code that is not trusted.
        DataError: The options are none of that model, or the weights have other shapes.
    """
    spec = card_spec(card, trusted.plugin, folder)
    options = read_options(
        spec, card.options, remote_code=trusted.remote_code, saved_in=folder / CARD_FILE
    )
    check_sizes(folder, card, spec, options)
    return spec, options


def load_model(
    folder: Path,
    *,
    trusted: TrustedCode = OWN_CODE,
    preprocessing: PreprocessingConfig | None = None,
    settings: TokenizerSettings | None = None,
    with_weights: bool = True,
) -> SavedModel:
    """Load a trained model, ours or of the reference system.

    Args:
        folder: The model folder.
        trusted: Code besides our own that may run.
        preprocessing: How sequences are cut, in place of what the model was trained with.
        settings: How texts are read, for a folder of the reference system, which does not tell.
        with_weights: Build the module; else nothing stands in its place, which is quick.

    Raises:
        ConfigError: The folder holds only a pre-trained language model, or needs code that is not
            trusted.
        DataError: A file is missing or damaged, or the files do not fit together.
    """
    card = read_card(folder, preprocessing.block_size if preprocessing else None)
    if card is None:
        raise DataError(f"{folder / CARD_FILE}: not a model of this system, but a plain checkpoint")
    if card.task is None:
        raise ConfigError(f"{folder} holds a pre-trained language model; fine-tune it first")
    if preprocessing is not None:
        inputs = card.inputs.model_copy(update={"block_size": preprocessing.block_size})
        card = card.model_copy(update={"preprocessing": preprocessing, "inputs": inputs})
    spec, options = described(folder, card, trusted)
    tokenizer = load_tokenizer(folder, settings, card.inputs.num_specifiers)
    check_tokenizer(card, tokenizer, folder)
    module: nn.Module = nn.Identity()
    if with_weights:
        module = spec.build(options, card.inputs)
        fill(module, load_weights(folder), folder)
        check_outputs(module, spec.name, card.inputs.num_outputs, trusted.plugin)
    return SavedModel(
        spec=spec,
        module=module.eval(),
        card=card,
        tokenizer=tokenizer.adapted(preprocessing=card.preprocessing),
        framing=frame(spec, card.inputs, card.preprocessing),
        folder=folder,
    )


def _distinct_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Give the state without second names of shared tensors, which the file format refuses."""
    distinct: dict[int, tuple[str, Tensor]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        distinct.setdefault(id(value), (name, value))
    return {name: value.detach().cpu().contiguous() for name, value in distinct.values()}
