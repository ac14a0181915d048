"""Saluki as the reference system has it, so that its experiments load and predict the same."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from biolm_ray.models.spec import ModelInputs


def shortest_block(num_layers: int, kernel: int) -> int:
    """Count the rows that valid convolutions and pooling need to leave one row."""
    rows = 1
    for _ in range(num_layers):
        rows = 2 * rows + kernel - 1
    return rows + kernel - 1


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

    def forward(self, rows: Float[Tensor, "batch length channels"]) -> Tensor:
        states, _ = self.gru(rows.flip(1))
        return F.relu(self.batch_norm(states[:, -1]))


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
    ) -> None:
        super().__init__()
        self.register_buffer("columns", columns, persistent=False)
        self.num_columns = int(columns.max())
        self.block_size = inputs.block_size
        self.kernel = kernel
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
        num_rows = self._rows_to_compute(token_ids.shape[1])
        dtype = self.dense_block.l2.weight.dtype
        present = torch.arange(token_ids.shape[1], device=token_ids.device) < lengths[:, None]
        columns = self.columns[token_ids].masked_fill(~present, self.num_columns)
        rows = one_hot(columns, self.num_columns, dtype)
        if specifiers is not None:
            rows = torch.cat([rows, specifiers.to(dtype) * present[..., None]], dim=2)
        rows = F.pad(rows, (0, 0, 0, num_rows - rows.shape[1])).transpose(1, 2)
        rows = F.relu(self.entry_block(rows))
        for block in self.mid_blocks:
            rows = F.relu(F.max_pool1d(self.dropout(block(rows)), 2))
        rows = rows.transpose(1, 2)
        missing = self._num_reduced(self.block_size) - rows.shape[1]
        if missing:
            rows = torch.cat([rows, rows[:, -1:].expand(-1, missing, -1)], dim=1)
        return self.dense_block(self.gru_block(rows))

    def _rows_to_compute(self, length: int) -> int:
        """Leave out padding whose reduced rows are all alike; dropout makes them differ."""
        if self.training:
            return self.block_size
        stride = 2 ** len(self.mid_blocks)
        reach = stride + shortest_block(len(self.mid_blocks), self.kernel)
        return min(self.block_size, -(-length // stride) * stride + reach)

    def _num_reduced(self, num_rows: int) -> int:
        rows = num_rows - self.kernel + 1
        for _ in self.mid_blocks:
            rows = (rows - self.kernel + 1) // 2
        return rows
