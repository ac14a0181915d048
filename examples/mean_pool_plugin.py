"""A model of your own: motifs over token embeddings, their mean over the sequence, two layers.

Train it with `--plugin examples/mean_pool_plugin.py --model mean_pool`.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from biolm_ray.config.schema import Section
from biolm_ray.models.local_stack import (
    Convolution,
    LocalStack,
    PooledTail,
    convolution_block,
    matrix_products,
)
from biolm_ray.models.spec import ModelInputs, ModelSpec, Recipe


class Options(Section):
    """What can be set below `model:` in a configuration."""

    width: PositiveInt = 32
    kernel: PositiveInt = 5


class MeanPool(nn.Module):
    def __init__(self, options: Options, inputs: ModelInputs) -> None:
        super().__init__()
        self.embedding = nn.Embedding(inputs.vocabulary_size, options.width)
        channels = options.width + inputs.num_specifiers
        self.motifs = nn.Conv1d(channels, options.width, options.kernel, padding="same")
        self.head = nn.Sequential(
            nn.Linear(options.width, options.width),
            nn.GELU(),
            nn.Linear(options.width, inputs.num_outputs),
        )

    def forward(
        self, token_ids: Tensor, lengths: Tensor, specifiers: Tensor | None = None
    ) -> Tensor:
        """Predict from (batch, length) ids; what lies beyond a row's length must not count."""
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)
        inside = (positions < lengths[:, None])[..., None]
        rows = self.rows(token_ids, specifiers)
        motifs = self.motifs((rows * inside).transpose(1, 2)).transpose(1, 2)
        means = (torch.relu(motifs) * inside).sum(dim=1) / lengths[:, None]
        return self.head(means)

    def rows(self, token_ids: Tensor, specifiers: Tensor | None) -> Tensor:
        """Embed tokens, each on its own."""
        rows = self.embedding(token_ids)
        if specifiers is None:
            return rows
        return torch.cat([rows, specifiers.to(rows.dtype)], dim=-1)


def local_stack(module: nn.Module) -> LocalStack:
    """Tell which rows the layers read, so that leave-one-out scores need few of them.

    This may be left out; then every score takes a pass over the whole sequence.
    """
    assert isinstance(module, MeanPool)
    assert module.motifs.bias is not None
    weight = module.motifs.weight.permute(2, 1, 0)
    motifs = Convolution(
        products=matrix_products(weight),
        taps=len(weight),
        bias=module.motifs.bias,
        weight=weight,
        pointwise=torch.relu,
    )
    return LocalStack(
        read=module.rows,
        outside=weight.new_zeros(weight.shape[1]),
        blocks=(convolution_block(motifs, left=(len(weight) - 1) // 2, count=lambda n: n),),
        tail=PooledTail(kind="mean", head=module.head),
    )


SPEC = ModelSpec(
    name="mean_pool",
    summary="The mean of short motifs over the sequence.",
    options=Options,
    build=MeanPool,
    recipe=lambda options: Recipe(
        learning_rate=3e-3, batch_size=32, num_epochs=5, gradient_clip=1.0, schedule="cosine"
    ),
    local_stack=local_stack,
)
