"""Training a part of a model: its head alone, layer after layer, or adapters beside its layers."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from biolm_ray.config.schema import TrainingConfig
from biolm_ray.errors import ConfigError
from biolm_ray.models.spec import ModelSpec

Groups = list[list[nn.Parameter]]


@dataclass(frozen=True)
class Adaptation:
    """How a training is kept to a part of its module.

    Attributes:
        prepare: Called before each epoch with the module and the epoch's number, from 0.
        finish: Called after training; the module is then an ordinary one of its model.
    """

    prepare: Callable[[nn.Module, int], None] = lambda module, epoch: None
    finish: Callable[[], object] = lambda: None


def check_adaptation(
    training: TrainingConfig, spec: ModelSpec, options: Any, *, has_weights: bool
) -> None:
    """Refuse to keep an encoder as it is where that cannot be done or makes no sense.

    Args:
        training: Says what is to be kept.
        spec: The model's.
        options: The model's own settings.
        has_weights: Whether training starts from earlier weights.

    Raises:
        ConfigError: The model has no encoder to keep or no place for adapters, its weights are
            fresh, or the package for adapters is missing.
    """
    setting = _setting(training)
    if setting is None:
        return
    if spec.encoder_groups is None:
        raise ConfigError(
            f"{setting}: model {spec.name} does not tell its encoder from its head; leave the "
            "setting out, or give its ModelSpec encoder_groups"
        )
    if training.lora_rank is not None and not spec.takes_adapters:
        raise ConfigError(
            f"{setting}: the encoder of model {spec.name} has no layers that take adapters; "
            "use training.freeze, or model xlnet or huggingface"
        )
    if not has_weights and not spec.starts_trained(options):
        raise ConfigError(
            f"{setting}: the encoder, or its embeddings, would keep random weights, since nothing "
            "has trained them; pre-train, set pretrainedmodel or a checkpoint with its own "
            "tokenizer, or leave the setting out"
        )
    if training.lora_rank is not None and find_spec("peft") is None:
        raise ConfigError(
            f"{setting}: adapters need one more package: pip install 'biolm-ray[lora]'"
        )


def adapt(module: nn.Module, spec: ModelSpec, training: TrainingConfig, seed: int) -> Adaptation:
    """Keep training to the part of a module that the settings name; see `check_adaptation`.

    Args:
        module: Has the weights it starts from, and gets adapters where they are asked for.
        spec: The model's.
        training: Says what is trained.
        seed: Seed of the adapters' first weights.
    """
    if _setting(training) is None:
        return Adaptation()
    assert spec.encoder_groups is not None, "the settings are checked for this"
    groups = [[p for p in group if p.requires_grad] for group in spec.encoder_groups(module)]
    if training.lora_rank is None:
        is_gradual = training.freeze == "gradual"
        return Adaptation(prepare=lambda _, epoch: thaw(groups, epoch if is_gradual else 0))
    alpha = training.lora_alpha or 2 * training.lora_rank
    merge = add_adapters(module, groups, rank=training.lora_rank, alpha=alpha, seed=seed)
    return Adaptation(finish=merge)


def thaw(groups: Groups, num_thawed: int) -> None:
    """Train the last so many groups of an encoder, those next to the head, and freeze the others.

    One more with every epoch is the gradual unfreezing of Howard and Ruder (2018).
    """
    for place, group in enumerate(groups):
        for parameter in group:
            parameter.requires_grad_(place >= len(groups) - num_thawed)


def add_adapters(
    module: nn.Module, groups: Groups, *, rank: int, alpha: int, seed: int
) -> Callable[[], object]:
    """Freeze an encoder and put low-rank adapters beside its linear layers (Hu et al. 2021).

    Their outputs are 0 at first. The head is trained as ever.

    Returns:
        A function that adds the adapters to the weights and takes them away; the outputs stay.

    Raises:
        ConfigError: The encoder has no linear layers.
    """
    from peft import LoraConfig, LoraModel

    encoder = {id(parameter) for group in groups for parameter in group}
    head = [p for p in module.parameters() if p.requires_grad and id(p) not in encoder]
    targets = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and id(layer.weight) in encoder
    ]
    if not targets:
        raise ConfigError(
            "training.lora_rank: the encoder has no linear layers that take adapters; "
            "use training.freeze"
        )
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)
    adapted: Any = LoraModel(module, config, "default")
    for parameter in head:
        parameter.requires_grad_(True)
    return adapted.merge_and_unload


def _setting(training: TrainingConfig) -> str | None:
    """Name the setting that keeps the encoder as it is, with its value; None if none does."""
    if training.lora_rank is not None:
        return f"training.lora_rank {training.lora_rank}"
    return None if training.freeze == "none" else f"training.freeze {training.freeze}"
