"""Small models with weights that no training made, and data that they read."""

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from stored import store

from biolm_ray.config.schema import PreprocessingConfig, TokenizationConfig
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.models.card import ModelCard
from biolm_ray.models.registry import find_spec, read_options
from biolm_ray.models.saved import save_model
from biolm_ray.models.spec import ModelInputs
from biolm_ray.tokenization.fitting import TokenCounts, build_word_tokenizer
from biolm_ray.tokenization.tokenizer import Tokenizer, TokenizerSettings

NUM_ROWS = 24
BLOCK_SIZE = 40


def make_tokenizer() -> Tokenizer:
    counts = TokenCounts(Counter(["a", "c", "g", "t", "gej"] * 20))
    settings = TokenizerSettings(encoding="atomic", token_separator=",")
    return build_word_tokenizer(counts, TokenizationConfig(min_frequency=1), settings)


def write_prepared(folder: Path, tokenizer: Tokenizer, *, with_labels: bool = True) -> Path:
    generator = np.random.default_rng(3)
    words = sorted(set(tokenizer.vocabulary.values()) - set(tokenizer.special_ids.values()))
    lengths = generator.integers(1, 50, NUM_ROWS)
    token_ids = generator.choice(words, lengths.sum()).astype(np.uint8)
    labels = np.arange(NUM_ROWS) / 3 if with_labels else None
    store(folder, [10, NUM_ROWS - 10], token_ids, lengths, labels)
    return folder


NUMBERS = Targets(task="regression", scaler=Scaler(kind="standard", center=2, spread=3))


def write_model(
    folder: Path,
    tokenizer: Tokenizer,
    seed: int,
    targets: Targets = NUMBERS,
    plugin: Path | None = None,
) -> Path:
    inputs = ModelInputs(
        vocabulary_size=len(tokenizer.vocabulary),
        special_ids=tokenizer.special_ids,
        block_size=BLOCK_SIZE,
        num_outputs=targets.num_outputs,
    )
    if plugin is None:
        spec, options = find_spec("saluki"), {"channels": 8, "num_layers": 2}
    else:
        spec, options = find_spec(None, str(plugin)), {}
    torch.manual_seed(seed)
    module = spec.build(read_options(spec, options), inputs)
    card = ModelCard(
        model=spec.name,
        options=options,
        inputs=inputs,
        task=targets.task,
        targets=targets,
        preprocessing=PreprocessingConfig(block_size=BLOCK_SIZE),
    )
    save_model(folder, module, card, tokenizer, None if plugin is None else str(plugin))
    return folder
