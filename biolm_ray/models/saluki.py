"""Saluki, repaired: a convolution tower, a GRU over reversed time and a small head.

Built for training on a few thousand sequences of very different lengths. The sequences of a batch
stand end to end in one strip of rows, so no time goes into padding, and every convolution is a few
plain matrix products over that strip.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import Field, NonNegativeInt, PositiveInt, field_validator
from torch import Tensor, nn

from biolm_ray.config.schema import Section
from biolm_ray.errors import ConfigError
from biolm_ray.models.local_stack import LocalStack
from biolm_ray.models.recurrence import full_precision, read_backwards, states_after_padding
from biolm_ray.models.saluki_reference import ReferenceSaluki, shortest_block
from biolm_ray.models.spec import ModelInputs, ModelSpec, Recipe
from biolm_ray.models.strip import Strip, convolve_rows, lay_end_to_end

WIDEST_ONE_HOT = 32


class SalukiOptions(Section):
    """Saluki's size. The reference variant also drops out in the tower.

    Attributes:
        padding: Where the recurrence starts: "none", at the end of the sequence; "blocksize", at
            the end of a block that is filled up with zero rows. Unset, none for the default
            variant and blocksize for the reference.
        shift: Most tokens by which training shifts the sequences of a batch against the grid of
            the pooling layers (default variant only); unset, one less than 2**num_layers.
    """

    variant: Literal["default", "reference"] = "default"
    padding: Literal["none", "blocksize"] | None = None
    channels: PositiveInt = 64
    num_layers: int = Field(6, ge=1, le=32)
    kernel: PositiveInt = 5
    dropout: float = Field(0.3, ge=0, lt=1)
    shift: NonNegativeInt | None = None

    @field_validator("kernel")
    @classmethod
    def _is_odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("kernel must be odd")
        return kernel

    @property
    def reads_padding(self) -> bool:
        """Whether the recurrence runs over the padding of the block first."""
        return self.padding == "blocksize" or (self.padding is None and self.variant == "reference")


def one_hot_columns(inputs: ModelInputs) -> Int[Tensor, " vocabulary"]:
    """Give every token id its one-hot column; special tokens share one past the last."""
    is_special = torch.zeros(inputs.vocabulary_size, dtype=torch.bool)
    is_special[list(inputs.special_ids.values())] = True
    columns = torch.cumsum(~is_special, dim=0) - 1
    return columns.masked_fill(is_special, num_columns(inputs))


def num_columns(inputs: ModelInputs) -> int:
    """How many tokens of the vocabulary are not special."""
    return inputs.vocabulary_size - len(set(inputs.special_ids.values()))


class Taps(nn.Module):
    """The weights of a convolution, as one matrix per tap, drawn as `nn.Conv1d` draws them."""

    def __init__(self, num_inputs: int, num_outputs: int, kernel: int) -> None:
        super().__init__()
        bound = (max(1, num_inputs) * kernel) ** -0.5
        self.weight = nn.Parameter(
            torch.empty(kernel, num_inputs, num_outputs).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.empty(num_outputs).uniform_(-bound, bound))


class EntryBlock(Taps):
    """Convolution of the one-hot input, layer norm, ReLU."""

    def __init__(self, num_columns: int, num_specifiers: int, channels: int, kernel: int) -> None:
        super().__init__(num_columns + num_specifiers, channels, kernel)
        self.num_columns = num_columns
        self.norm = nn.LayerNorm(channels)

    def forward(self, strip: Strip) -> Float[Tensor, "rows channels"]:
        inputs = [] if strip.specifiers is None else [strip.specifiers.to(self.bias.dtype)]
        output = self.bias
        if self.num_columns <= WIDEST_ONE_HOT:
            width = self.num_columns
            one_hot = torch.eye(width + 1, width, dtype=self.bias.dtype, device=self.bias.device)
            inputs.insert(0, one_hot[strip.columns])
            weight = self.weight
        else:
            output = self._looked_up(strip.columns)
            weight = self.weight[:, self.num_columns :]
        if inputs:
            windows = self._windows(torch.cat(inputs, dim=1))
            output = torch.addmm(output, windows, weight.flatten(0, 1))
        return F.relu(self.norm(output)) * strip.inside[:, None]

    def _windows(self, rows: Float[Tensor, "rows channels"]) -> Float[Tensor, "rows columns"]:
        kernel = len(self.weight)
        padded = F.pad(rows, (0, 0, kernel // 2, kernel // 2))
        return padded.unfold(0, kernel, 1).transpose(1, 2).reshape(len(rows), -1)

    def _looked_up(self, columns: Int[Tensor, " rows"]) -> Float[Tensor, "rows channels"]:
        """Convolve without writing out one-hot rows, for large vocabularies."""
        kernel = len(self.weight)
        padded = F.pad(columns, (kernel // 2, kernel // 2), value=self.num_columns)
        tables = F.pad(self.weight[:, : self.num_columns], (0, 0, 0, 1))
        output = self.bias
        for tap in range(kernel):
            output = output + F.embedding(padded[tap : tap + len(columns)], tables[tap])
        return output


class TowerBlock(Taps):
    """Convolution, layer norm, max-pool 2, ReLU; rows outside of sequences are set to 0."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, channels, kernel)
        self.norm = nn.LayerNorm(channels)

    def forward(
        self, rows: Float[Tensor, "rows channels"], inside: Bool[Tensor, " half"]
    ) -> Float[Tensor, "half channels"]:
        normed = self.norm(convolve_rows(rows, self.weight, self.bias))
        image = normed[None, None].permute(0, 3, 1, 2)
        pooled = F.max_pool2d(image, (1, 2)).permute(0, 2, 3, 1)[0, 0]
        return F.relu(pooled) * inside[:, None]


class Saluki(nn.Module):
    """The default variant; see the module's first lines."""

    columns: Tensor

    def __init__(self, options: SalukiOptions, inputs: ModelInputs) -> None:
        super().__init__()
        channels, kernel = options.channels, options.kernel
        columns = one_hot_columns(inputs)
        self.num_columns = num_columns(inputs)
        self.register_buffer("columns", columns, persistent=False)
        self.stride = 2**options.num_layers
        self.shift = self.stride - 1 if options.shift is None else options.shift
        self.block_rows = -(-inputs.block_size // self.stride) if options.reads_padding else None
        reach = kernel // 2 * self.stride // 2
        self.gap = -(-reach // self.stride) * self.stride
        self.entry = EntryBlock(self.num_columns, inputs.num_specifiers, channels, kernel)
        self.tower = nn.ModuleList(TowerBlock(channels, kernel) for _ in range(options.num_layers))
        self.gru = nn.GRU(channels, channels, batch_first=True)
        self.head = nn.Sequential(
            nn.BatchNorm1d(channels),
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Dropout(options.dropout),
            nn.Linear(channels, inputs.num_outputs),
        )

    def forward(
        self,
        token_ids: Int[Tensor, "batch length"],
        lengths: Int[Tensor, " batch"],
        specifiers: Float[Tensor, "batch length channels"] | None = None,
    ) -> Float[Tensor, "batch outputs"]:
        shifts = self._draw_shifts(lengths)
        strip = lay_end_to_end(
            self.columns[token_ids],
            lengths,
            specifiers,
            shifts,
            stride=self.stride,
            gap=self.gap,
            outside=self.num_columns,
        )
        rows, inside = self.entry(strip), strip.inside
        for block in self.tower:
            inside = inside.view(-1, 2).any(dim=1)
            rows = block(rows, inside)
        last = (shifts + lengths - 1) // self.stride
        with full_precision(rows.device):
            return self.head(self._last_states(rows, strip.starts // self.stride, last))

    def _draw_shifts(self, lengths: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """In training, move the sequences of a batch at random against the grid of pooling.

        They move together. What a move does to the states of all of them is then gone behind the
        batch normalization; moved one by one, they would teach the head little else at first.
        """
        if not self.training or not self.shift:
            return torch.zeros_like(lengths)
        return torch.randint(0, self.shift + 1, (1,)).to(lengths).expand_as(lengths)

    def _last_states(
        self,
        rows: Float[Tensor, "rows channels"],
        starts: Int[Tensor, " batch"],
        last: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch channels"]:
        """Run the GRU from the last row of each sequence, or of its block, to the first."""
        initial = None
        if self.block_rows is not None:
            padding = (self.block_rows - 1 - last).clamp(min=0)
            initial = states_after_padding(self.gru, rows.new_zeros(rows.shape[1]), padding)
        return read_backwards(self.gru, rows, starts, last, initial)


def _build(options: SalukiOptions, inputs: ModelInputs) -> nn.Module:
    if options.variant == "default":
        return Saluki(options, inputs)
    if inputs.block_size < _min_length(options):
        raise ConfigError(
            f"blocksize {inputs.block_size} is too short for the convolutions of the reference "
            f"variant of saluki; it needs {_min_length(options)} or more"
        )
    return ReferenceSaluki(
        inputs,
        one_hot_columns(inputs),
        channels=options.channels,
        num_layers=options.num_layers,
        kernel=options.kernel,
        dropout=options.dropout,
        reads_padding=options.reads_padding,
    )


def _min_length(options: SalukiOptions) -> int:
    if options.variant == "default":
        return 1
    return shortest_block(options.num_layers, options.kernel)


def _encoder_groups(module: nn.Module) -> list[list[nn.Parameter]]:
    """The entry, each block of the tower, the GRU."""
    if isinstance(module, ReferenceSaluki):
        parts = [module.entry_block, *module.mid_blocks, module.gru_block]
    else:
        assert isinstance(module, Saluki)
        parts = [module.entry, *module.tower, module.gru]
    return [list(part.parameters()) for part in parts]


def _local_stack(module: nn.Module) -> LocalStack:
    # The description needs the classes of this module.
    from biolm_ray.models.saluki_stack import describe_saluki

    return describe_saluki(module)


def _recipe(options: SalukiOptions) -> Recipe:
    if options.variant == "reference":
        return Recipe(learning_rate=1e-3, weight_decay=1e-3, gradient_clip=0.4)
    return Recipe(
        learning_rate=1e-3,
        batch_size=32,
        num_epochs=12,
        weight_decay=0.01,
        betas=(0.9, 0.98),
        gradient_clip=0.5,
        schedule="cosine",
        warmup_share=0.1,
        stop_metric="pearson",
        patience=None,
    )


SPEC = ModelSpec(
    name="saluki",
    summary="Convolutions and a GRU on one-hot tokens; learns from a few thousand sequences.",
    options=SalukiOptions,
    build=_build,
    recipe=_recipe,
    length_buckets=False,
    min_length=_min_length,
    encoder_groups=_encoder_groups,
    local_stack=_local_stack,
)
