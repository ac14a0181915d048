"""Every row once per epoch, evaluation rows neither dropped nor doubled, however many workers."""

import dataclasses
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from crew import work_together
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from biolm_ray.config.schema import Column, Config, DataConfig, PreprocessingConfig
from biolm_ray.data.splits import Fold
from biolm_ray.models.batches import Framing, collate, frame
from biolm_ray.models.registry import find_spec, read_options
from biolm_ray.models.spec import ModelInputs
from biolm_ray.tokenization.tokenizer import Encoded
from biolm_ray.training import evaluate as evaluation
from biolm_ray.training.batching import (
    FEWEST_WINDOWS,
    WINDOW_STEPS,
    count_steps,
    epoch_steps,
)
from biolm_ray.training.evaluate import length_batches, model_outputs
from biolm_ray.training.fold_data import FoldData, evaluate
from biolm_ray.training.workers import Workers

WORKERS = (1, 2, 4, 8)


@st.composite
def epochs(draw) -> dict[str, Any]:
    """Arguments of `epoch_steps`, with lengths or without."""
    num_rows = draw(st.integers(1, 400))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    longest = draw(st.sampled_from([1, 5, 3000]))
    lengths = rng.integers(1, longest + 1, 2 * num_rows)
    return {
        "rows": np.sort(rng.permutation(2 * num_rows)[:num_rows]),
        "batch_size": draw(st.integers(1, 33)),
        "accumulation": draw(st.sampled_from([1, 2, 8])),
        "seed": draw(st.integers(0, 9)),
        "fold": draw(st.integers(0, 9)),
        "epoch": draw(st.integers(0, 9)),
        "lengths": draw(st.sampled_from([None, lengths])),
    }


def micro_batches(arguments: dict[str, Any]) -> list[np.ndarray]:
    return list(chain.from_iterable(epoch_steps(**arguments)))


def num_padded(batches: list[np.ndarray], lengths: np.ndarray) -> int:
    return sum(len(rows) * int(lengths[rows].max()) for rows in batches)


@given(arguments=epochs())
def test_an_epoch_has_every_row_once_whatever_the_worker_count(arguments):
    steps = list(epoch_steps(**arguments))
    for size in WORKERS:
        shares = [[Workers(rank, size).share_of(step) for rank in range(size)] for step in steps]
        dealt = [np.concatenate(list(chain.from_iterable(parts))) for parts in shares]
        assert [set(rows) for rows in dealt] == [set(np.concatenate(step)) for step in steps]
        assert sorted(np.concatenate(dealt)) == arguments["rows"].tolist()


@given(arguments=epochs())
def test_steps_are_as_many_and_as_large_as_asked_and_nearly_equal(arguments):
    steps = list(epoch_steps(**arguments))
    batch_size, accumulation = arguments["batch_size"], arguments["accumulation"]
    num_rows = len(arguments["rows"])
    assert len(steps) == count_steps(num_rows, batch_size=batch_size, accumulation=accumulation)
    assert all(1 <= len(step) <= accumulation for step in steps)
    sizes = [len(rows) for step in steps for rows in step]
    assert max(sizes) <= batch_size
    if arguments["lengths"] is not None and num_rows > 1 and batch_size > 2:
        assert min(sizes) > 1


@given(arguments=epochs())
def test_an_epoch_repeats_exactly_and_the_next_one_differs(arguments):
    first, again = micro_batches(arguments), micro_batches(arguments)
    assert [rows.tolist() for rows in first] == [rows.tolist() for rows in again]
    # A few batches sorted by length may fall into the same order twice.
    if len(first) > 12 or (arguments["lengths"] is None and len(arguments["rows"]) > 20):
        other = micro_batches({**arguments, "epoch": arguments["epoch"] + 1})
        assert [rows.tolist() for rows in first] != [rows.tolist() for rows in other]


@given(arguments=epochs(), num_steps=st.integers(1, 40))
def test_buckets_never_add_padding_where_all_batches_are_full(arguments, num_steps):
    num_rows = num_steps * arguments["batch_size"] * arguments["accumulation"]
    lengths = np.random.default_rng(arguments["seed"]).integers(1, 900, num_rows)
    given_rows = {**arguments, "rows": np.arange(num_rows)}
    mixed = num_padded(micro_batches({**given_rows, "lengths": None}), lengths)
    assert num_padded(micro_batches({**given_rows, "lengths": lengths}), lengths) <= mixed


@given(arguments=epochs())
def test_buckets_waste_at_most_one_batch_of_the_longest_row_a_window(arguments):
    lengths = np.random.default_rng(arguments["seed"]).integers(1, 900, 800)
    steps = list(epoch_steps(**{**arguments, "lengths": lengths}))
    wasted = num_padded(list(chain.from_iterable(steps)), lengths)
    wasted -= int(lengths[arguments["rows"]].sum())
    num_windows = max(FEWEST_WINDOWS, -(-len(steps) // WINDOW_STEPS))
    assert wasted <= num_windows * arguments["batch_size"] * 900


@pytest.mark.parametrize("num_rows", [1000, 3333, 20_000])
@pytest.mark.parametrize("batch_size", [8, 32])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_buckets_save_a_fifth_of_the_tokens_of_log_normal_lengths(
    num_rows, batch_size, accumulation
):
    rng = np.random.default_rng(num_rows)
    lengths = np.ceil(rng.lognormal(6.5, 0.7, num_rows)).astype(np.int64)
    arguments = {
        "rows": np.arange(num_rows),
        "batch_size": batch_size,
        "accumulation": accumulation,
        "seed": 0,
        "fold": 0,
        "epoch": 0,
    }
    mixed = num_padded(micro_batches(arguments), lengths)
    assert num_padded(micro_batches({**arguments, "lengths": lengths}), lengths) <= 0.8 * mixed


@given(lengths=st.lists(st.integers(1, 60), max_size=50), batch_tokens=st.integers(1, 200))
def test_evaluation_batches_are_the_largest_that_fit(lengths, batch_tokens):
    lengths = np.array(lengths, dtype=np.int64)
    batches = list(length_batches(lengths, batch_tokens))
    assert np.concatenate([[], *batches]).tolist() == np.argsort(lengths, kind="stable").tolist()
    for chosen in batches:
        assert len(chosen) == 1 or len(chosen) * lengths[chosen].max() <= batch_tokens
    for chosen, following in pairwise(batches):
        assert (len(chosen) + 1) * lengths[following[0]] > batch_tokens


class CountingRows:
    """A prepared data set whose rows know how often they were read."""

    num_specifiers = 0
    weights = None
    target_names = ()
    label_name = ""

    def __init__(self, num_rows: int, labels: Any) -> None:
        rng = np.random.default_rng(num_rows)
        self.num_rows, self.labels = num_rows, labels
        self.sequences = [rng.integers(7, 99, n) for n in rng.integers(1, 30, num_rows)]
        self.lengths = np.array([len(tokens) for tokens in self.sequences])
        self.num_read = np.zeros(num_rows, dtype=np.int64)

    def encoded(self, row: int) -> Encoded:
        self.num_read[row] += 1
        return Encoded(self.sequences[row].astype(np.uint8))


class Sums(nn.Module):
    """Integer arithmetic, so that results are equal to the last bit."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = num_outputs

    def forward(self, token_ids, lengths, specifiers=None):
        sums = (token_ids * (token_ids > 1)).sum(dim=1, keepdim=True) % 97
        return (sums * torch.arange(1, self.num_outputs + 1) / 64).float()


def fold_data(task: str, num_rows: int) -> tuple[FoldData, CountingRows]:
    numbers, classes = np.arange(1.0, num_rows + 1)[:, None], list("abc" * num_rows)[:num_rows]
    prepared = CountingRows(num_rows, numbers if task == "regression" else classes)
    train, test = np.split(np.arange(num_rows), [3])
    fold = Fold(index=0, name="", train=train, validation=train[:0], test=test)
    columns = DataConfig(path="rows.tsv", sequence_column=Column(index=1))
    config = Config(mode="fine-tune", task=task, output_path="out", data=columns)
    return FoldData(config, fold, prepared, Framing(pad_id=1, block_size=16)), prepared


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("num_rows", [8, 9, 61])
@pytest.mark.parametrize("size", WORKERS)
def test_evaluation_reads_each_row_once_and_gives_the_same_for_any_worker_count(
    task, num_rows, size, monkeypatch
):
    monkeypatch.setattr(evaluation, "ROWS_AT_ONCE", 16)
    data, prepared = fold_data(task, num_rows)
    module = Sums(data.targets.num_outputs)
    rows = np.random.default_rng(0).permutation(data.fold.test)
    scores, expected = evaluate(module, data, rows, Workers())
    prepared.num_read[:] = 0
    results = work_together(size, lambda worker: evaluate(module, data, rows, worker))
    for found_scores, found in results:
        np.testing.assert_array_equal(found, expected)
        assert found_scores == pytest.approx(scores, nan_ok=True)
    assert prepared.num_read[rows].tolist() == [1] * len(rows)
    assert prepared.num_read.sum() == len(rows)


@given(seed=st.integers(0, 99), rows_at_once=st.integers(1, 80), batch_tokens=st.integers(1, 500))
def test_outputs_keep_the_order_of_the_rows_however_they_are_batched(
    seed, rows_at_once, batch_tokens
):
    data, prepared = fold_data("regression", 61)
    rows = np.random.default_rng(seed).permutation(61)[:40]
    expected = [prepared.sequences[row][:16].sum() % 97 / 64 for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "ROWS_AT_ONCE", rows_at_once)
        found = model_outputs(Sums(1), data.batches, rows, num_outputs=1, batch_tokens=batch_tokens)
    assert found[:, 0].tolist() == expected


@pytest.mark.parametrize("name", ["saluki", "xlnet", "huggingface"])
@pytest.mark.parametrize("multiple", [5, 8, 16])
def test_padding_to_a_multiple_does_not_change_the_result(name, multiple):
    spec = find_spec(name)
    small: dict[str, dict[str, Any]] = {
        "saluki": {"channels": 8, "num_layers": 3},
        "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
        "huggingface": {
            "architecture": "bert",
            "config": {
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 32,
            },
        },
    }
    specials = dict.fromkeys(("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "[BOS]", "[EOS]"), 0)
    specials = {token: number for number, token in enumerate(specials)}
    inputs = ModelInputs(vocabulary_size=12, special_ids=specials, block_size=47)
    torch.manual_seed(0)
    module = spec.build(read_options(spec, small[name]), inputs).eval()
    framing = frame(spec, inputs, PreprocessingConfig())
    rng = np.random.default_rng(0)
    rows = [(rng.integers(7, 12, length), None) for length in (3, 11, 45 - multiple)]

    def outputs(length_multiple: int) -> np.ndarray:
        batch = collate(rows, dataclasses.replace(framing, length_multiple=length_multiple))
        with torch.inference_mode():
            return module(batch.token_ids, batch.lengths, batch.specifiers).numpy()

    np.testing.assert_allclose(outputs(multiple), outputs(1), rtol=0, atol=1e-5)


def test_models_with_batch_normalization_mix_lengths_and_transformers_do_not():
    wishes = {name: find_spec(name).length_buckets for name in ("saluki", "xlnet", "huggingface")}
    assert wishes == {"saluki": False, "xlnet": True, "huggingface": True}


def test_the_first_batch_of_a_million_rows_does_not_wait_for_the_others():
    lengths = np.random.default_rng(0).integers(1, 3000, 1_000_000)
    steps = epoch_steps(
        np.arange(1_000_000),
        batch_size=32,
        accumulation=1,
        seed=0,
        fold=0,
        epoch=0,
        lengths=lengths,
    )
    assert [len(rows) for rows in next(steps)] == [32]
