"""Any transformer of the Hugging Face library that has a sequence head: by checkpoint or sizes."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from safetensors import SafetensorError
from torch import Tensor, nn

from biolm_ray.config.schema import Section
from biolm_ray.config.spelling import did_you_mean
from biolm_ray.errors import ConfigError, in_short
from biolm_ray.models.bert_shortcut import bert_shortcut
from biolm_ray.models.corruption import IGNORED, mask_tokens
from biolm_ray.models.registry import REMOTE_CODE
from biolm_ray.models.spec import Batch, ModelInputs, ModelSpec, Pretraining, Recipe
from biolm_ray.models.wrapping import (
    WrappedNetwork,
    refuse_specifiers,
    special_mask,
    take_wrapped,
    transformer_groups,
)

log = logging.getLogger("biolm_ray")

LIBRARY_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(SafetensorError, RecursionError, TypeError, ValueError),
)
"""What the library raises at settings and files that make no sense to it. RuntimeErrors are not
among them: whoever builds without memory looks for those."""
NAMES_OF_IDS = {
    "pad_token_id": "[PAD]",
    "mask_token_id": "[MASK]",
    "cls_token_id": "[CLS]",
    "sep_token_id": "[SEP]",
    "bos_token_id": "[BOS]",
    "eos_token_id": "[EOS]",
}


class HuggingFaceOptions(Section):
    """Which network: a trained checkpoint, or an architecture with fresh weights.

    Attributes:
        checkpoint: A folder or a name on the hub, such as facebook/esm2_t6_8M_UR50D.
        architecture: The library's name of a model type, such as esm, bert or modernbert.
        config: Sizes and other settings of the network, by the library's names.
        tokenizer: Whose vocabulary the ids are from; a checkpoint brings its own by default.
        trust_remote_code: Whether Python files of the checkpoint may run. It comes from the
            setting of that name, and is not saved.
    """

    checkpoint: str | None = None
    architecture: str | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    tokenizer: Literal["own", "checkpoint"] | None = None
    trust_remote_code: bool = Field(default=False, exclude=True)

    @model_validator(mode="after")
    def _one_source(self) -> "HuggingFaceOptions":
        if (self.checkpoint is None) == (self.architecture is None):
            raise ValueError("set either checkpoint or architecture")
        if self.tokenizer == "checkpoint" and self.checkpoint is None:
            raise ValueError("tokenizer: checkpoint needs a checkpoint")
        return self

    @property
    def uses_checkpoint_tokenizer(self) -> bool:
        return self.checkpoint is not None and self.tokenizer != "own"


def _build(options: HuggingFaceOptions, inputs: ModelInputs) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    return _build_headed(AutoModelForSequenceClassification, options, inputs)


def _build_language_model(options: HuggingFaceOptions, inputs: ModelInputs) -> nn.Module:
    from transformers import AutoModelForMaskedLM

    if "[MASK]" not in inputs.special_ids:
        raise ConfigError("masked language modelling needs a tokenizer with a [MASK] token")
    return _build_headed(AutoModelForMaskedLM, options, inputs)


def _build_headed(auto_class: Any, options: HuggingFaceOptions, inputs: ModelInputs) -> nn.Module:
    refuse_specifiers("huggingface", inputs)
    config = network_config(options, inputs)
    try:
        if options.checkpoint is None:
            network = auto_class.from_config(config, trust_remote_code=False)
        else:
            network = _from_checkpoint(auto_class, options, config)
    except OSError as error:
        raise _unreachable(options.checkpoint, error) from None
    except LIBRARY_ERRORS as error:
        _refuse_own_code(options, error)
        head = auto_class.__name__.removeprefix("AutoModelFor")
        source = "" if options.checkpoint is None else f"checkpoint {options.checkpoint}: "
        raise ConfigError(
            f"{source}{config.model_type} cannot be built with the head {head}: {in_short(error)}"
        ) from error
    _check_positions(network, config, inputs.block_size)
    return WrappedNetwork(network, "right")


def _from_checkpoint(auto_class: Any, options: HuggingFaceOptions, config: Any) -> Any:
    """Load a checkpoint; only its head, and embeddings of another vocabulary, may stay fresh."""
    network, report = auto_class.from_pretrained(
        options.checkpoint,
        config=config,
        trust_remote_code=options.trust_remote_code,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    own_vocabulary = not options.uses_checkpoint_tokenizer
    for name, stored, wanted in report["mismatched_keys"]:
        if name.startswith(f"{network.base_model_prefix}.") and not (
            own_vocabulary and stored[0] != wanted[0] == config.vocab_size
        ):
            raise ConfigError(
                f"checkpoint {options.checkpoint} holds {name} of shape {list(stored)}, the "
                f"model's config asks for {list(wanted)}; leave the sizes to the checkpoint"
            )
    _tell_fresh(options.checkpoint, network, report["missing_keys"])
    if own_vocabulary:
        embeddings = network.get_input_embeddings().weight
        nn.init.normal_(embeddings, std=getattr(config, "initializer_range", 0.02))
    return network


def _tell_fresh(checkpoint: str | None, network: nn.Module, missing: Iterable[str]) -> None:
    """Warn of weights of the encoder that a checkpoint lacks; poolers are often left out."""
    prefix = f"{network.base_model_prefix}."
    lost = sorted(name for name in missing if name.startswith(prefix) and ".pooler." not in name)
    if lost:
        log.warning(
            "checkpoint %s lacks %d weights of the encoder, which begin fresh: %s%s",
            checkpoint,
            len(lost),
            ", ".join(lost[:3]),
            ", ..." if len(lost) > 3 else "",
        )


def network_config(options: HuggingFaceOptions, inputs: ModelInputs) -> Any:
    """Make the library's configuration for given options and inputs.

    Raises:
        ConfigError: No such checkpoint, architecture or setting, or a foreign vocabulary.
    """
    config = _read_config(options)
    ids = {name: inputs.special_ids.get(token) for name, token in NAMES_OF_IDS.items()}
    if options.uses_checkpoint_tokenizer:
        known = {name: value for name, value in ids.items() if value is not None}
        for name in ("pad_token_id", "mask_token_id"):
            stored = getattr(config, name, None)
            if stored is not None and name in known and known[name] != stored:
                raise ConfigError(
                    f"{name} is {stored} in checkpoint {options.checkpoint} and {known[name]} in "
                    "the tokenizer of this run; use the checkpoint's tokenizer, or set the "
                    "model's option tokenizer: own to learn new embeddings"
                )
        if config.vocab_size < inputs.vocabulary_size:
            raise ConfigError(
                f"checkpoint {options.checkpoint} knows {config.vocab_size} tokens, the tokenizer "
                f"of this run has {inputs.vocabulary_size}; use the checkpoint's own"
            )
        config.pad_token_id = inputs.pad_id
    else:
        config.vocab_size = inputs.vocabulary_size
        for name, value in ids.items():
            setattr(config, name, value)
    config.num_labels = inputs.num_outputs
    return config


def _read_config(options: HuggingFaceOptions) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    source = options.checkpoint or options.architecture
    try:
        if options.checkpoint is None:
            assert options.architecture is not None
            _check_keys(options.config, AutoConfig.for_model(options.architecture))
            return AutoConfig.for_model(options.architecture, **options.config)
        _check_local(options.checkpoint)
        trust = {"trust_remote_code": options.trust_remote_code}
        _check_keys(options.config, AutoConfig.from_pretrained(options.checkpoint, **trust))
        config = AutoConfig.from_pretrained(options.checkpoint, **options.config, **trust)
    except OSError as error:
        raise _unreachable(options.checkpoint, error) from None
    except (*LIBRARY_ERRORS, StrictDataclassError) as error:
        _refuse_own_code(options, error)
        raise ConfigError(f"model huggingface, {source}: {in_short(error)}") from error
    _refuse_kernels(options, config)
    return config


def _refuse_own_code(options: HuggingFaceOptions, error: Exception) -> None:
    """Say it in our words where the library stopped at Python files of a checkpoint."""
    if REMOTE_CODE in str(error) and not options.trust_remote_code:
        raise ConfigError(
            f"checkpoint {options.checkpoint} needs Python files of its own, which are not run: "
            f"they could do all that you can. If you trust them, set model.{REMOTE_CODE}: true"
        ) from None


def _refuse_kernels(options: HuggingFaceOptions, config: Any) -> None:
    """Stop where a checkpoint would have compiled code fetched, as `owner/name`, for attention."""
    asked = getattr(config, "_attn_implementation", None)
    if "/" in str(asked) and not options.trust_remote_code:
        raise ConfigError(
            f"checkpoint {options.checkpoint} asks for the attention of {asked}, which is code "
            f"from elsewhere; remove it from config.json, or set model.{REMOTE_CODE}: true"
        )


def _check_keys(given: dict[str, Any], config: Any) -> None:
    known = {*config.to_dict(), *config.attribute_map, *NAMES_OF_IDS}
    for key in given:
        if key not in known:
            hint = did_you_mean(key, sorted(known))
            raise ConfigError(
                f"model huggingface: {config.model_type} has no setting '{key}'{hint}"
            )


def _check_local(checkpoint: str) -> None:
    """Tell a mistyped path at once, before the hub is asked for it."""
    is_path = checkpoint.startswith((".", "/", "~")) or checkpoint.count("/") > 1
    if is_path and not Path(checkpoint).expanduser().is_dir():
        raise ConfigError(f"checkpoint {checkpoint}: there is no such folder")


def _unreachable(checkpoint: str | None, error: OSError) -> ConfigError:
    return ConfigError(
        f"checkpoint {checkpoint} is neither a folder with a model nor to be had from the "
        f"Hugging Face hub ({in_short(error)}); give the path of a downloaded checkpoint"
    )


def _check_positions(network: nn.Module, config: Any, block_size: int) -> None:
    """Refuse blocks longer than the positions a network was made for."""
    limit = getattr(config, "max_position_embeddings", None)
    for name, module in network.named_modules():
        if "position" in name.rpartition(".")[2] and isinstance(module, nn.Embedding):
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            limit = module.num_embeddings - reserved
    if limit is not None and block_size > limit:
        raise ConfigError(
            f"blocksize {block_size} is longer than the {limit} positions of {config.model_type}; "
            f"set blocksize to {limit} or less, or, for fresh weights, raise "
            "max_position_embeddings in the model's config"
        )


def _language_model_loss(
    module: nn.Module, batch: Batch, inputs: ModelInputs, generator: torch.Generator
) -> tuple[Tensor, int]:
    special = special_mask(batch, inputs).cpu()
    is_ordinary = torch.ones(inputs.vocabulary_size, dtype=torch.bool)
    is_ordinary[list(inputs.special_ids.values())] = False
    corrupted, labels = mask_tokens(
        batch.token_ids.cpu(),
        special,
        mask_id=inputs.special_ids["[MASK]"],
        ordinary_ids=torch.nonzero(is_ordinary)[:, 0],
        generator=generator,
    )
    device = batch.token_ids.device
    logits = module(corrupted.to(device), batch.lengths)
    loss = F.cross_entropy(
        logits.flatten(0, 1), labels.flatten().to(device), ignore_index=IGNORED, reduction="sum"
    )
    return loss, int((labels != IGNORED).sum())


def _saved_options(options: HuggingFaceOptions, module: nn.Module) -> dict[str, Any]:
    """Name architecture and sizes, so that the checkpoint is not needed again.

    It is where its architecture is Python code that lies with it.
    """
    assert isinstance(module, WrappedNetwork)
    config: Any = module.network.config
    sizes = json.loads(config.to_json_string(use_diff=True))
    dropped = ("architectures", "model_type", "transformers_version", "id2label", "label2id")
    known = {*type(config)().to_dict(), *NAMES_OF_IDS}
    kept = {key: value for key, value in sizes.items() if key in known and key not in dropped}
    if options.checkpoint is not None and not type(config).__module__.startswith("transformers."):
        return {**options.model_dump(), "config": kept}
    return {"architecture": config.model_type, "config": kept}


def _tokenizer_folder(options: HuggingFaceOptions) -> str | None:
    return options.checkpoint if options.uses_checkpoint_tokenizer else None


def _recipe(options: HuggingFaceOptions) -> Recipe:
    is_trained = options.checkpoint is not None
    return Recipe(
        learning_rate=2e-5 if is_trained else 1e-4,
        batch_size=16,
        num_epochs=3,
        weight_decay=0.01,
        gradient_clip=1.0,
        schedule="linear",
        warmup_share=0.1,
    )


SPEC = ModelSpec(
    name="huggingface",
    summary="A Hugging Face checkpoint or architecture (esm, bert, modernbert, roformer, ...).",
    options=HuggingFaceOptions,
    build=_build,
    recipe=_recipe,
    prefix=("[CLS]",),
    suffix=("[SEP]",),
    optional_specials=True,
    length_multiple=8,
    pretraining=Pretraining(build=_build_language_model, loss=_language_model_loss),
    load_pretrained=take_wrapped,
    saved_options=_saved_options,
    tokenizer_folder=_tokenizer_folder,
    encoder_groups=transformer_groups,
    takes_adapters=True,
    shortcut=bert_shortcut,
    starts_trained=lambda options: options.uses_checkpoint_tokenizer,
)
