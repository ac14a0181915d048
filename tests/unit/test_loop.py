from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from biolm_ray.config.schema import TrainingConfig
from biolm_ray.errors import TrainingError
from biolm_ray.models.spec import Recipe
from biolm_ray.training.feeds import IndexedFeed
from biolm_ray.training.loop import Loaded, LoopSettings, Objective, fit, loop_settings
from biolm_ray.training.workers import Workers

SETTINGS = LoopSettings(
    batch_size=4,
    accumulation=2,
    num_epochs=6,
    patience=6,
    learning_rate=0.05,
    weight_decay=0.01,
    betas=(0.9, 0.99),
    gradient_clip=1.0,
    schedule="cosine",
    warmup_share=0.1,
    stop_metric="loss",
    seed=5,
    fold=0,
)
INPUTS = torch.linspace(-1, 1, 24)[:, None]
LABELS = 3 * INPUTS - 1


class Broken(Exception):
    pass


def make_module() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1))


def objective(losses: list[float] | None = None, breaks_at: int | None = None) -> Objective:
    """Squared errors; validation gives the listed losses in turn, or raises at one of them."""
    calls = []

    def validate(module: nn.Module) -> dict[str, float]:
        calls.append(None)
        if len(calls) == breaks_at:
            raise Broken
        if losses is not None:
            return {"loss": losses[len(calls) - 1]}
        module.eval()
        with torch.no_grad():
            return {"loss": float((module(INPUTS) - LABELS).square().mean())}

    def loss(module: nn.Module, loaded: Loaded) -> torch.Tensor:
        return (module(INPUTS[loaded.rows]) - LABELS[loaded.rows]).square().sum()

    return Objective(loss=loss, validate=validate)


def train(tmp_path, module, what, settings=SETTINGS, report=lambda event: None, lengths=None):
    path = tmp_path / "checkpoint" / "last.pt"
    batches = SimpleNamespace(lengths=lengths, load=lambda rows: None)
    epochs = IndexedFeed(batches, Workers()).epochs(
        np.arange(24), lambda rows: float(len(rows)), settings, by_length=lengths is not None
    )
    return fit(module, epochs, what, settings, Workers(), checkpoint=path, report=report)


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_training_lowers_the_loss_and_reports_every_epoch(tmp_path):
    events = []
    progress = train(tmp_path, make_module(), objective(), report=events.append)
    losses = [entry["eval_loss"] for entry in progress.history]
    assert losses == sorted(losses, reverse=True)
    assert [event["epoch"] for event in events if "epoch" in event] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("epoch", [1, 3, 6])
def test_a_run_broken_off_and_continued_equals_an_undisturbed_one(tmp_path, epoch):
    calm, continued = make_module(), make_module()
    train(tmp_path / "calm", calm, objective())
    with pytest.raises(Broken):
        train(tmp_path / "broken", continued, objective(breaks_at=epoch))
    fresh = make_module()
    train(tmp_path / "broken", fresh, objective())
    assert same_weights(calm, fresh)


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


def test_a_damaged_checkpoint_is_told(tmp_path):
    with pytest.raises(Broken):
        train(tmp_path, make_module(), objective(breaks_at=3))
    path = tmp_path / "checkpoint" / "last.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"last\.pt: this checkpoint is damaged"):
        train(tmp_path, make_module(), objective())


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    broken = replace(
        objective(), loss=lambda module, loaded: module(INPUTS[loaded.rows]).sum() * np.nan
    )
    with pytest.raises(TrainingError, match=r"became nan in epoch 1, step 1"):
        train(tmp_path, make_module(), broken)


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
