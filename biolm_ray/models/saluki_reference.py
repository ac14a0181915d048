"""Saluki as the reference system has it, so that its experiments load and predict the same."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from biolm_ray.models.recurrence import full_precision, read_backwards, states_after_padding
from biolm_ray.models.spec import ModelInputs


def shortest_block(num_layers: int, kernel: int, rows: int = 1) -> int:
    """Count the rows that valid convolutions and pooling need to leave so many rows."""
    for _ in range(num_layers):
        rows = 2 * rows + kernel - 1
    return rows + kernel - 1


def count_reduced(rows: int, num_layers: int, kernel: int) -> int:
    """Count the rows that valid convolutions and pooling leave of so many."""
    rows -= kernel - 1
    for _ in range(num_layers):
        rows = (rows - kernel + 1) // 2
    return rows


def one_hot(
    columns: Int[Tensor, "batch length"], num_columns: int, dtype: torch.dtype
) -> Float[Tensor, "batch length columns"]:
    """Write out one-hot rows; the column past the last one gives a row of zeros."""
    return torch.eye(num_columns + 1, num_columns, dtype=dtype, device=columns.device)[columns]


class _NormedConvolution(nn.Module):
    def __init__(self, num_inputs: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(num_inputs, channels, kernel)
        self.layernorm = nn.LayerNorm(channels)

    def forward(self, rows: Float[Tensor, "batch channels length"]) -> Tensor:
        return self.layernorm(self.conv(rows).transpose(1, 2)).transpose(1, 2)


class _GruBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, channels, batch_first=True)
        self.batch_norm = nn.BatchNorm1d(channels)

    def forward(
        self,
        rows: Float[Tensor, "batch length channels"],
        last: Int[Tensor, " batch"],
        initial: Float[Tensor, "batch channels"] | None,
    ) -> Float[Tensor, "batch channels"]:
        starts = torch.arange(len(rows), device=rows.device) * rows.shape[1]
        states = read_backwards(self.gru, rows.flatten(0, 1), starts, last, initial)
        return F.relu(self.batch_norm(states))


class _DenseBlock(nn.Module):
    def __init__(self, channels: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.l1 = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.batch_norm = nn.BatchNorm1d(channels)
        self.l2 = nn.Linear(channels, num_outputs)

    def forward(self, states: Float[Tensor, "batch channels"]) -> Tensor:
        return self.l2(F.relu(self.batch_norm(self.dropout(self.l1(states)))))


class ReferenceSaluki(nn.Module):
    """Valid convolutions over a block that is filled up with zero rows.

    Parameters have the names of the reference, without its leading "model.".
    """

    columns: Tensor

    def __init__(
        self,
        inputs: ModelInputs,
        columns: Int[Tensor, " vocabulary"],
        *,
        channels: int,
        num_layers: int,
        kernel: int,
        dropout: float,
        reads_padding: bool,
    ) -> None:
        super().__init__()
        self.register_buffer("columns", columns, persistent=False)
        self.num_columns = int(columns.max())
        self.block_size = inputs.block_size
        self.kernel = kernel
        self.num_reduced = count_reduced(inputs.block_size, num_layers, kernel)
        self.reads_padding = reads_padding
        num_inputs = self.num_columns + inputs.num_specifiers
        self.entry_block = _NormedConvolution(num_inputs, channels, kernel)
        self.mid_blocks = nn.ModuleList(
            _NormedConvolution(channels, channels, kernel) for _ in range(num_layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.gru_block = _GruBlock(channels)
        self.dense_block = _DenseBlock(channels, inputs.num_outputs, dropout)

    def forward(
        self,
        token_ids: Int[Tensor, "batch length"],
        lengths: Int[Tensor, " batch"],
        specifiers: Float[Tensor, "batch length channels"] | None = None,
    ) -> Float[Tensor, "batch outputs"]:
        last = ((lengths - 1) // 2 ** len(self.mid_blocks)).clamp(max=self.num_reduced - 1)
        if self.reads_padding and self.training and self.dropout.p:
            # Dropout makes the rows of the padding differ, so every sequence needs its own.
            last, num_rows = torch.full_like(last, self.num_reduced - 1), self.block_size
        else:
            num_rows = self._rows_before(int(last.max()) + 1)
        rows = self._tower(self._input_rows(token_ids, lengths, specifiers, num_rows))
        initial = self._states_after_padding(last)
        with full_precision(rows.device):
            return self.dense_block(self.gru_block(rows, last, initial))

    def _input_rows(
        self,
        token_ids: Int[Tensor, "batch length"],
        lengths: Int[Tensor, " batch"],
        specifiers: Float[Tensor, "batch length channels"] | None,
        num_rows: int,
    ) -> Float[Tensor, "batch columns rows"]:
        """Write out the one-hot rows and the specifiers of sequences, zeros beyond their ends."""
        present = torch.arange(token_ids.shape[1], device=token_ids.device) < lengths[:, None]
        columns = self.columns[token_ids].masked_fill(~present, self.num_columns)
        dtype = self.dense_block.l2.weight.dtype
        rows = one_hot(columns, self.num_columns, dtype)
        if specifiers is not None:
            rows = torch.cat([rows, specifiers.to(dtype) * present[..., None]], dim=2)
        return F.pad(rows, (0, 0, 0, num_rows - rows.shape[1])).transpose(1, 2)

    def _tower(
        self, rows: Float[Tensor, "batch columns rows"]
    ) -> Float[Tensor, "batch reduced channels"]:
        rows = F.relu(self.entry_block(rows))
        for block in self.mid_blocks:
            rows = F.relu(F.max_pool1d(self.dropout(block(rows)), 2))
        return rows.transpose(1, 2)

    def _states_after_padding(
        self, last: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch channels"] | None:
        """Run the GRU once over rows that see only padding, which are all alike."""
        num_padded = self.num_reduced - 1 - last
        if not self.reads_padding or not num_padded.any():
            return None
        nothing = self.dense_block.l2.weight.new_zeros(
            1, self.entry_block.conv.in_channels, self._rows_before(1)
        )
        row = self._tower(nothing)[0, 0]
        with full_precision(row.device):
            return states_after_padding(self.gru_block.gru, row, num_padded)

    def _rows_before(self, num_reduced: int) -> int:
        return shortest_block(len(self.mid_blocks), self.kernel, num_reduced)
