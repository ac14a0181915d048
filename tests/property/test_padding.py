"""The result for a sequence does not depend on what it is batched with, or by how many workers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import store

from biolm_ray.config.schema import PreprocessingConfig
from biolm_ray.models.batches import RowBatches, collate, frame
from biolm_ray.models.registry import find_spec, model_names, read_options
from biolm_ray.models.spec import ModelInputs
from biolm_ray.training.evaluate import model_outputs

PLUGIN = str(Path(__file__).parents[2] / "examples/mean_pool_plugin.py")
SPECIALS = {"[UNK]": 0, "[PAD]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "[BOS]": 5, "[EOS]": 6}
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
MODELS = {
    "saluki": ("saluki", {"channels": 8, "num_layers": 3}, 0),
    "saluki with specifiers": ("saluki", {"channels": 8, "num_layers": 3}, 2),
    "saluki after padding": (
        "saluki",
        {"padding": "blocksize", "channels": 8, "num_layers": 3},
        1,
    ),
    "saluki reference": ("saluki", {"variant": "reference", "channels": 8, "num_layers": 2}, 1),
    "saluki reference without padding": (
        "saluki",
        {"variant": "reference", "padding": "none", "channels": 8, "num_layers": 2},
        0,
    ),
    "xlnet": ("xlnet", {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32}, 0),
    "bert": ("huggingface", {"architecture": "bert", "config": SIZES}, 0),
    "esm": ("huggingface", {"architecture": "esm", "config": SIZES}, 0),
    "modernbert": ("huggingface", {"architecture": "modernbert", "config": SIZES}, 0),
    "roformer": ("huggingface", {"architecture": "roformer", "config": SIZES}, 0),
    "mean_pool": ("mean_pool", {"width": 8}, 1),
}


def _built(name):
    """Make a model whose outputs differ clearly between sequences."""
    model, given_options, num_specifiers = MODELS[name]
    spec = find_spec(model, PLUGIN)
    inputs = ModelInputs(
        vocabulary_size=12,
        special_ids=SPECIALS,
        num_specifiers=num_specifiers,
        num_outputs=2,
        block_size=48,
    )
    torch.manual_seed(0)
    module = spec.build(read_options(spec, given_options), inputs).eval()
    if model in ("xlnet", "huggingface"):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(8.0 if parameter.dim() > 1 else 1.0)
    return module, frame(spec, inputs, PreprocessingConfig()), num_specifiers


@pytest.fixture(scope="module")
def built():
    return {name: _built(name) for name in MODELS}


def _row(length, num_specifiers, rng):
    specifiers = rng.normal(size=(length, num_specifiers)).astype(np.float32)
    return rng.integers(7, 12, length), specifiers if num_specifiers else None


def _outputs(module, framing, rows):
    batch = collate(rows, framing)
    with torch.inference_mode():
        return module(batch.token_ids, batch.lengths, batch.specifiers).numpy()


def test_every_model_is_among_those_tested_here():
    assert set(model_names()) <= {model for model, _, _ in MODELS.values()}


@pytest.mark.parametrize("name", list(MODELS))
@settings(max_examples=12)
@given(lengths=st.lists(st.integers(1, 46), min_size=1, max_size=6), seed=st.integers(0, 2**32 - 1))
def test_a_row_gives_the_same_alone_and_in_any_batch(built, name, lengths, seed):
    module, framing, num_specifiers = built[name]
    rng = np.random.default_rng(seed)
    rows = [_row(length, num_specifiers, rng) for length in lengths]
    together = _outputs(module, framing, rows)
    alone = np.concatenate([_outputs(module, framing, [row]) for row in rows])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    order = rng.permutation(len(rows))
    shuffled = _outputs(module, framing, [rows[i] for i in order])
    np.testing.assert_allclose(shuffled, together[order], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", list(MODELS))
def test_what_lies_in_the_padding_does_not_count(built, name):
    module, framing, num_specifiers = built[name]
    rng = np.random.default_rng(0)
    batch = collate([_row(length, num_specifiers, rng) for length in (30, 4, 17)], framing)
    longest = batch.token_ids.shape[1]
    columns = torch.arange(longest)
    if framing.padding_side == "left":
        outside = columns < longest - batch.lengths[:, None]
    else:
        outside = columns >= batch.lengths[:, None]
    noise = torch.where(outside, 4, batch.token_ids)
    with torch.inference_mode():
        expected = module(batch.token_ids, batch.lengths, batch.specifiers)
        found = module(noise, batch.lengths, batch.specifiers)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", list(MODELS))
def test_different_sequences_give_different_results(built, name):
    module, framing, num_specifiers = built[name]
    rng = np.random.default_rng(0)
    outputs = _outputs(module, framing, [_row(30, num_specifiers, rng) for _ in range(4)])
    assert outputs.std(axis=0).min() > 1e-4


@pytest.mark.parametrize("name", list(MODELS))
def test_neither_the_size_of_batches_nor_the_number_of_workers_counts(built, name, tmp_path):
    module, framing, num_specifiers = built[name]
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, 30)
    token_ids = rng.integers(7, 12, lengths.sum()).astype(np.uint8)
    specifiers = rng.normal(size=(lengths.sum(), num_specifiers)).astype(np.float32)
    prepared = store(tmp_path / "rows", [17, 13], token_ids, lengths, None, specifiers)
    batches, rows = RowBatches(prepared, framing), np.arange(30)
    alone = model_outputs(module, batches, rows, num_outputs=2, batch_tokens=1)
    for batch_tokens, num_workers in ((100, 1), (400, 3), (10_000, 1), (10_000, 2)):
        found = np.empty_like(alone)
        for rank in range(num_workers):
            share = slice(rank, None, num_workers)
            found[share] = model_outputs(
                module, batches, rows[share], num_outputs=2, batch_tokens=batch_tokens
            )
        np.testing.assert_allclose(found, alone, rtol=0, atol=1e-5)
