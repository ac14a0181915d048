"""Small models that describe themselves as stacks of local layers, rightly or not."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.models.batches import Framing
from biolm_ray.models.local_stack import LocalBlock, LocalStack, PooledTail
from biolm_ray.models.saluki import SPEC, SalukiOptions
from biolm_ray.models.spec import ModelInputs

SPECIAL_IDS = {"[UNK]": 0, "[PAD]": 1, "[MASK]": 2}
BLOCK = 53
VARIANTS = [
    {"variant": variant, "padding": padding}
    for variant in ("default", "reference")
    for padding in ("none", "blocksize")
]


def saved(module: nn.Module, spec: Any, *, block: int = BLOCK, specifiers: int = 0) -> Any:
    inputs = ModelInputs(
        vocabulary_size=7, special_ids=SPECIAL_IDS, block_size=block, num_specifiers=specifiers
    )
    targets = Targets(task="regression", scaler=Scaler(kind="none"))
    return SimpleNamespace(
        module=module.double().eval(),
        spec=spec,
        card=SimpleNamespace(inputs=inputs, targets=targets),
        framing=Framing(pad_id=1, block_size=block),
    )


def make_saluki(options: dict[str, Any], *, specifiers: int = 0, columns: int = 7) -> Any:
    torch.manual_seed(1)
    inputs = ModelInputs(
        vocabulary_size=columns,
        special_ids=SPECIAL_IDS,
        block_size=BLOCK,
        num_specifiers=specifiers,
    )
    module = SPEC.build(SalukiOptions(channels=6, num_layers=3, **options), inputs)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.normal_(part.running_mean)  # type: ignore[arg-type]
        if isinstance(part, nn.LayerNorm):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return saved(module, SPEC, specifiers=specifiers)


class Convolved(nn.Module):
    """Two channels of a convolution, normed as told, and their mean."""

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 2)
        self.layer = nn.Conv1d(2, 2, 3, padding=1)
        self.norm = norm or nn.Identity()

    def run(self, rows: Tensor) -> Tensor:
        return self.norm(self.layer(rows.transpose(1, 2))).transpose(1, 2)

    def forward(self, token_ids: Tensor, lengths: Tensor, specifiers: Tensor | None = None):
        present = torch.arange(token_ids.shape[1]) < lengths[:, None]
        rows = self.run(self.embedding(token_ids) * present[..., None]) * present[..., None]
        return rows.sum((1, 2))[:, None] / lengths[:, None]

    def valid(self, rows: Tensor) -> Tensor:
        """The same layers without padding."""
        return self.run(rows)[:, 1:-1]


def describe(module: nn.Module, *, kernel: int = 3) -> LocalStack:
    assert isinstance(module, Convolved)
    return LocalStack(
        read=lambda ids, specifiers: module.embedding(ids),
        outside=module.embedding.weight.new_zeros(2),
        blocks=(LocalBlock(run=module.valid, kernel=kernel, left=1, count=lambda n: n),),
        tail=PooledTail(kind="mean", head=lambda means: means.sum(1, keepdim=True)),
    )


def spec_of(stack: Any) -> Any:
    return SimpleNamespace(name="own", local_stack=stack, shortcut=lambda module: None)
