"""A model described as another stack of layers than it is, is never taken at its word."""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from described import saved, spec_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from biolm_ray.inference.self_check import find_problem, receptive_field
from biolm_ray.models.local_stack import LocalBlock, LocalStack, PooledTail, gru_tail

CHANNELS, LONGEST_KERNEL = 3, 6
SHAPES = [(1, 0), (1, 1), (0, 1)]


@dataclass(frozen=True)
class Layer:
    """A dilated convolution between zeros."""

    kernel: int
    dilation: int
    stride: int
    left: int
    right: int

    @property
    def span(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    def count(self, num_rows: int) -> int:
        return (num_rows + self.left + self.right - self.span) // self.stride + 1


class Dilated(nn.Module):
    """Dilated convolutions and a sum, a mean or a recurrence over the rows of the last."""

    def __init__(self, layers: list[Layer], tail: str) -> None:
        super().__init__()
        self.layers, self.kind = layers, tail
        self.embedding = nn.Embedding(7, CHANNELS)
        shape = (len(layers), CHANNELS, CHANNELS, LONGEST_KERNEL)
        self.weights = nn.Parameter(torch.randn(shape) / CHANNELS)
        self.gru = nn.GRU(CHANNELS, CHANNELS, batch_first=True)
        self.head = nn.Linear(CHANNELS, 1)

    def layer(self, layer: Layer, index: int, rows: Tensor) -> Tensor:
        weight = self.weights[index, :, :, : layer.kernel]
        found = F.conv1d(rows.transpose(1, 2), weight, stride=layer.stride, dilation=layer.dilation)
        return torch.tanh(found).transpose(1, 2)

    def forward(self, token_ids: Tensor, lengths: Tensor, specifiers: Tensor | None = None):
        rows = self.embedding(token_ids)
        for index, layer in enumerate(self.layers):
            if rows.shape[1] + layer.left + layer.right < layer.span:
                return rows.new_zeros(len(rows), 1)
            rows = self.layer(layer, index, F.pad(rows, (0, 0, layer.left, layer.right)))
        if self.kind == "gru":
            return self.head(self.gru(rows)[0][:, -1])
        return self.head(rows.sum(1) if self.kind == "sum" else rows.mean(1))

    def describe(self, layers: list[Layer]) -> LocalStack:
        tail = (
            gru_tail(self.gru, self.head)
            if self.kind == "gru"
            else PooledTail(kind=self.kind, head=self.head)  # type: ignore[arg-type]
        )
        blocks = [
            LocalBlock(
                run=lambda rows, layer=layer, index=index: self.layer(layer, index, rows),
                kernel=layer.span,
                stride=layer.stride,
                left=layer.left,
                count=layer.count,
            )
            for index, layer in enumerate(layers)
        ]
        return LocalStack(
            read=lambda ids, specifiers: self.embedding(ids),
            outside=self.embedding.weight.new_zeros(CHANNELS),
            blocks=tuple(blocks),
            tail=tail,
        )


def problem(module: Dilated, layers: list[Layer], block: int, shape=(1, 0)) -> str | None:
    spec = spec_of(lambda built: built.describe(layers))
    return find_problem(saved(module, spec, block=block), shape)


@st.composite
def networks(draw: st.DrawFn, tails: tuple[str, ...] = ("sum", "mean", "gru")) -> Dilated:
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        kernel = draw(st.integers(2, LONGEST_KERNEL - 1))
        dilation = draw(st.sampled_from([1, 1, 2, 3, 5, 8, 21, 40]))
        span = (kernel - 1) * dilation
        left = draw(st.sampled_from([0, span // 2, span]))
        stride = draw(st.sampled_from([1, 1, 1, 2, 3]))
        layers.append(Layer(kernel, dilation, stride, left, span - left))
    torch.manual_seed(draw(st.integers(0, 1000)))
    return Dilated(layers, draw(st.sampled_from(tails)))


def changed(layer: Layer, what: str, by: int) -> Layer:
    """The layer with one of its numbers off; its rows stay as many where that can be."""
    other = replace(layer, **{what: getattr(layer, what) + by})
    return replace(other, right=other.right + other.span - layer.span + layer.left - other.left)


@settings(max_examples=40, deadline=None)
@given(networks(), st.sampled_from([53, 599, 5_000]), st.sampled_from(SHAPES))
def test_right_descriptions_are_taken(module: Dilated, block: int, shape: tuple[int, int]) -> None:
    assert problem(module, module.layers, block, shape) is None


@settings(max_examples=150, deadline=None)
@given(
    # A recurrence may forget what is wrong; then the description is right for it.
    networks(tails=("sum", "mean")),
    st.sampled_from(["kernel", "dilation", "stride", "left"]),
    st.sampled_from([-1, 1]),
    st.sampled_from(SHAPES),
    st.data(),
)
def test_a_number_that_is_off_by_one_is_found(
    module: Dilated, what: str, by: int, shape: tuple[int, int], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(module.layers) - 1))
    layer = module.layers[index]
    if getattr(layer, what) + by < (0 if what == "left" else 1):
        by = 1
    layers = list(module.layers)
    layers[index] = changed(layer, what, by)
    assert problem(module, layers, 5_000, shape) is not None


@pytest.mark.parametrize("tail", ["sum", "mean", "gru"])
def test_half_of_the_last_dilation_is_found(tail) -> None:
    torch.manual_seed(0)
    layers = [Layer(3, 2**depth, 1, 2**depth, 2**depth) for depth in range(7)]
    module = Dilated(layers, tail)
    for block in (53, 599, 601, 5_000):
        assert problem(module, layers, block) is None
    half = replace(layers[-1], dilation=32, left=32, right=32)
    for block in (300, 599, 601, 5_000):
        assert problem(module, [*layers[:-1], half], block) is not None


def test_the_receptive_field_is_that_of_all_layers_together() -> None:
    layers = [Layer(3, 4, 2, 0, 0), Layer(5, 1, 1, 0, 0), Layer(2, 1, 3, 0, 0)]
    stack = Dilated(layers, "sum").describe(layers)
    assert receptive_field(stack) == 9 + 2 * 4 + 2 * 1
