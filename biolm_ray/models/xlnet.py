"""XLNet, with permutation language modelling as its pre-training."""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from biolm_ray.config.schema import Section
from biolm_ray.models.corruption import IGNORED, choose_spans, permutation_inputs
from biolm_ray.models.spec import Batch, ModelInputs, ModelSpec, Pretraining, Recipe
from biolm_ray.models.wrapping import (
    WrappedNetwork,
    refuse_specifiers,
    special_mask,
    take_wrapped,
    transformer_groups,
)


class XLNetOptions(Section):
    """XLNet's size; the defaults are those of the base model."""

    d_model: PositiveInt = 768
    n_layer: PositiveInt = 12
    n_head: PositiveInt = 12
    d_inner: PositiveInt = 3072
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "XLNetOptions":
        if self.d_model % self.n_head:
            raise ValueError(f"d_model {self.d_model} must be a multiple of n_head {self.n_head}")
        return self


class _XLNet(WrappedNetwork):
    def forward(self, *args: Any, **more: Any) -> Tensor:
        """Keep no memory of earlier segments; it would only cost."""
        return super().forward(*args, use_mems=False, **more)


def _config(options: XLNetOptions, inputs: ModelInputs) -> Any:
    from transformers import XLNetConfig

    refuse_specifiers("xlnet", inputs)
    special_ids = inputs.special_ids
    config = XLNetConfig(
        vocab_size=inputs.vocabulary_size,
        **options.model_dump(),
        summary_last_dropout=options.dropout,
        pad_token_id=inputs.pad_id,
        bos_token_id=special_ids.get("[BOS]"),
        eos_token_id=special_ids.get("[EOS]"),
        mem_len=None,
    )
    config.num_labels = inputs.num_outputs
    return config


def _build(options: XLNetOptions, inputs: ModelInputs) -> nn.Module:
    from transformers import XLNetForSequenceClassification

    return _XLNet(XLNetForSequenceClassification(_config(options, inputs)), "left")


def _build_language_model(options: XLNetOptions, inputs: ModelInputs) -> nn.Module:
    from transformers import XLNetLMHeadModel

    return _XLNet(XLNetLMHeadModel(_config(options, inputs)), "left")


def _language_model_loss(
    module: nn.Module, batch: Batch, inputs: ModelInputs, generator: torch.Generator
) -> tuple[Tensor, int]:
    """Guess spans of a sixth of the tokens, in a random order, each from those before it."""
    device = batch.token_ids.device
    chosen = choose_spans(special_mask(batch, inputs).cpu(), generator)
    hidden, mapping = permutation_inputs(chosen, generator)
    logits = module(
        batch.token_ids,
        batch.lengths,
        perm_mask=hidden.to(device),
        target_mapping=mapping.to(device),
    )
    labels = torch.full(mapping.shape[:2], IGNORED)
    used = mapping.any(dim=2)
    labels[used] = batch.token_ids.cpu()[chosen]
    loss = F.cross_entropy(
        logits.flatten(0, 1), labels.flatten().to(device), ignore_index=IGNORED, reduction="sum"
    )
    return loss, int(used.sum())


def _recipe(options: XLNetOptions) -> Recipe:
    return Recipe(learning_rate=1e-5, batch_size=16, gradient_clip=1.0)


SPEC = ModelSpec(
    name="xlnet",
    summary="A transformer that attends both ways; pre-trained on sequences without labels.",
    options=XLNetOptions,
    build=_build,
    recipe=_recipe,
    prefix=("[CLS]",),
    suffix=("[SEP]",),
    padding_side="left",
    length_multiple=8,
    pretraining=Pretraining(build=_build_language_model, loss=_language_model_loss),
    load_pretrained=take_wrapped,
    encoder_groups=transformer_groups,
    takes_adapters=True,
)
