"""Fine-tuning of transformers: batches of similar length against rows padded to the block size.

BERT and XLNet of the same size learn from the 5'UTR, CDS and 3'UTR of yeast transcripts, in BPE
tokens, on one core. The plain loop pads every row to 512 tokens, as many scripts do; ours takes the
batches of a training (rows of similar length, padded to a multiple of 8). Both use the same rows,
network, attention mask and optimizer. Seconds are those of the processor, so that other programs
do not count. Prints a table and, as its last line, one JSON object; takes some three minutes.
Without the folder `shared` beside the repository, rows are random and of such lengths.

    .venv/bin/python benchmarks/transformers_step.py
"""

import argparse
import csv
import gzip
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from biolm_ray.config.schema import PreprocessingConfig, TokenizationConfig
from biolm_ray.models.batches import EncodedSequence, Framing, collate, crop, frame
from biolm_ray.models.registry import find_spec, read_options
from biolm_ray.models.spec import Batch, ModelInputs, ModelSpec
from biolm_ray.tokenization.fitting import fit
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.tokenization.tokenizer import Tokenizer
from biolm_ray.training.batching import Rows, epoch_steps

YEAST = Path(__file__).resolve().parents[2] / "shared/data/mrna_halflife_yeast_cheng2017.tsv.gz"
BLOCK_SIZE = 512
BATCH_SIZE = 16
VOCABULARY_SIZE = 4096
NUM_FITTED = 1500
HIDDEN, LAYERS, HEADS = 256, 4, 4
BERT = {
    "architecture": "bert",
    "config": {
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 4 * HIDDEN,
    },
}
XLNET = {"d_model": HIDDEN, "n_layer": LAYERS, "n_head": HEADS, "d_inner": 4 * HIDDEN}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("huggingface", BERT),
    "xlnet": ("xlnet", XLNET),
}


def yeast_parts() -> list[str]:
    """The 5'UTR, CDS and 3'UTR of every transcript, each a row of its own."""
    csv.field_size_limit(sys.maxsize)
    parts = []
    with gzip.open(YEAST, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            start = int(row["utr5_len"])
            stop = start + int(row["cds_len"])
            parts += [row["sequence"][:start], row["sequence"][start:stop], row["sequence"][stop:]]
    return [part for part in parts if part]


def random_parts() -> list[str]:
    """Random sequences about as long as the parts of yeast transcripts."""
    random = np.random.default_rng(1)
    medians, spreads = np.array([60, 1_150, 110]), np.array([0.8, 0.7, 0.6])
    lengths = np.exp(random.normal(np.log(medians), spreads, (3_838, 3))).astype(int)
    letters = np.frombuffer(b"ACGT", np.uint8)
    return [
        bytes(letters[random.integers(4, size=length)]).decode()
        for length in lengths.ravel().clip(1, 5_600)
    ]


@dataclass(frozen=True)
class Sequences:
    """Tokenized rows and how one model reads them."""

    encoded: list[EncodedSequence]
    framing: Framing

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of every row in a batch: cropped, special ones included."""
        whole = np.array([len(sequence.token_ids) for sequence in self.encoded])
        return np.minimum(whole, self.framing.room) + self.framing.num_special

    def batch(self, rows: Rows) -> Batch:
        return collate([crop(self.encoded[row], self.framing) for row in rows], self.framing)


def measure(num_steps: int = 16) -> dict[str, Any]:
    """Time the training steps of both models in both ways; torch must have been given one thread.

    Args:
        num_steps: Steps to time, chosen from an epoch by the lengths of their rows.

    Returns:
        By model: rows per CPU second of the "plain" loop and of "ours", and their "ratio".
    """
    parts = yeast_parts() if YEAST.exists() else random_parts()
    settings = TokenizerSettings(encoding="bpe")
    some = np.random.default_rng(0).permutation(len(parts))[:NUM_FITTED]
    vocabulary = TokenizationConfig(encoding="bpe", vocabulary_size=VOCABULARY_SIZE)
    tokenizer = fit([parts[row] for row in some], vocabulary, settings)
    encoded: Any = tokenizer.encode(parts)
    return {name: _measure_model(name, tokenizer, encoded, num_steps) for name in MODELS}


def _measure_model(
    name: str, tokenizer: Tokenizer, encoded: list[EncodedSequence], num_steps: int
) -> dict[str, float]:
    spec_name, options = MODELS[name]
    spec = find_spec(spec_name)
    inputs = ModelInputs(
        vocabulary_size=len(tokenizer.vocabulary),
        special_ids=tokenizer.special_ids,
        block_size=BLOCK_SIZE,
    )
    sequences = Sequences(encoded, frame(spec, inputs, PreprocessingConfig(block_size=BLOCK_SIZE)))
    steps = chosen_steps(sequences, num_steps)
    rows = np.random.default_rng(0).permutation(np.concatenate(steps))
    plain = replace(sequences, framing=replace(sequences.framing, length_multiple=BLOCK_SIZE))
    plain_steps = np.split(rows, np.cumsum([len(step) for step in steps])[:-1])
    seconds = {
        "plain": _seconds(spec, options, inputs, plain, plain_steps),
        "ours": _seconds(spec, options, inputs, sequences, steps),
    }
    rates = {way: len(rows) / spent for way, spent in seconds.items()}
    return {
        **rates,
        "ratio": rates["ours"] / rates["plain"],
        "tokens_per_row": float(sequences.lengths[rows].mean()),
        "padded_tokens_per_row": _padded(sequences, steps) / len(rows),
    }


def chosen_steps(sequences: Sequences, num_steps: int) -> list[Rows]:
    """The rows of so many steps of an epoch, from the shortest to the longest alike."""
    lengths = sequences.lengths
    epoch = epoch_steps(
        np.arange(len(lengths)),
        batch_size=BATCH_SIZE,
        accumulation=1,
        seed=0,
        fold=0,
        epoch=0,
        lengths=lengths,
    )
    by_length = sorted((step[0] for step in epoch), key=lambda rows: lengths[rows].mean())
    places = (np.arange(num_steps) + 0.5) * len(by_length) / num_steps
    return [by_length[place] for place in places.astype(int)]


def _padded(sequences: Sequences, steps: list[Rows]) -> int:
    return sum(sequences.batch(rows).token_ids.numel() for rows in steps)


def _seconds(
    spec: ModelSpec,
    options: dict[str, Any],
    inputs: ModelInputs,
    sequences: Sequences,
    steps: list[Rows],
) -> float:
    """Train on the rows of each step, making of batches included, after one step for free."""
    torch.manual_seed(0)
    module = spec.build(read_options(spec, options), inputs).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5)
    _step(module, optimizer, sequences.batch(steps[0]))
    started = time.process_time()
    for rows in steps:
        _step(module, optimizer, sequences.batch(rows))
    return time.process_time() - started


def _step(module: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    optimizer.zero_grad(set_to_none=True)
    module(batch.token_ids, batch.lengths).square().mean().backward()
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()


def table(result: dict[str, Any]) -> Iterator[str]:
    """Lines for people: one per model."""
    yield f"{'model':8} {'plain':>8} {'ours':>8} {'ratio':>6}   rows per CPU second"
    for name, values in result.items():
        yield f"{name:8} {values['plain']:8.2f} {values['ours']:8.2f} {values['ratio']:6.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=16, help="steps to time, of 16 rows")
    torch.set_num_threads(1)
    result = measure(parser.parse_args().steps)
    print("\n".join(table(result)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
