"""Rows that stream in from the files of a prepared data set, and training on them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from crew import ThreadWorker, work_together
from stored import store_rows
from torch import nn

from biolm_ray.config.schema import Column, Config, DataConfig, TrainingConfig
from biolm_ray.data.splits import Fold
from biolm_ray.errors import DataError
from biolm_ray.models.batches import Framing, RowBatches, StreamedBatches
from biolm_ray.models.spec import Recipe
from biolm_ray.preparation import prepared as prepared_data
from biolm_ray.preparation import row_files, streaming
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.preparation.streaming import stream_rows
from biolm_ray.training import batching
from biolm_ray.training.accumulation import Loaded
from biolm_ray.training.feeds import Feed, StreamedFeed, make_feed
from biolm_ray.training.fold_data import FoldData, evaluate
from biolm_ray.training.loop import Objective, fit
from biolm_ray.training.settings import LoopSettings, loop_settings
from biolm_ray.training.workers import Workers

PART_ROWS = [13, 1, 20]
FRAMING = Framing(prefix_ids=(2,), suffix_ids=(3,), pad_id=1, block_size=20)
SETTINGS = loop_settings(
    TrainingConfig(batch_size=4, gradient_accumulation=2, num_epochs=6, seed=5),
    Recipe(learning_rate=0.02, patience=None),
    fold=0,
    default_metric="loss",
)


@pytest.fixture
def prepared(tmp_path) -> PreparedData:
    return store_rows(tmp_path / "prepared", PART_ROWS)


@pytest.mark.parametrize(("id_type", "channels"), [("uint8", 0), ("uint16", 2), ("int32", 0)])
@pytest.mark.parametrize("group_rows", [3, 100])
def test_the_rows_asked_for_arrive_as_they_are_stored(
    tmp_path, monkeypatch, id_type, channels, group_rows
):
    monkeypatch.setattr(row_files, "GROUP_ROWS", group_rows)
    prepared = store_rows(tmp_path / "p", PART_ROWS, id_type=id_type, num_specifiers=channels)
    rows = np.random.default_rng(0).permutation(34)[:17]
    arrived = dict(stream_rows(prepared, rows))
    assert sorted(arrived) == sorted(rows)
    for row, found in arrived.items():
        expected = prepared.encoded(row)
        assert found.center == expected.center
        np.testing.assert_array_equal(found.token_ids, expected.token_ids)
        if channels:
            np.testing.assert_array_equal(found.specifiers, expected.specifiers)
        else:
            assert found.specifiers is None


def test_files_are_read_in_the_order_in_which_rows_name_them(prepared):
    rows = np.array([30, 5, 20, 13, 1])
    assert [row for row, _ in stream_rows(prepared, rows)] == [20, 30, 1, 5, 13]


def test_no_rows_are_no_stream(prepared):
    assert list(stream_rows(prepared, np.arange(0))) == []


def test_a_file_that_is_missing_or_damaged_is_told(prepared, tmp_path):
    path = tmp_path / "prepared" / "rows" / "part-2.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"part-2\.parquet cannot be read"):
        list(stream_rows(prepared, np.array([33])))
    path.unlink()
    with pytest.raises(DataError, match=r"part-2\.parquet cannot be read"):
        list(stream_rows(prepared, np.array([33])))


def test_identifiers_of_some_rows_are_those_of_all(prepared):
    rows = np.random.default_rng(1).permutation(34)[:9]
    assert prepared.ids_of(rows) == [prepared.ids[row] for row in rows]
    assert prepared.ids_of(rows[:0]) == []


def test_streamed_batches_equal_indexed_ones_and_keep_no_file_in_memory(prepared):
    whole = RowBatches(prepared, FRAMING)
    order = np.random.default_rng(0).permutation(34)
    streamed = StreamedBatches(whole, order)
    for rows in np.array_split(order, 5):
        found, expected = streamed.load(rows), whole.load(rows)
        assert torch.equal(found.token_ids, expected.token_ids)
        assert torch.equal(found.lengths, expected.lengths)
        assert all(token_ids.base is None for token_ids, _ in streamed._waiting.values())
    assert not streamed._waiting


class Sums(nn.Module):
    """A line through the sum of the tokens: what it gives depends on every one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1)

    def forward(self, token_ids, lengths, specifiers=None):
        sums = (token_ids * (token_ids > 3)).sum(dim=1, keepdim=True)
        return self.line(sums.float() / 500)


def make_feed_of(kind: str, prepared: PreparedData, workers: Any) -> Feed:
    return make_feed(TrainingConfig(feed=kind), RowBatches(prepared, FRAMING), workers)


def train(
    folder, prepared, kind: str, settings: LoopSettings = SETTINGS, stop_at: int | None = None
):
    """Learn the sums of the tokens of 30 rows; give the losses and the rows of each batch."""
    seen: list[list[int]] = []

    def loss(module: nn.Module, loaded: Loaded) -> torch.Tensor:
        if len(seen) == stop_at:
            raise InterruptedError
        seen.append(loaded.rows.tolist())
        batch = loaded.batch
        sums = (batch.token_ids * (batch.token_ids > 3)).sum(dim=1, keepdim=True)
        return (module(batch.token_ids, batch.lengths) - sums.float() / 500).square().sum()

    torch.manual_seed(0)
    module = Sums()
    epochs = make_feed_of(kind, prepared, Workers()).epochs(
        np.arange(30), lambda rows: float(len(rows)), settings, by_length=True
    )
    progress = fit(
        module,
        replace(epochs, samples=lambda: []),
        Objective(loss=loss, validate=lambda module: {}),
        settings,
        Workers(),
        folder=folder,
        board=folder / "tboard",
        report=lambda event: None,
    )
    return module, [entry["train_loss"] for entry in progress.history], seen


@pytest.mark.parametrize("kind", ["indexed", "streaming"])
def test_training_reads_every_row_once_an_epoch_and_learns(tmp_path, prepared, kind):
    settings = replace(SETTINGS, num_epochs=20)
    _, losses, seen = train(tmp_path, prepared, kind, settings)
    assert losses[-1] < 0.1 * losses[0]
    rows = np.concatenate(seen).reshape(20, 30)
    assert (np.sort(rows, axis=1) == np.arange(30)).all()
    assert len({tuple(epoch) for epoch in rows.tolist()}) == 20
    assert len(seen) == 20 * 8


def test_both_feeds_learn_about_the_same(tmp_path, prepared):
    settings = replace(SETTINGS, num_epochs=20)
    _, indexed, _ = train(tmp_path / "i", prepared, "indexed", settings)
    _, streamed, _ = train(tmp_path / "s", prepared, "streaming", settings)
    assert streamed[-1] == pytest.approx(indexed[-1], abs=0.05 * indexed[0])


def test_a_streamed_run_broken_off_and_continued_equals_an_undisturbed_one(tmp_path, prepared):
    calm, _, _ = train(tmp_path / "calm", prepared, "streaming")
    often = replace(SETTINGS, checkpoint_minutes=1e-9)
    with pytest.raises(InterruptedError):
        train(tmp_path / "broken", prepared, "streaming", often, stop_at=19)
    continued, _, seen = train(tmp_path / "broken", prepared, "streaming")
    assert len(seen) == 6 * 8 - 18  # the step that was broken off comes again as a whole
    for name, value in calm.state_dict().items():
        assert torch.equal(continued.state_dict()[name], value)


@pytest.mark.parametrize("size", [2, 8])
@pytest.mark.parametrize("num_rows", [3, 30])
def test_workers_share_an_epoch_and_know_the_weight_of_its_steps(prepared, size, num_rows):
    settings = replace(SETTINGS, accumulation=8)

    def work(worker: ThreadWorker):
        feed = StreamedFeed(RowBatches(prepared, FRAMING), worker)
        epochs = feed.epochs(
            np.arange(num_rows), lambda rows: float(rows.sum()), settings, by_length=True
        )
        steps = [
            (step.weight, [loaded.rows.tolist() for loaded in step.micro_batches])
            for step in epochs.steps(0, 0)
        ]
        assert len(steps) == epochs.num_steps == 1
        return steps

    found = work_together(size, work)
    batches = [batch for steps in found for _, micro_batches in steps for batch in micro_batches]
    assert sorted(np.concatenate(batches)) == list(range(num_rows))
    expected = num_rows * (num_rows - 1) / 2
    assert {weight for steps in found for weight, _ in steps} == {expected}


@pytest.mark.parametrize("size", [1, 2, 8])
def test_streamed_evaluation_gives_every_row_its_own_output(prepared, size):
    rows = np.arange(34)
    columns = DataConfig(path="rows.tsv", sequence_column=Column(index=1))
    scores = {}
    for kind in ("indexed", "streaming"):
        config = Config(
            mode="fine-tune",
            task="regression",
            output_path="out",
            data=columns,
            training=TrainingConfig(feed=kind),
        )
        fold = Fold(index=0, name="", train=rows[:10], validation=rows[:0], test=rows[3:])
        data = FoldData(config, fold, prepared, FRAMING)
        module = Sums()
        with torch.no_grad():
            module.line.weight.fill_(0.5)
            module.line.bias.fill_(0.25)
        results = work_together(size, lambda w, d=data, m=module: evaluate(m, d, d.fold.test, w))
        scores[kind] = results
    for (_, expected), (_, found) in zip(scores["indexed"], scores["streaming"], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    tokens = [prepared.token_ids(row)[: FRAMING.room] for row in range(3, 34)]
    by_hand = [0.5 * ids[ids > 3].sum() / 500 + 0.25 for ids in tokens if len(ids) < FRAMING.room]
    kept = [len(ids) < FRAMING.room for ids in tokens]
    np.testing.assert_allclose(scores["streaming"][0][1][kept, 0], by_hand, rtol=1e-5)


@pytest.mark.parametrize("kind", ["indexed", "streaming"])
def test_fixed_batches_are_the_same_on_every_worker_and_shares_divide_the_rows(prepared, kind):
    rows = np.arange(0, 34, 2)
    feeds = [make_feed_of(kind, prepared, Workers(rank, 3)) for rank in range(3)]
    chosen = [[batch.tolist() for batch in feed.fixed_batches(rows, 2, SETTINGS)] for feed in feeds]
    assert chosen[0] == chosen[1] == chosen[2]
    assert [len(batch) for batch in chosen[0]] == [4, 4]
    assert set(np.concatenate(chosen[0])) <= set(rows)
    judged = np.concatenate([rows[feed.share(len(rows))] for feed in feeds])
    assert sorted(judged) == rows.tolist()
    batches = [batch for feed in feeds for batch in feed.batches_by_length(rows, 4)]
    assert sorted(np.concatenate(batches)) == rows.tolist()
    assert max(len(batch) for batch in batches) <= 4


def test_few_rows_wait_for_their_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(batching, "SHUFFLE_ROWS", 20)
    monkeypatch.setattr(streaming, "FEWEST_PARTS", 99)
    prepared = store_rows(tmp_path / "many", [10] * 40)
    places = {"rank": 0, "size": 1, "seed": 0, "fold": 0, "epoch": 0}
    order = batching.streamed_order(np.arange(400), prepared.part_starts, **places)
    batches = StreamedBatches(RowBatches(prepared, FRAMING), order)
    waiting = []
    for rows in np.array_split(order, 100):
        batches.load(rows)
        waiting.append(len(batches._waiting))
    assert 10 < max(waiting) <= 20 + 10


def test_a_set_that_is_only_streamed_is_never_copied(prepared, monkeypatch, tmp_path):
    def refuse(*arguments):
        raise AssertionError("copied")

    monkeypatch.setattr(prepared_data, "local_copy", refuse)
    remote = PreparedData.open(f"file://{tmp_path}/prepared")
    assert remote.lengths.tolist() == prepared.lengths.tolist()
    assert remote.labels.tolist() == prepared.labels.tolist()
    assert remote.ids_of(np.array([14, 2])) == ["g14", "g2"]
    assert len(dict(stream_rows(remote, np.arange(34)))) == 34
    with pytest.raises(AssertionError, match="copied"):
        remote.token_ids(0)
