"""Training steps of the default Saluki against the reference's, on the same rows, on one core.

The reference pads every sequence to the block size; the default lays the sequences of a batch end
to end. Prints rows per second of both and their ratio; the last line is one JSON object.

    .venv/bin/python benchmarks/saluki_step.py
"""

import json
import time

import numpy as np
import torch
from torch import nn

from biolm_ray.models.saluki import SPEC
from biolm_ray.models.spec import ModelInputs

BLOCK_SIZE = 12_288
NUM_ROWS = 16
ROUNDS = 3
SPECIAL_IDS = {"[UNK]": 0, "[PAD]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "[BOS]": 5, "[EOS]": 6}
INPUTS = ModelInputs(vocabulary_size=11, special_ids=SPECIAL_IDS, block_size=BLOCK_SIZE)


def rows_like_yeast() -> tuple[torch.Tensor, torch.Tensor]:
    """Random sequences about as long as yeast transcripts: quartiles 1,000, 1,500 and 2,300."""
    random = np.random.default_rng(1)
    lengths = np.exp(random.normal(np.log(1_500), 0.6, NUM_ROWS)).astype(int).clip(300, 5_600)
    token_ids = np.full((NUM_ROWS, lengths.max()), SPECIAL_IDS["[PAD]"])
    for row, length in enumerate(lengths):
        token_ids[row, :length] = random.integers(7, 11, length)
    return torch.from_numpy(token_ids), torch.from_numpy(lengths)


def seconds_per_step(variant: str, token_ids: torch.Tensor, lengths: torch.Tensor) -> float:
    """The median time of a forward and backward pass and an optimizer step, after one for free."""
    module = SPEC.build(SPEC.options(variant=variant), INPUTS).train()
    optimizer = torch.optim.AdamW(module.parameters())
    times = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.mse_loss(module(token_ids, lengths)[:, 0], torch.zeros(NUM_ROWS)).backward()
        optimizer.step()
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))


def main() -> None:
    torch.set_num_threads(1)
    rows = rows_like_yeast()
    rates = {name: NUM_ROWS / seconds_per_step(name, *rows) for name in ("reference", "default")}
    ratio = rates["default"] / rates["reference"]
    for name, rate in rates.items():
        print(f"{name:10} {rate:8.1f} rows per second")
    print(f"{'ratio':10} {ratio:8.1f}")
    print(json.dumps({"rows_per_second": rates, "ratio": ratio}))


if __name__ == "__main__":
    main()
