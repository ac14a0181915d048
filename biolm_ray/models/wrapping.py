"""Networks of the transformers library behind this system's forward contract."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from biolm_ray.errors import ConfigError
from biolm_ray.models.spec import Batch, ModelInputs
from biolm_ray.models.weights import take_encoder


class WrappedNetwork(nn.Module):
    """A network with a sequence head or a language-model head; returns its logits."""

    def __init__(self, network: nn.Module, padding_side: Literal["left", "right"]) -> None:
        super().__init__()
        self.network = network
        self.padding_side = padding_side

    def forward(
        self,
        token_ids: Int[Tensor, "batch length"],
        lengths: Int[Tensor, " batch"],
        specifiers: Float[Tensor, "batch length channels"] | None = None,
        **more: Any,
    ) -> Tensor:
        """Give (batch, outputs) of a sequence head, (batch, length, vocabulary) of the other."""
        assert specifiers is None, "refused when the model was built"
        mask = self._attention_mask(token_ids.shape[1], lengths)
        return self.network(input_ids=token_ids, attention_mask=mask, **more).logits

    def _attention_mask(
        self, length: int, lengths: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch length"] | None:
        """Mark the tokens; None when nothing is padded, which attends faster."""
        if bool((lengths == length).all()):
            return None
        positions = torch.arange(length, device=lengths.device)
        if self.padding_side == "left":
            return (positions >= length - lengths[:, None]).long()
        return (positions < lengths[:, None]).long()


def take_wrapped(module: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """Take over the encoder, and the head where it fits, of earlier weights."""
    assert isinstance(module, WrappedNetwork)
    base = module.network.base_model_prefix
    assert isinstance(base, str)
    return take_encoder(module.network, base, weights)


def transformer_groups(module: nn.Module) -> list[list[nn.Parameter]]:
    """Group the encoder of a wrapped network: its embeddings, then each of its layers.

    What stands between the layers or after them, such as a last normalization, goes with the
    layer before it. A pooler counts to the head: pre-training on tokens leaves it fresh.
    """
    assert isinstance(module, WrappedNetwork)
    network: Any = module.network
    encoder: nn.Module = network.base_model
    layer_names = _layer_names(encoder)
    groups: dict[str, list[nn.Parameter]] = {"": []}
    for name, parameter in encoder.named_parameters():
        if name.startswith("pooler."):
            continue
        layer = next((found for found in layer_names if name.startswith(f"{found}.")), None)
        groups.setdefault(layer or next(reversed(groups)), []).append(parameter)
    return [group for group in groups.values() if group]


def _layer_names(encoder: nn.Module) -> list[str]:
    """Name the members of the outermost lists of modules, such as "encoder.layer.0"."""
    names: list[str] = []
    for name, part in encoder.named_modules():
        if isinstance(part, nn.ModuleList) and not name.startswith(tuple(f"{n}." for n in names)):
            names += [f"{name}.{index}" for index in range(len(part))]
    return names


def refuse_specifiers(name: str, inputs: ModelInputs) -> None:
    """Stop where tokens carry numbers that a model has no input for.

    Raises:
        ConfigError: They do.
    """
    if inputs.num_specifiers:
        raise ConfigError(
            f"model {name} takes no specifier values, but tokens carry {inputs.num_specifiers}; "
            "use saluki, or leave specifiersep unset and strip them from the file"
        )


def special_mask(batch: Batch, inputs: ModelInputs) -> Tensor:
    """Mark tokens that are not to be predicted: special ones and padding."""
    special_ids = torch.tensor(list(inputs.special_ids.values()), device=batch.token_ids.device)
    return torch.isin(batch.token_ids, special_ids)
