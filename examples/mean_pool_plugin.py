"""A model of your own: token embeddings, their mean over the sequence, two linear layers.

Train it with `--plugin examples/mean_pool_plugin.py --model mean_pool`.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from biolm_ray.config.schema import Section
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
        rows = self.embedding(token_ids)
        if specifiers is not None:
            rows = torch.cat([rows, specifiers.to(rows.dtype)], dim=2)
        motifs = self.motifs((rows * inside).transpose(1, 2)).transpose(1, 2)
        means = (torch.relu(motifs) * inside).sum(dim=1) / lengths[:, None]
        return self.head(means)


SPEC = ModelSpec(
    name="mean_pool",
    summary="The mean of short motifs over the sequence.",
    options=Options,
    build=MeanPool,
    recipe=lambda options: Recipe(
        learning_rate=3e-3, batch_size=32, num_epochs=5, gradient_clip=1.0, schedule="cosine"
    ),
)
