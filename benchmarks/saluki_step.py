"""Saluki against the plain padded loop of the reference's meaning, on the same rows, on one core.

The plain loop writes every sequence out as one-hot rows of the whole block and runs every layer
over them. Ours lays the sequences of a batch end to end. Prints rows per second of both and their
ratio, for training and for prediction; the last line is one JSON object.

    .venv/bin/python benchmarks/saluki_step.py
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biolm_ray.models.batches import Framing, collate
from biolm_ray.models.saluki import SPEC
from biolm_ray.models.spec import Batch, ModelInputs
from biolm_ray.training.evaluate import model_outputs

BLOCK_SIZE = 12_288
NUM_ROWS = 16
NUM_PREDICTED = 64
ROUNDS = 3
SPECIAL_IDS = {"[UNK]": 0, "[PAD]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "[BOS]": 5, "[EOS]": 6}
INPUTS = ModelInputs(vocabulary_size=11, special_ids=SPECIAL_IDS, block_size=BLOCK_SIZE)
FRAMING = Framing(pad_id=SPECIAL_IDS["[PAD]"], block_size=BLOCK_SIZE)
NUM_LETTERS = 4


class PlainSaluki(nn.Module):
    """The reference's network, computed as it is written down."""

    def __init__(self, channels: int = 64, num_layers: int = 6, kernel: int = 5) -> None:
        super().__init__()
        widths = [NUM_LETTERS, *[channels] * num_layers]
        self.convolutions = nn.ModuleList(nn.Conv1d(w, channels, kernel) for w in widths)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in widths)
        self.dropout = nn.Dropout(0.3)
        self.gru = nn.GRU(channels, channels, batch_first=True)
        self.head = nn.Sequential(
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
            nn.Dropout(0.3),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Linear(channels, 1),
        )

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        padded = F.pad(token_ids, (0, BLOCK_SIZE - token_ids.shape[1]), value=SPECIAL_IDS["[PAD]"])
        letters = F.one_hot(padded, INPUTS.vocabulary_size)[:, :, -NUM_LETTERS:]
        rows = letters.to(self.gru.weight_hh_l0.dtype).transpose(1, 2)
        for number, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            rows = norm(convolution(rows).transpose(1, 2)).transpose(1, 2)
            if number:
                rows = F.max_pool1d(self.dropout(rows), 2)
            rows = F.relu(rows)
        states, _ = self.gru(rows.transpose(1, 2).flip(1))
        return self.head(states[:, -1])


@dataclass(frozen=True)
class Lengths:
    """The lengths of transcripts: a log-normal distribution within bounds."""

    median: int
    spread: float
    shortest: int
    longest: int

    def draw(self, num_rows: int) -> np.ndarray:
        drawn = np.random.default_rng(1).normal(np.log(self.median), self.spread, num_rows)
        return np.exp(drawn).astype(int).clip(self.shortest, self.longest)


YEAST = Lengths(1_500, 0.6, 300, 5_600)
HUMAN = Lengths(3_000, 0.7, 300, BLOCK_SIZE)


def random_batch(lengths: np.ndarray) -> Batch:
    """Random sequences of given lengths, padded to the longest of them."""
    random = np.random.default_rng(1)
    return collate([(random.integers(7, 11, length), None) for length in lengths], FRAMING)


def rows_like_yeast() -> tuple[Tensor, Tensor]:
    """Token ids and lengths of one batch."""
    batch = random_batch(YEAST.draw(NUM_ROWS))
    return batch.token_ids, batch.lengths


def seconds_per_step(module: nn.Module, token_ids: Tensor, lengths: Tensor) -> float:
    """The median time of a forward and backward pass and an optimizer step, after one for free."""
    optimizer = torch.optim.AdamW(module.train().parameters())
    wanted = torch.zeros(len(lengths))

    def step() -> None:
        optimizer.zero_grad()
        F.mse_loss(module(token_ids, lengths)[:, 0], wanted).backward()
        optimizer.step()

    return median_seconds(step)


def median_seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds of the processor, so that other programs do not count."""
    times = []
    for _ in range(rounds + 1):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return float(np.median(times[1:]))


@dataclass(frozen=True)
class Rows:
    """Random rows by number."""

    lengths: np.ndarray

    def padded_lengths(self, rows: np.ndarray) -> np.ndarray:
        return self.lengths[rows]

    def load(self, rows: np.ndarray) -> Batch:
        return random_batch(self.lengths[rows])


def measure_training(lengths: Lengths) -> dict[str, float]:
    """Rows per CPU second of a training step: "plain", "ours", and their "ratio"."""
    drawn = lengths.draw(2 * NUM_ROWS)
    whole, few = random_batch(drawn), random_batch(drawn[:NUM_ROWS])
    plain = NUM_ROWS / seconds_per_step(PlainSaluki(), few.token_ids, few.lengths)
    ours = SPEC.build(SPEC.options(), INPUTS)
    rate = 2 * NUM_ROWS / seconds_per_step(ours, whole.token_ids, whole.lengths)
    return {"plain": plain, "ours": rate, "ratio": rate / plain}


def measure_prediction(lengths: Lengths) -> dict[str, float]:
    """Rows per CPU second of predictions: "plain" in batches, "ours" as `predict` makes them."""
    rows = Rows(lengths.draw(NUM_PREDICTED))
    plain, numbers = PlainSaluki().eval(), np.arange(NUM_PREDICTED)

    def predict_plain() -> None:
        with torch.inference_mode():
            batch = rows.load(numbers[:NUM_ROWS])
            plain(batch.token_ids, batch.lengths)

    ours = SPEC.build(SPEC.options(), INPUTS)
    rate = NUM_PREDICTED / median_seconds(lambda: model_outputs(ours, rows, numbers, num_outputs=1))
    slow = NUM_ROWS / median_seconds(predict_plain)
    return {"plain": slow, "ours": rate, "ratio": rate / slow}


def main() -> None:
    torch.set_num_threads(1)
    found = {
        f"{what}, {name} lengths": measure(lengths)
        for what, measure in (("training", measure_training), ("prediction", measure_prediction))
        for name, lengths in (("yeast", YEAST), ("human", HUMAN))
    }
    print(f"{'rows per CPU second':28} {'plain':>8} {'ours':>8} {'ratio':>6}")
    for name, rates in found.items():
        print(f"{name:28} {rates['plain']:8.1f} {rates['ours']:8.1f} {rates['ratio']:6.1f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
