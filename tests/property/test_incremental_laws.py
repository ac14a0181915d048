"""Outputs from a few rows of every layer are those of full passes, for stacks of any shape."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from biolm_ray.inference.incremental import run_incrementally
from biolm_ray.inference.perturb import Edits, Source, build_variants
from biolm_ray.models.batches import Framing
from biolm_ray.models.local_stack import (
    Convolution,
    LocalBlock,
    LocalStack,
    PooledTail,
    RecurrentTail,
    Tail,
    WholeTail,
    convolution_block,
    gru_tail,
    matrix_products,
)

NUM_TOKENS, CHANNELS, SPECIFIERS = 5, 3, 2
TAILS = ("gru", "backward gru", "lstm", "mean", "sum", "max", "flat", "attention")


@dataclass(frozen=True)
class Shape:
    """A layer: convolution or pooling, its kernel, stride and pads; pooling after a convolution.

    A convolution is described as a whole, or taken apart, with matrices for its taps or without.
    """

    kernel: int
    stride: int
    left: int
    right: int
    pool: int
    apart: Literal["no", "products", "matrices"]

    def count(self, num_rows: int) -> int:
        rows = (num_rows + self.left + self.right - self.kernel) // self.stride + 1
        return rows // self.pool


class RandomStack(nn.Module):
    """Convolutions, the rows beyond each one's end being zeros, and a tail; one sequence a time."""

    def __init__(self, shapes: list[Shape], tail: str, num_filled: int, num_tokens: int) -> None:
        super().__init__()
        self.shapes, self.kind, self.num_filled = shapes, tail, num_filled
        self.embedding = nn.Embedding(NUM_TOKENS, CHANNELS)
        widths = [CHANNELS + SPECIFIERS, *[CHANNELS] * len(shapes)]
        self.layers = nn.ModuleList(
            nn.Conv1d(width, CHANNELS, shape.kernel, stride=shape.stride)
            for width, shape in zip(widths, shapes, strict=False)
        )
        self.norm = nn.LayerNorm(CHANNELS)
        self.gru = nn.GRU(CHANNELS, CHANNELS, batch_first=True)
        self.lstm = nn.LSTM(CHANNELS, CHANNELS, batch_first=True)
        self.attention = nn.MultiheadAttention(CHANNELS, 1, batch_first=True)
        self.places = nn.Parameter(torch.randn(400, CHANNELS))
        self.head = nn.Linear(CHANNELS, 2)

    def after(self, rows: Tensor) -> Tensor:
        """What follows a convolution, row by row."""
        return torch.tanh(self.norm(rows))

    def read(self, ids: Tensor, specifiers: Tensor | None) -> Tensor:
        assert specifiers is not None
        return torch.cat([self.embedding(ids), specifiers.double()], dim=-1)

    def forward(self, ids: Tensor, specifiers: Tensor) -> Tensor:
        rows = F.pad(self.read(ids, specifiers)[None], (0, 0, 0, self.num_filled))
        for shape, layer in zip(self.shapes, self.layers, strict=True):
            padded = F.pad(rows, (0, 0, shape.left, shape.right)).transpose(1, 2)
            rows = self.after(layer(padded).transpose(1, 2))
            if shape.pool > 1:
                rows = F.max_pool1d(rows.transpose(1, 2), shape.pool).transpose(1, 2)
        return self.tail(rows)[0]

    def tail(self, rows: Tensor) -> Tensor:
        if self.kind == "gru":
            return self.head(self.gru(rows)[0][:, -1])
        if self.kind == "backward gru":
            return self.head(self.gru(rows.flip(1))[0][:, -1])
        if self.kind == "lstm":
            return self.head(self.lstm(rows)[0][:, -1])
        if self.kind == "attention":
            return self.head(self.attention(rows, rows, rows)[0][:, 0])
        if self.kind == "flat":
            return self.head((rows * self.places[: rows.shape[1]]).sum(1))
        pooled: dict[str, Callable[[Tensor], Tensor]] = {
            "mean": lambda rows: rows.mean(1),
            "sum": lambda rows: rows.sum(1),
            "max": lambda rows: rows.amax(1),
        }
        return self.head(pooled[self.kind](rows))

    def describe(self) -> LocalStack:
        def blocks() -> list[LocalBlock]:
            pairs = zip(self.shapes, self.layers, strict=True)
            return [block for shape, layer in pairs for block in self._blocks(shape, layer)]

        return LocalStack(
            read=self.read,
            outside=torch.zeros(CHANNELS + SPECIFIERS, dtype=torch.float64),
            blocks=tuple(blocks()),
            tail=self._tail(),
            filled=self.num_filled > 0,
            num_rows=self._num_rows if self.num_filled else None,
        )

    def _num_rows(self, num_tokens: int) -> int:
        rows = num_tokens + self.num_filled
        for shape in self.shapes:
            rows = shape.count(rows)
        return rows

    def _blocks(self, shape: Shape, layer: nn.Module) -> list[LocalBlock]:
        assert isinstance(layer, nn.Conv1d)
        if shape.apart != "no" and shape.stride == 1:
            weight = layer.weight.permute(2, 1, 0)
            assert layer.bias is not None
            convolution = Convolution(
                products=matrix_products(weight),
                taps=shape.kernel,
                bias=layer.bias,
                weight=weight if shape.apart == "matrices" else None,
                pointwise=self.after,
                pool=shape.pool,
            )
            return [convolution_block(convolution, left=shape.left, count=shape.count)]

        def convolve(rows: Tensor) -> Tensor:
            return self.after(layer(rows.transpose(1, 2)).transpose(1, 2))

        def pool(rows: Tensor) -> Tensor:
            return F.max_pool1d(rows.transpose(1, 2), shape.pool).transpose(1, 2)

        return [
            LocalBlock(
                run=convolve,
                kernel=shape.kernel,
                stride=shape.stride,
                left=shape.left,
                count=lambda n: (n + shape.left + shape.right - shape.kernel) // shape.stride + 1,
            ),
            LocalBlock(
                run=pool, kernel=shape.pool, stride=shape.pool, count=lambda n: n // shape.pool
            ),
        ]

    def _tail(self) -> Tail:
        if self.kind in ("gru", "backward gru"):
            return gru_tail(self.gru, self.head, backward=self.kind == "backward gru")
        if self.kind == "lstm":
            return RecurrentTail(
                project=lambda rows: rows,
                step=self._lstm_step,
                start=lambda num_rows: torch.zeros(2 * CHANNELS, dtype=torch.float64),
                head=lambda states: self.head(states[:, :CHANNELS]),
            )
        if self.kind in ("attention", "flat"):
            return WholeTail(run=self.tail)
        return PooledTail(kind=self.kind, head=self.head)  # type: ignore[arg-type]

    def _lstm_step(self, inputs: Tensor, states: Tensor) -> Tensor:
        hidden, cell = states[None, :, :CHANNELS], states[None, :, CHANNELS:]
        rows = inputs.expand(len(states), -1)[:, None]
        _, after = self.lstm(rows, (hidden.contiguous(), cell.contiguous()))
        return torch.cat(after, dim=2)[0]


@st.composite
def shapes(draw: st.DrawFn, *, padded: bool) -> Shape:
    kernel = draw(st.integers(1, 5))
    pads = st.integers(0, kernel - 1) if padded else st.just(0)
    return Shape(
        kernel=kernel,
        stride=draw(st.sampled_from([1, 1, 2, 3])),
        left=draw(pads),
        right=draw(pads),
        pool=draw(st.sampled_from([1, 2, 3])),
        apart=draw(st.sampled_from(["no", "products", "matrices"])),
    )


@st.composite
def plans(draw: st.DrawFn) -> Edits:
    """Any edits of one shape: places in no order, some of them twice, and any crop."""
    length = draw(st.integers(1, 40))
    num_removed = draw(st.integers(0, min(3, length)))
    num_inserted = draw(st.integers(0 if num_removed else 1, 3))
    seed = np.random.default_rng(draw(st.integers(0, 1000)))
    edited = length - num_removed + num_inserted
    room = draw(st.sampled_from([100, max(1, edited - 1), max(1, length // 2)]))
    positions = seed.integers(0, length - num_removed + 1, 12)
    width = min(edited, room)
    return Edits(
        source=Source(
            token_ids=seed.integers(0, NUM_TOKENS, length),
            specifiers=seed.random((length, SPECIFIERS), dtype=np.float32),
            room=room,
        ),
        positions=positions,
        num_removed=num_removed,
        new_ids=seed.integers(0, NUM_TOKENS, (12, num_inserted)) if num_inserted else None,
        undecorated=seed.random(12) < draw(st.sampled_from([0, 0.5, 1])),
        starts=seed.integers(0, edited - width + 1, 12).clip(0, 2),
        width=width,
        same_as=np.arange(12),
    )


@st.composite
def stacks(draw: st.DrawFn) -> RandomStack:
    num_filled = draw(st.sampled_from([0, 0, 150]))
    layers = draw(st.lists(shapes(padded=not num_filled), min_size=1, max_size=4))
    torch.manual_seed(draw(st.integers(0, 1000)))
    return RandomStack(layers, draw(st.sampled_from(TAILS)), num_filled, 100).double().eval()


@settings(max_examples=150)
@given(stacks(), plans(), st.sampled_from([(), (1,), (1, 2)]), st.integers(1, 7))
def test_every_edit_has_the_output_of_its_own_full_pass(
    stack: RandomStack, edits: Edits, specials: tuple[int, ...], chunk: int
) -> None:
    framing = Framing(pad_id=0, block_size=200, prefix_ids=specials[:1], suffix_ids=specials[1:])
    with torch.inference_mode():
        found = run_incrementally(stack.describe(), edits, framing, num_outputs=2, chunk=chunk)
        variants = build_variants(edits, np.arange(len(edits.positions)))
        assert variants.specifiers is not None
        for row in np.flatnonzero(found.done):
            ids = np.concatenate([specials[:1], variants.token_ids[row], specials[1:]])
            around = ((len(specials[:1]), len(specials[1:])), (0, 0))
            values = np.pad(variants.specifiers[row], around)
            full = stack(torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(values))
            np.testing.assert_allclose(found.outputs[row], full.numpy(), rtol=0, atol=1e-9)


@given(plans())
def test_only_edits_that_are_wholly_in_view_are_computed(edits: Edits) -> None:
    torch.manual_seed(0)
    stack = RandomStack([Shape(1, 1, 0, 0, 1, "products")], "sum", 0, 100).double().eval()
    framing = Framing(pad_id=0, block_size=100)
    with torch.inference_mode():
        found = run_incrementally(stack.describe(), edits, framing, num_outputs=2)
    columns = edits.positions - edits.starts
    in_view = (columns >= 0) & (columns + edits.num_inserted <= edits.width) & (edits.width > 0)
    assert found.done.tolist() == in_view.tolist()
