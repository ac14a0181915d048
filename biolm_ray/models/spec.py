"""What a model tells the core about itself."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from biolm_ray.config.schema import Section
from biolm_ray.models.local_stack import LocalStack
from biolm_ray.models.weights import take_matching


class ModelInputs(Section):
    """The sizes a model is built for; they travel with its weights."""

    vocabulary_size: int
    special_ids: dict[str, int]
    num_specifiers: int = 0
    num_outputs: int = 1
    block_size: int

    @property
    def pad_id(self) -> int:
        return self.special_ids["[PAD]"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sequences of one forward pass, padded to a common length."""

    token_ids: Int[Tensor, "batch length"]
    lengths: Int[Tensor, " batch"]
    specifiers: Float[Tensor, "batch length channels"] | None = None

    def to(self, device: torch.device | str) -> "Batch":
        return self._changed(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """Copy into memory from which a GPU can fetch while it computes."""
        return self._changed(lambda tensor: tensor.pin_memory())

    def part(self, start: int, stop: int) -> "Batch":
        """Give some of the sequences, padded as they are."""
        return self._changed(lambda tensor: tensor[start:stop])

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(
            token_ids=change(self.token_ids),
            lengths=change(self.lengths),
            specifiers=None if self.specifiers is None else change(self.specifiers),
        )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The training settings a model learns well with; the configuration can override each.

    Attributes:
        patience: Epochs without a better validation score before training ends; None trains all
            epochs, as a learning rate that falls to 0 needs.
    """

    learning_rate: float
    batch_size: int = 16
    num_epochs: int = 2
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    gradient_clip: float | None = None
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_share: float = 0.0
    stop_metric: str = "loss"
    patience: int | None = 3


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """How a model learns from sequences without labels.

    `loss(module, batch, inputs, generator)` corrupts the batch with the generator, runs the
    module's own forward (so that it also works inside a distributed wrapper) and returns the
    summed cross entropy in nats and the number of predicted tokens.
    """

    build: Callable[[Any, ModelInputs], nn.Module]
    loss: Callable[[nn.Module, Batch, ModelInputs, torch.Generator], tuple[Tensor, int]]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model: its options, how it is built, fed and trained.

    The module that `build` returns has `forward(token_ids, lengths, specifiers=None)` and
    returns `(batch, outputs)`. Its result must not depend on the padding of the batch.

    Attributes:
        name: As written in `model: {name: ...}`.
        summary: One sentence for the help text.
        options: A `Section` with the model's own settings and their defaults.
        build: Makes the module with fresh weights.
        recipe: The training settings for given options.
        prefix: Special tokens put before every sequence, by canonical name such as "[CLS]".
        suffix: Special tokens put after it.
        optional_specials: Whether prefix and suffix tokens that the tokenizer lacks are left out
            instead of refused.
        padding_side: The side that is filled with [PAD].
        length_multiple: Batches are padded to a multiple of so many tokens, as far as the block
            size allows; fast kernels want 8.
        length_buckets: Whether the rows of a training batch are of similar length, which saves
            padding. Batch normalization must see all lengths together.
        min_length: Fewest tokens (special ones included) a block can hold for given options.
        pretraining: None when the model has no language-model objective.
        load_pretrained: Takes over weights of another head or of a pre-training run; returns
            the names that stay fresh.
        saved_options: The options that go into a model's folder; they must rebuild the module
            without any other file.
        tokenizer_folder: Folder or hub id of a tokenizer that belongs to a checkpoint, or None
            when the experiment's own tokenizer is used.
        encoder_groups: Lists the parameters of the encoder in groups, from the input to the
            output, so that parts of it can be kept as they are; what is in no group is the head.
            None when a model can only be trained as a whole.
        takes_adapters: Whether the encoder has `nn.Linear` layers for low-rank adapters.
        starts_trained: Whether `build` fills the encoder with trained weights, for given options.
        local_stack: Describes a built module in evaluation mode as a stack of local layers, so
            that leave-one-out scores need not run all of it for every token; None where it is not
            one. The description must use the module's own weights, whatever their type and device.
        shortcut: A context in which passes over whole sequences, none of them padded, compute once
            what the sequences share and leave out what no output depends on; None where a model
            has none.
    """

    name: str
    summary: str
    options: type[Section]
    build: Callable[[Any, ModelInputs], nn.Module]
    recipe: Callable[[Any], Recipe]
    prefix: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()
    optional_specials: bool = False
    padding_side: Literal["left", "right"] = "right"
    length_multiple: int = 1
    length_buckets: bool = True
    min_length: Callable[[Any], int] = lambda options: 1
    pretraining: Pretraining | None = None
    load_pretrained: Callable[[nn.Module, dict[str, Tensor]], list[str]] = take_matching
    saved_options: Callable[[Any, nn.Module], dict[str, Any]] = lambda options, module: (
        options.model_dump(mode="json")
    )
    tokenizer_folder: Callable[[Any], str | None] = lambda options: None
    encoder_groups: Callable[[nn.Module], list[list[nn.Parameter]]] | None = None
    takes_adapters: bool = False
    starts_trained: Callable[[Any], bool] = lambda options: False
    local_stack: Callable[[nn.Module], LocalStack | None] = lambda module: None
    shortcut: Callable[[nn.Module], AbstractContextManager[None] | None] = lambda module: None
