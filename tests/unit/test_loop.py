import errno
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from biolm_ray.config.schema import TrainingConfig
from biolm_ray.errors import ResourceError, TrainingError
from biolm_ray.experiment.progress import SAVED
from biolm_ray.models.spec import Batch, Recipe
from biolm_ray.training import loop
from biolm_ray.training.accumulation import Loaded
from biolm_ray.training.feeds import IndexedFeed
from biolm_ray.training.loop import Objective, fit
from biolm_ray.training.settings import loop_settings
from biolm_ray.training.workers import Workers

RECIPE = Recipe(
    learning_rate=0.05,
    weight_decay=0.01,
    betas=(0.9, 0.99),
    gradient_clip=1.0,
    schedule="cosine",
    warmup_share=0.1,
    patience=6,
)
SETTINGS = loop_settings(
    TrainingConfig(batch_size=4, gradient_accumulation=2, num_epochs=6, seed=5),
    RECIPE,
    fold=0,
    default_metric="loss",
)
INPUTS = torch.linspace(-1, 1, 24)[:, None]
LABELS = 3 * INPUTS - 1


class Broken(Exception):
    pass


def make_module() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1))


def objective(losses: list[float] | None = None, breaks_at: int | None = None) -> Objective:
    """Squared errors; validation gives the listed losses in turn; training breaks at a batch."""
    validations, batches = [], []

    def validate(module: nn.Module) -> dict[str, float]:
        validations.append(None)
        if losses is not None:
            return {"loss": losses[len(validations) - 1]}
        module.eval()
        with torch.no_grad():
            return {"loss": float((module(INPUTS) - LABELS).square().mean())}

    def loss(module: nn.Module, loaded: Loaded) -> torch.Tensor:
        batches.append(None)
        if len(batches) == breaks_at:
            raise Broken
        return (module(INPUTS[loaded.rows]) - LABELS[loaded.rows]).square().sum()

    return Objective(loss=loss, validate=validate)


def batch_of(rows: np.ndarray) -> Batch:
    return Batch(token_ids=torch.from_numpy(rows)[:, None], lengths=torch.ones(len(rows)).long())


def train(
    folder: Path,
    module,
    what,
    settings=SETTINGS,
    report=lambda event: None,
    lengths=None,
    load=batch_of,
    weigh=lambda rows: float(len(rows)),
    **more,
):
    """Train on 24 rows, 3 steps of 2 micro-batches an epoch, without an estimate before."""
    batches = SimpleNamespace(lengths=lengths, load=load)
    epochs = IndexedFeed(batches, Workers()).epochs(
        np.arange(24), weigh, settings, by_length=lengths is not None
    )
    return fit(
        module,
        replace(epochs, samples=lambda: []),
        what,
        settings,
        Workers(**more),
        folder=folder,
        board=folder / "tboard",
        report=report,
    )


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_training_lowers_the_loss_and_reports_every_epoch(tmp_path):
    events = []
    progress = train(tmp_path, make_module(), objective(), report=events.append)
    losses = [entry["eval_loss"] for entry in progress.history]
    assert losses == sorted(losses, reverse=True)
    assert [event["epoch"] for event in events if "epoch" in event] == [1, 2, 3, 4, 5, 6]


def test_steps_of_rows_that_all_weigh_nothing_leave_the_loss_finite(tmp_path):
    weights = np.zeros(24)
    weights[3] = 2.0

    def loss(module: nn.Module, loaded: Loaded) -> torch.Tensor:
        errors = (module(INPUTS[loaded.rows]) - LABELS[loaded.rows]).square()
        return (errors[:, 0] * torch.from_numpy(weights[loaded.rows])).sum()

    what = replace(objective(), loss=loss)
    progress = train(tmp_path, make_module(), what, weigh=lambda rows: float(weights[rows].sum()))
    losses = [entry["eval_loss"] for entry in progress.history]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("minutes", [1e-9, 10])
@pytest.mark.parametrize("batch", [1, 5, 6, 13, 36])
def test_a_run_broken_off_anywhere_and_continued_equals_an_undisturbed_one(
    tmp_path, batch, minutes
):
    calm, broken, continued = make_module(), make_module(), make_module()
    settings = replace(SETTINGS, checkpoint_minutes=minutes)
    expected = train(tmp_path / "calm", calm, objective(), settings)
    with pytest.raises(Broken):
        train(tmp_path / "broken", broken, objective(breaks_at=batch), settings)
    found = train(tmp_path / "broken", continued, objective(), settings)
    assert same_weights(calm, continued)
    assert found.history == expected.history
    steps = [
        pd.read_csv(tmp_path / run / "steps.csv").drop(columns="seconds")
        for run in ("calm", "broken")
    ]
    pd.testing.assert_frame_equal(*steps)


def test_only_steps_after_the_checkpoint_are_done_again(tmp_path):
    settings = replace(SETTINGS, checkpoint_minutes=1e-9)
    with pytest.raises(Broken):
        train(tmp_path, make_module(), objective(breaks_at=23), settings)
    done = []
    plain = objective()

    def loss(module: nn.Module, loaded: Loaded) -> torch.Tensor:
        done.append(loaded.rows)
        return plain.loss(module, loaded)

    train(tmp_path, make_module(), replace(plain, loss=loss), settings)
    assert len(done) == 36 - 22


def test_a_checkpoint_is_written_when_the_machine_will_be_taken_away(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "REPORT_SECONDS", -1.0)
    events, what = [], objective(breaks_at=5)
    with pytest.raises(Broken):
        train(tmp_path, make_module(), what, report=events.append, must_leave=lambda: True)
    assert events.count({SAVED: 1.0}) == 2
    assert sorted(path.name[:16] for path in (tmp_path / "checkpoint").iterdir()) == [
        "000000-000000001",
        "000000-000000002",
    ]


def test_an_epoch_of_batches_of_similar_length_trains_on_every_row_once(tmp_path):
    lengths, seen = np.random.default_rng(0).permutation(24), []
    plain = objective()

    def loss(module: nn.Module, loaded: Loaded) -> torch.Tensor:
        seen.append(loaded.rows)
        return plain.loss(module, loaded)

    settings = replace(SETTINGS, num_epochs=1, accumulation=3)
    train(tmp_path, make_module(), replace(plain, loss=loss), settings, lengths=lengths)
    assert sorted(np.concatenate(seen)) == list(range(24))
    assert [len(rows) for rows in seen] == [4] * 6
    assert all((np.diff(lengths[rows]) > 0).all() for rows in seen)


def test_the_best_epoch_is_kept_and_patience_ends_the_run(tmp_path):
    settings = replace(SETTINGS, patience=2)
    progress = train(tmp_path, make_module(), objective([5.0, 1.0, 3.0, 2.0, 0.0]), settings)
    assert (progress.epochs, progress.best_epoch, progress.best) == (4, 2, 1.0)


def test_the_module_ends_with_the_weights_of_the_best_epoch(tmp_path):
    module = make_module()
    progress = train(tmp_path, module, objective([5.0, 1.0, 3.0, 4.0, 5.0, 6.0]))
    state = module.state_dict()
    assert all(torch.equal(state[name], value) for name, value in progress.best_weights.items())


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(tmp_path):
    calm, continued = make_module(), make_module()
    train(tmp_path / "calm", calm, objective())
    with pytest.raises(Broken):
        train(tmp_path / "broken", make_module(), objective(breaks_at=25))
    older, newest = sorted((tmp_path / "broken" / "checkpoint").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    events = []
    train(tmp_path / "broken", continued, objective(), report=events.append)
    assert older.name.startswith("000003-")
    notes = [event["note"] for event in events if "note" in event]
    why = "its content does not fit the checksum in its name"
    assert notes == [f"{newest} is damaged ({why}); it is left out"]
    assert same_weights(calm, continued)


def test_a_run_whose_first_checkpoint_is_damaged_begins_anew(tmp_path):
    calm, again = make_module(), make_module()
    train(tmp_path / "calm", calm, objective())
    with pytest.raises(Broken):
        train(tmp_path / "broken", make_module(), objective(breaks_at=8))
    (only,) = (tmp_path / "broken" / "checkpoint").iterdir()
    only.write_bytes(b"")
    events = []
    train(tmp_path / "broken", again, objective(), report=events.append)
    notes = [event["note"] for event in events if "note" in event]
    assert [note.startswith(f"{only} is damaged (") for note in notes] == [True]
    assert same_weights(calm, again)


def test_a_run_whose_checkpoints_are_all_damaged_stops(tmp_path):
    with pytest.raises(Broken):
        train(tmp_path, make_module(), objective(breaks_at=25))
    for path in (tmp_path / "checkpoint").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match="every checkpoint is damaged"):
        train(tmp_path, make_module(), objective())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    with pytest.raises(Broken):
        train(tmp_path, make_module(), objective(breaks_at=25))
    other = nn.Sequential(nn.Linear(1, 9), nn.Linear(9, 1))
    with pytest.raises(TrainingError, match="is of another model"):
        train(tmp_path, other, objective())


def test_a_full_disk_is_told_and_what_was_written_before_is_used(tmp_path, monkeypatch):
    """The disk is full from the 4th checkpoint on; with room again, training goes on."""
    calm, continued = make_module(), make_module()
    train(tmp_path / "calm", calm, objective())
    save, calls = torch.save, []

    def fails_in_the_end(state, file):
        calls.append(None)
        if len(calls) == 4:
            file.write(b"half")
            raise RuntimeError("unexpected pos") from OSError(errno.ENOSPC, "No space left")
        save(state, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fails_in_the_end)
        with pytest.raises(ResourceError, match="no space is left"):
            train(tmp_path / "full", make_module(), objective())
    names = sorted(path.name[:6] for path in (tmp_path / "full" / "checkpoint").iterdir())
    assert names == ["000002", "000003"]
    train(tmp_path / "full", continued, objective())
    assert same_weights(calm, continued)


def train_until_nan(folder: Path, module, *, at: int = 1, gradient_only=False, carried=None) -> str:
    """Train with a loss, or only a gradient, that is no number at a batch; give the message."""
    batches = []

    def loss(module: nn.Module, loaded: Loaded) -> torch.Tensor:
        batches.append(None)
        found = module(INPUTS[loaded.rows]).square().sum()
        if len(batches) < at:
            return found
        # The root has no slope at 0, but a value.
        return (found * 0).sqrt() if gradient_only else found * np.nan

    def batch(rows: np.ndarray) -> Batch:
        numbers = None if carried is None else torch.full((len(rows), 1, 2), carried)
        return replace(batch_of(rows), specifiers=numbers)

    with pytest.raises(TrainingError) as error:
        train(folder, module, replace(objective(), loss=loss), load=batch)
    return str(error.value)


def test_a_loss_that_is_no_number_ends_the_run_with_its_likely_reason(tmp_path):
    advice = "try a smaller learning rate"
    first = train_until_nan(tmp_path / "first", make_module())
    assert first.startswith("the training loss became nan in epoch 1, step 1; no step was taken")
    later = train_until_nan(tmp_path / "later", make_module(), at=3)
    assert later.startswith(f"the training loss became nan in epoch 1, step 2; {advice}")
    large = train_until_nan(tmp_path / "large", make_module(), at=3, carried=3e7)
    assert "tokens of the step carry numbers up to 3e+07" in large
    assert advice not in first + large
    small = train_until_nan(tmp_path / "small", make_module(), at=3, carried=7.0)
    assert advice in small
    odd = make_module()
    torch.nn.init.constant_(odd[0].weight, np.nan)
    message = train_until_nan(tmp_path / "odd", odd)
    assert "began with are not finite numbers, first '0.weight'" in message


def test_a_gradient_or_a_validation_that_is_no_number_ends_the_run(tmp_path):
    found = train_until_nan(tmp_path / "gradient", make_module(), at=5, gradient_only=True)
    assert found.startswith("the gradient became nan in epoch 1, step 3")
    with pytest.raises(TrainingError, match="the validation loss became nan after epoch 2"):
        train(tmp_path / "validation", make_module(), objective(losses=[1.0, np.nan]))


def test_settings_come_from_the_configuration_or_else_from_the_recipe():
    recipe = Recipe(learning_rate=0.1, batch_size=7, num_epochs=9, schedule="cosine")
    training = TrainingConfig(learning_rate=0.2, patience=4)
    settings = loop_settings(training, recipe, fold=2, default_metric="pearson")
    assert (settings.learning_rate, settings.batch_size, settings.num_epochs) == (0.2, 7, 9)
    assert (settings.patience, settings.stop_metric, settings.fold) == (4, "pearson", 2)


def test_resume_with_a_number_trains_that_many_epochs():
    training = TrainingConfig(resume=5, num_epochs=50)
    settings = loop_settings(training, Recipe(learning_rate=1.0), fold=0, default_metric="loss")
    assert settings.num_epochs == 5


def test_what_a_killed_worker_has_half_written_is_removed(tmp_path):
    half = tmp_path / "checkpoint" / ".written.pt.x1" / "written.pt"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    train(tmp_path, make_module(), objective())
    assert not half.parent.exists()
    assert len(list((tmp_path / "checkpoint").iterdir())) == 2
