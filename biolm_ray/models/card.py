"""The card of a model folder: what it says of its model, and whether it contradicts itself."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from biolm_ray.config.schema import MOST_TOKENS, PreprocessingConfig
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.errors import ConfigError, DataError, in_short
from biolm_ray.files import is_plain_name
from biolm_ray.models.legacy import is_reference_model, read_json, read_old_model
from biolm_ray.models.registry import UsedPlugin, find_spec, used_plugin
from biolm_ray.models.spec import ModelInputs, ModelSpec
from biolm_ray.models.stored_weights import REMEDY, stored_weights
from biolm_ray.records import SealedFile, as_record
from biolm_ray.results.contents import CARD_FILE
from biolm_ray.results.manifest import Digest, first_misfit
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.tokenization.tokenizer import SETTINGS_FILE, TOKENIZER_FILE, Tokenizer

log = logging.getLogger("biolm_ray")

OWN_KEYS = ("inputs", "targets", "preprocessing", "seal")
"""By any of them a card is told from the config.json of other systems."""
ALWAYS_THERE = ("model", "options", "inputs", "task", "targets", "preprocessing")


def _read_plugin(value: Any) -> Any:
    """Older cards hold the path of the plugin."""
    return {"name": value} if isinstance(value, str) else value


class ModelCard(SealedFile):
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
        files: What the other files of the folder held when they were written.
    """

    LATEST_VERSION: ClassVar[int] = 2

    model: str
    plugin: Annotated[UsedPlugin | None, BeforeValidator(_read_plugin)] = None
    options: dict[str, Any] = Field(default_factory=dict)
    inputs: ModelInputs
    task: Literal["regression", "classification"] | None = None
    targets: Targets = Targets(task="regression", scaler=Scaler(kind="none"))
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    fold: int | None = None
    extra: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, Digest] = Field(default_factory=dict)


def read_card(folder: Path, block_size: int | None = None) -> ModelCard | None:
    """Read what a folder says about its model; None for a plain Hugging Face checkpoint.

    A folder of the reference system does not tell its block size and cutting; they are those
    given, or the defaults of the configuration.

    Raises:
        DataError: A file is missing or damaged, or was changed after the card had been written.
    """
    path = folder / CARD_FILE
    values = read_json(path)
    if not any(key in values for key in OWN_KEYS):
        return _old_card(folder, block_size)
    missing = next((key for key in ALWAYS_THERE if key not in values), None)
    if missing is not None:
        raise _damaged(path, f"'{missing}' is missing")
    card = as_record(values, str(path), ModelCard, REMEDY)
    for problem in _contradictions(card):
        raise _damaged(path, problem)
    _check_files(folder, card)
    return card


def _check_files(folder: Path, card: ModelCard) -> None:
    """Make sure that what lies beside a card was written with it, as far as the card tells."""
    try:
        changed = first_misfit(folder, card.files)
    except OSError as error:
        changed = f"{error.filename or folder}: cannot be read ({in_short(error)})"
    # Without its settings a tokenizer would be taken for one of the reference system.
    for name in (TOKENIZER_FILE, SETTINGS_FILE):
        if changed is None and not (folder / name).is_file():
            changed = f"{folder}: {name} is missing; the model folder is incomplete"
    if changed is not None:
        raise DataError(f"{changed}; {REMEDY}")


def _damaged(path: Path, problem: str) -> DataError:
    return DataError(f"{path}: damaged ({problem}); {REMEDY}")


def _contradictions(card: ModelCard) -> Iterator[str]:
    """What in a card cannot be so, whatever the files beside it hold."""
    if not 0 < card.inputs.block_size <= MOST_TOKENS:
        yield f"'inputs.block_size' is {card.inputs.block_size}, not from 1 to {MOST_TOKENS:,}"
    yield from _wrong_inputs(card.inputs)
    if card.task is not None:
        yield from _wrong_targets(card)
    yield from (
        f"'files' names '{name[:40]}', which is not in the folder"
        for name in card.files
        if not is_plain_name(name)
    )


def _wrong_inputs(inputs: ModelInputs) -> Iterator[str]:
    for name, least in (("vocabulary_size", 1), ("num_specifiers", 0), ("num_outputs", 1)):
        if (size := getattr(inputs, name)) < least:
            yield f"'inputs.{name}' is {size}"
    ids = inputs.special_ids
    if "[PAD]" not in ids:
        yield "'inputs.special_ids' has no [PAD]"
    outside = next((n for n in ids if not 0 <= ids[n] < inputs.vocabulary_size), None)
    if outside is not None:
        yield (
            f"'inputs.special_ids' gives {outside[:40]} the id {ids[outside]} in a vocabulary of "
            f"{inputs.vocabulary_size} tokens"
        )


def _wrong_targets(card: ModelCard) -> Iterator[str]:
    targets = card.targets
    if targets.task != card.task:
        yield f"the task is {card.task}, that of the targets {targets.task}"
    elif targets.task == "classification":
        yield from _wrong_classes(targets.classes)
    elif targets.scaler is None or targets.classes is not None:
        yield "'targets.scaler' is missing" if targets.scaler is None else "a number has no classes"
    else:
        yield from _wrong_scalers(targets)
    if targets.num_outputs != card.inputs.num_outputs:
        yield (
            f"'inputs.num_outputs' is {card.inputs.num_outputs}, and the targets are "
            f"{targets.num_outputs}"
        )


def _wrong_classes(classes: tuple[str, ...] | None) -> Iterator[str]:
    if not classes:
        yield "'targets.classes' is missing"
    elif "" in classes or len(set(classes)) < len(classes):
        yield "'targets.classes' has a class without a name, or one name twice"


def _wrong_scalers(targets: Targets) -> Iterator[str]:
    num_names = len(targets.scalers) if isinstance(targets.scaler, tuple) else 0
    if len(targets.names) != num_names or targets.scaler == ():
        yield f"{len(targets.names)} names and {len(targets.scalers)} scalers in 'targets'"
    if len(set(targets.names)) < len(targets.names):
        yield "'targets.names' has one name twice"
    if not all(map(is_plain_name, targets.names)):
        yield "'targets.names' has a name that no file could have"
    for scaler in targets.scalers:
        if not (math.isfinite(scaler.center) and 0 < scaler.spread < math.inf):
            yield f"'targets.scaler' has the center {scaler.center:g}, spread {scaler.spread:g}"


def check_tokenizer(card: ModelCard, tokenizer: Tokenizer, folder: Path) -> None:
    """Make sure that the tokenizer beside a card is the one that the model was built for.

    Raises:
        DataError: It has another number of tokens or of specifiers, or other special tokens.
    """
    inputs = card.inputs
    found = {
        "tokens": (len(tokenizer.vocabulary), inputs.vocabulary_size),
        "numbers to a token": (tokenizer.settings.num_specifiers, inputs.num_specifiers),
        "special tokens": (tokenizer.special_ids, inputs.special_ids),
    }
    for what, (there, asked) in found.items():
        if there != asked:
            shown = f"other {what}" if what == "special tokens" else f"{there} {what}, not {asked}"
            raise DataError(
                f"{folder / TOKENIZER_FILE}: belongs to another model than {CARD_FILE} beside it "
                f"(it has {shown}); {REMEDY}"
            )


def load_tokenizer(
    folder: Path, settings: TokenizerSettings | None, num_specifiers: int
) -> Tokenizer:
    """Load the tokenizer of a model folder; `settings` serve where it does not tell its own.

    Raises:
        DataError: It is missing or damaged.
    """
    if not (folder / TOKENIZER_FILE).is_file():
        raise DataError(f"{folder}: {TOKENIZER_FILE} is missing; the model folder is incomplete")
    plain = settings or TokenizerSettings(encoding="atomic")
    return Tokenizer.load(folder, plain.model_copy(update={"num_specifiers": num_specifiers}))


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
        return _found(card, None, folder)
    if plugin is None:
        mark = card.plugin.sha256
        raise ConfigError(
            f"{folder} needs --plugin {card.plugin.name}"
            f"{f' (SHA-256 {mark})' if mark else ''}: its model '{card.model}' comes from that "
            "plugin, and no code is run because a model folder names it"
        )
    spec = _found(card, plugin, folder)
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


def _found(card: ModelCard, plugin: str | None, folder: Path) -> ModelSpec:
    try:
        return find_spec(card.model, plugin)
    except ConfigError as error:
        raise ConfigError(f"{folder / CARD_FILE}: {error}") from None


def _old_card(folder: Path, block_size: int | None) -> ModelCard | None:
    weights = stored_weights(folder)
    if not is_reference_model(folder, weights):
        return None
    tokenizer = load_tokenizer(folder, None, 0)
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
    if old.targets is not None:
        card = card.model_copy(update={"task": old.targets.task, "targets": old.targets})
    for problem in _contradictions(card):
        raise _damaged(folder / CARD_FILE, problem)
    return card
