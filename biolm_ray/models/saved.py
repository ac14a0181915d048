"""Model folders: weights, tokenizer and a card that says how to build and feed the model."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from biolm_ray.config.schema import (
    MOST_TOKENS,
    OWN_CODE,
    PreprocessingConfig,
    Section,
    TrustedCode,
)
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.files import atomic_path, write_json
from biolm_ray.models.batches import Framing, frame
from biolm_ray.models.legacy import (
    is_reference_model,
    read_json,
    read_old_model,
    translated_names,
)
from biolm_ray.models.registry import UsedPlugin, find_spec, read_options, used_plugin
from biolm_ray.models.spec import ModelInputs, ModelSpec
from biolm_ray.models.stored_weights import (
    WEIGHTS_FILE,
    load_weights,
    stored_shapes,
    stored_weights,
    weights_file,
)
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.tokenization.tokenizer import Tokenizer

log = logging.getLogger("biolm_ray")

CARD_FILE = "config.json"


def _read_plugin(value: Any) -> Any:
    """Older cards hold the path of the plugin."""
    return {"name": value} if isinstance(value, str) else value


class ModelCard(Section):
    """What a model folder says about its model.

    Attributes:
        model: The name of its spec.
        plugin: What the spec came from, if not from an installed package; told, never imported.
        options: The model's own settings.
        inputs: The sizes it was built for.
        task: None for a language model, whose `targets` mean nothing.
        targets: How its outputs become predictions.
        preprocessing: How its sequences were cut.
        fold: The fold whose training rows it has seen.
        extra: Anything else worth keeping.
    """

    model: str
    plugin: Annotated[UsedPlugin | None, BeforeValidator(_read_plugin)] = None
    options: dict[str, Any] = Field(default_factory=dict)
    inputs: ModelInputs
    task: Literal["regression", "classification"] | None = None
    targets: Targets = Targets(task="regression", scaler=Scaler(kind="none"))
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    fold: int | None = None
    extra: dict[str, Any] = Field(default_factory=dict)


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


def check_sizes(folder: Path, card: ModelCard, spec: ModelSpec, options: Any) -> None:
    """Make sure that a card describes the weights beside it, before memory is taken for them.

    The model is built without memory, and stopped as soon as it is larger than the weights.

    Raises:
        DataError: A weight has another shape, or the card asks for more than there is.
    """
    build = spec.build
    if card.task is None and spec.pretraining is not None:
        build = spec.pretraining.build
    stored = translated_names(stored_shapes(folder))
    num_values = sum(math.prod(shape) for shape in stored.values())
    for name in ("vocabulary_size", "num_specifiers", "num_outputs"):
        if not 0 <= (size := getattr(card.inputs, name)) <= num_values:
            raise DataError(
                f"{folder}: the weights do not fit {CARD_FILE}: it asks for {name} {size}, and "
                f"{num_values:,} numbers are stored"
            )
    with _at_most(folder, len(stored), num_values):
        try:
            with torch.device("meta"):
                module = build(options, card.inputs)
        except (NotImplementedError, RuntimeError):
            # A model of others may compute while it is built, which needs memory.
            module = build(options, card.inputs)
    for name, value in module.state_dict().items():
        if name in stored and stored[name] != tuple(value.shape):
            raise DataError(
                f"{folder}: the weights do not fit {CARD_FILE}: '{name}' has the shape "
                f"{list(stored[name])}, the card asks for {list(value.shape)}"
            )


@contextmanager
def _at_most(folder: Path, num_weights: int, num_values: int) -> Iterator[None]:
    """Stop a build that goes far beyond what is stored; weights may be left out or shared."""
    most_weights, most_values = 2 * num_weights + 100, 4 * num_values + 1_000_000
    found_weights = found_values = 0

    def count(module: nn.Module, name: str, weight: nn.Parameter | None) -> None:
        nonlocal found_weights, found_values
        if weight is not None:
            found_weights, found_values = found_weights + 1, found_values + weight.numel()
        if found_weights > most_weights or found_values > most_values:
            raise DataError(
                f"{folder}: the weights do not fit {CARD_FILE}: it asks for a model of more than "
                f"{found_weights - 1:,} weights with {found_values:,} values, and "
                f"{num_weights:,} with {num_values:,} are stored"
            )

    watch = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        watch.remove()


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
    whole = card.model_copy(update={"options": options, "plugin": used})
    write_json(folder / CARD_FILE, whole.model_dump(mode="json"))


def read_card(folder: Path, block_size: int | None = None) -> ModelCard | None:
    """Read what a folder says about its model; None for a plain Hugging Face checkpoint.

    A folder of the reference system does not tell its block size and cutting; they are those
    given, or the defaults of the configuration.

    Raises:
        DataError: A file is missing or damaged.
    """
    content = read_json(folder / CARD_FILE)
    if "inputs" not in content:
        return _old_card(folder, block_size)
    try:
        card = ModelCard.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{folder / CARD_FILE}: '{key}': {first['msg']}") from None
    if not 0 < card.inputs.block_size <= MOST_TOKENS:
        raise DataError(
            f"{folder / CARD_FILE}: 'inputs.block_size' is {card.inputs.block_size}; it must be "
            f"from 1 to {MOST_TOKENS:,}"
        )
    return card


def card_spec(card: ModelCard, plugin: str | None, folder: Path) -> ModelSpec:
    """Find the model of a card, importing nothing but what the run names.

    Args:
        card: Of the model folder.
        plugin: The file or module that the run takes models from.
        folder: Where the card lies, for messages.

    Raises:
        ConfigError: The card's model comes from a plugin, and the run names none, or it is unknown.
    """
    if card.plugin is None:
        if used_plugin(card.model, plugin) is not None:
            log.warning(
                "%s was not made with plugin %s; its model '%s' is the installed one",
                folder,
                plugin,
                card.model,
            )
        return find_spec(card.model)
    if plugin is None:
        mark = card.plugin.sha256
        raise ConfigError(
            f"{folder} needs --plugin {card.plugin.name}"
            f"{f' (SHA-256 {mark})' if mark else ''}: its model '{card.model}' comes from that "
            "plugin, and no code is run because a model folder names it"
        )
    spec = find_spec(card.model, plugin)
    used = used_plugin(card.model, plugin)
    if card.plugin.sha256 is not None and (used is None or used.sha256 != card.plugin.sha256):
        log.warning(
            "plugin %s is not the one that %s was made with (SHA-256 %s there, %s here); "
            "its predictions may differ",
            plugin,
            folder,
            card.plugin.sha256[:16],
            "another model" if used is None else str(used.sha256)[:16],
        )
    return spec


def load_model(
    folder: Path,
    *,
    trusted: TrustedCode = OWN_CODE,
    preprocessing: PreprocessingConfig | None = None,
    settings: TokenizerSettings | None = None,
) -> SavedModel:
    """Load a trained model, ours or of the reference system.

    Args:
        folder: The model folder.
        trusted: Code besides our own that may run.
        preprocessing: How sequences are cut, in place of what the model was trained with.
        settings: How texts are read, for a folder of the reference system, which does not tell.

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
    spec = card_spec(card, trusted.plugin, folder)
    options = read_options(spec, card.options, remote_code=trusted.remote_code)
    check_sizes(folder, card, spec, options)
    module = spec.build(options, card.inputs)
    _fill(module, load_weights(folder), folder)
    return SavedModel(
        spec=spec,
        module=module.eval(),
        card=card,
        tokenizer=_load_tokenizer(folder, settings, card.inputs.num_specifiers).adapted(
            preprocessing=card.preprocessing
        ),
        framing=frame(spec, card.inputs, card.preprocessing),
        folder=folder,
    )


def _distinct_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Give the state without second names of shared tensors, which the file format refuses."""
    distinct: dict[int, tuple[str, Tensor]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        distinct.setdefault(id(value), (name, value))
    return {name: value.detach().cpu().contiguous() for name, value in distinct.values()}


def _fill(module: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
    try:
        missing, unknown = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise DataError(f"{folder}: the weights do not fit {CARD_FILE}: {reason}") from None
    state = module.state_dict(keep_vars=True)
    filled = {id(state[name]) for name in weights if name in state}
    missing = [name for name in missing if id(state[name]) not in filled]
    if missing or unknown:
        problem = f"'{missing[0]}' is missing" if missing else f"'{unknown[0]}' is unknown"
        raise DataError(f"{folder}: the weights do not fit {CARD_FILE}: {problem}")


def _load_tokenizer(
    folder: Path, settings: TokenizerSettings | None, num_specifiers: int
) -> Tokenizer:
    if not (folder / "tokenizer.json").is_file():
        raise DataError(f"{folder}: tokenizer.json is missing; the model folder is incomplete")
    plain = settings or TokenizerSettings(encoding="atomic")
    return Tokenizer.load(folder, plain.model_copy(update={"num_specifiers": num_specifiers}))


def _old_card(folder: Path, block_size: int | None) -> ModelCard | None:
    weights = stored_weights(folder)
    if not is_reference_model(folder, weights):
        return None
    tokenizer = _load_tokenizer(folder, None, 0)
    num_columns = len(tokenizer.vocabulary) - len(tokenizer.special_ids)
    old = read_old_model(folder, weights, num_columns)
    preprocessing = PreprocessingConfig()
    card = ModelCard(
        model=old.name,
        options=old.options,
        inputs=ModelInputs(
            vocabulary_size=len(tokenizer.vocabulary),
            special_ids=tokenizer.special_ids,
            num_specifiers=old.num_specifiers,
            num_outputs=old.targets.num_outputs if old.targets else 1,
            block_size=block_size or preprocessing.block_size,
        ),
        preprocessing=preprocessing,
    )
    if old.targets is None:
        return card
    return card.model_copy(update={"task": old.targets.task, "targets": old.targets})
