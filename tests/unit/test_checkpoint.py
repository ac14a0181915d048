"""A checkpoint that does not fit is left out before any of it is used, and the one before taken."""

import io
import math
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from biolm_ray.errors import TrainingError
from biolm_ray.training.checkpoint import Checkpoints, Progress, _checksum

NUM_STEPS = 5


def make_module(width: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def make_optimizer(module: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(module.parameters(), lr=0.1, betas=(0.8, 0.9))


def take_step(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    module(torch.linspace(-1, 1, 8).reshape(4, 2)).square().sum().backward()
    optimizer.step()


def write_two(folder: Path, *, width: int = 4) -> tuple[Path, Path]:
    """Write the checkpoints of a first epoch and of two steps of the second."""
    module = make_module(width)
    optimizer = make_optimizer(module)
    checkpoints = Checkpoints(folder, print)
    take_step(module, optimizer)
    best = {name: value.clone() for name, value in module.state_dict().items()}
    progress = Progress(
        epochs=1,
        best=0.5,
        best_epoch=1,
        best_weights=best,
        history=[{"train_loss": 0.7, "eval_loss": 0.5, "eval_pearson": math.nan}],
    )
    checkpoints.save(progress, module, optimizer)
    take_step(module, optimizer)
    progress.steps, progress.loss_sum, progress.weight_sum = 2, 1.5, 8.0
    checkpoints.save(progress, module, optimizer)
    older, newest = sorted(folder.iterdir())
    return older, newest


def restored(folder: Path, module: nn.Module | None = None, num_steps: int = NUM_STEPS):
    module = module or make_module()
    notes: list[str] = []
    optimizer = make_optimizer(module)
    progress = Checkpoints(folder, notes.append).restore(module, optimizer, num_steps)
    return progress, module, optimizer, notes


def replaced(path: Path, content: bytes) -> Path:
    """Put other content in the place of a checkpoint, with its checksum in the name."""
    path.write_bytes(content)
    return path.rename(path.with_name(f"{path.name[:17]}{_checksum(path)}.pt"))


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    state = torch.load(path, weights_only=True)
    change(state)
    return replaced(path, stored(state))


def stored(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def packed(content: bytes) -> bytes:
    """The same archive with every part packed, as one that would unfold in memory."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as whole,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in whole.namelist():
            archive.writestr(name, whole.read(name))
    return buffer.getvalue()


def setting(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(state: dict[str, Any]) -> None:
        *above, last = name.split("/")
        for key in above:
            state = state[int(key) if key.isdigit() else key]
        state[int(last) if last.isdigit() else last] = value

    return change


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another key": setting("further", 1),
    "no steps": lambda state: state.pop("steps"),
    "no history": lambda state: state.pop("history"),
    "no weights": lambda state: state.pop("weights"),
    "epochs that are no number": setting("epochs", "1"),
    "negative epochs": setting("epochs", -1),
    "epochs that history does not tell of": setting("epochs", 2),
    "steps that are true": setting("steps", True),
    "steps as a tensor": setting("steps", torch.tensor(2)),
    "steps beyond the epoch": setting("steps", NUM_STEPS + 1),
    "an endless loss": setting("loss_sum", math.inf),
    "losses of no steps": setting("steps", 0),
    "no parts": setting("num_parts", 0),
    "a best value in words": setting("best", "high"),
    "a best epoch to come": setting("best_epoch", 2),
    "no best epoch": setting("best_epoch", 0),
    "no best weights": setting("best_weights", {}),
    "best weights of nothing": setting("best_weights", None),
    "a history in lists": setting("history", [{"train_loss": 0.7}]),
    "a history that is cut": setting("history", '[{"train_loss": 0.7'),
    "a history too deep": setting("history", "[" * 100_000),
    "a history in words": setting("history", '[{"train_loss": "low"}]'),
    "a history without losses": setting("history", "[{}]"),
    "weights as a list": setting("weights", [1, 2]),
    "weights by number": setting("weights", {1: torch.zeros(2)}),
    "a weight too few": lambda state: state["weights"].pop("0.weight"),
    "a weight too many": setting("weights/1.further", torch.zeros(2)),
    "a weight in words": setting("weights/0.weight", "words"),
    "a weight of another shape": setting("weights/0.weight", torch.zeros(9, 9)),
    "a weight of another type": setting("weights/0.weight", torch.zeros(4, 2).double()),
    "a weight that is sparse": setting("weights/0.weight", torch.zeros(4, 2).to_sparse()),
    "a weight without memory": setting("weights/0.weight", torch.zeros(4, 2, device="meta")),
    "a weight that is NaN": setting("weights/0.weight", torch.full((4, 2), math.nan)),
    "a best weight too few": lambda state: state["best_weights"].pop("0.weight"),
    "a best weight of another shape": setting("best_weights/0.weight", torch.zeros(9, 9)),
    "a best weight that is NaN": setting("best_weights/0.weight", torch.full((4, 2), math.nan)),
    "no state of the optimizer": setting("optimizer", {}),
    "an optimizer in words": setting("optimizer", "AdamW"),
    "an optimizer of no groups": setting("optimizer/param_groups", []),
    "an optimizer of other parameters": setting("optimizer/param_groups/0/params", [0, 1]),
    "moments of other parameters": setting("optimizer/state/99", {}),
    "moments as a list": setting("optimizer/state", []),
    "moments of another optimizer": setting("optimizer/state/0", {"momentum": torch.zeros(4, 2)}),
    "moments of another shape": setting("optimizer/state/0/exp_avg", torch.zeros(2)),
    "moments that are NaN": setting("optimizer/state/0/exp_avg", torch.full((4, 2), math.nan)),
    "negative squares": setting("optimizer/state/0/exp_avg_sq", torch.full((4, 2), -1.0)),
    "steps of the optimizer in words": setting("optimizer/state/0/step", "1"),
    "steps of the optimizer below 1": setting("optimizer/state/0/step", torch.tensor(-1.0)),
    "a later version": setting("format_version", 2),
}


def assert_older_is_used(folder: Path, newest: Path) -> None:
    progress, module, optimizer, notes = restored(folder)
    assert (progress.epochs, progress.steps, progress.loss_sum) == (1, 0, 0.0)
    assert torch.equal(module.state_dict()["0.weight"], progress.best_weights["0.weight"])
    assert optimizer.state_dict()["state"][0]["step"] == 1
    (note,) = notes
    assert note.startswith(f"{newest} is damaged (")
    assert note.endswith("); it is left out")
    assert "weights_only" not in note
    assert "\n" not in note


def test_the_newest_is_restored_as_it_was_written(tmp_path: Path) -> None:
    _, newest = write_two(tmp_path)
    state = torch.load(newest, weights_only=True)
    progress, module, optimizer, notes = restored(tmp_path)
    assert notes == []
    assert (progress.epochs, progress.steps, progress.loss_sum) == (1, 2, 1.5)
    assert math.isnan(progress.history[0]["eval_pearson"])
    for name, value in module.state_dict().items():
        assert torch.equal(value, state["weights"][name])
    for number, kept in optimizer.state_dict()["state"].items():
        for name, value in kept.items():
            assert torch.equal(value, state["optimizer"]["state"][number][name])
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)


def test_one_without_a_version_is_of_the_first(tmp_path: Path) -> None:
    _, newest = write_two(tmp_path)
    changed(newest, lambda state: state.pop("format_version"))
    progress, *_, notes = restored(tmp_path)
    assert (progress.steps, notes) == (2, [])


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_wrong_content_under_a_valid_checksum_is_damage(tmp_path: Path, change) -> None:
    _, newest = write_two(tmp_path)
    assert_older_is_used(tmp_path, changed(newest, change))


CONTENTS = {
    "nothing": lambda whole: b"",
    "garbage": lambda whole: b"garbage",
    "a half": lambda whole: whole[: len(whole) // 2],
    "a pickle": lambda whole: pickle.dumps({"epochs": print}),
    "a tensor": lambda whole: stored(torch.zeros(3)),
    "a list": lambda whole: stored([1, 2]),
    "code": lambda whole: stored({"epochs": print}),
    "packed": packed,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_is_no_checkpoint_is_damage(tmp_path: Path, content) -> None:
    _, newest = write_two(tmp_path)
    assert_older_is_used(tmp_path, replaced(newest, content(newest.read_bytes())))


@pytest.mark.parametrize("other", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_damage_and_goes_with_the_next_checkpoint(tmp_path: Path, other) -> None:
    _, newest = write_two(tmp_path)
    newest.unlink()
    other(newest)
    assert_older_is_used(tmp_path, newest)
    module = make_module()
    optimizer = make_optimizer(module)
    checkpoints = Checkpoints(tmp_path, lambda note: None)
    progress = checkpoints.restore(module, optimizer, NUM_STEPS)
    progress.steps = 1
    checkpoints.save(progress, module, optimizer)
    assert [path.name[:16] for path in sorted(tmp_path.iterdir())] == [
        "000001-000000000",
        "000001-000000001",
    ]


def test_the_same_steps_taken_again_take_the_place_of_a_damaged_checkpoint(tmp_path: Path) -> None:
    _, newest = write_two(tmp_path)
    whole = newest.read_bytes()
    newest.write_bytes(whole[:-1])
    module = make_module()
    optimizer = make_optimizer(module)
    checkpoints = Checkpoints(tmp_path, lambda note: None)
    progress = checkpoints.restore(module, optimizer, NUM_STEPS)
    take_step(module, optimizer)
    progress.steps, progress.loss_sum, progress.weight_sum = 2, 1.5, 8.0
    checkpoints.save(progress, module, optimizer)
    assert newest.read_bytes() == whole
    assert restored(tmp_path)[0].steps == 2


def test_a_file_that_cannot_be_read_is_damage(tmp_path: Path, monkeypatch) -> None:
    _, newest = write_two(tmp_path)
    opened = Path.open

    def refused(path: Path, *arguments, **named):
        if path == newest:
            raise OSError(5, "Input/output error")
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refused)
    assert_older_is_used(tmp_path, newest)


def test_of_another_model_it_is_said_and_the_model_stays_as_it_was(tmp_path: Path) -> None:
    write_two(tmp_path, width=7)
    module = make_module()
    with pytest.raises(TrainingError, match=r"is of another model \(.*; run without resume"):
        restored(tmp_path, module)
    assert all(
        torch.equal(value, made)
        for value, made in zip(
            module.state_dict().values(), make_module().state_dict().values(), strict=True
        )
    )


def test_where_all_are_damaged_it_is_said_what_to_do(tmp_path: Path) -> None:
    for path in write_two(tmp_path):
        changed(path, setting("epochs", -1))
    module = make_module()
    with pytest.raises(TrainingError, match=r"every checkpoint is damaged \(.*'epochs'.*; run"):
        restored(tmp_path, module)
    assert torch.equal(module.state_dict()["0.weight"], make_module().state_dict()["0.weight"])


def test_a_damaged_one_and_one_of_another_model_do_not_train_a_third(tmp_path: Path) -> None:
    older, _ = write_two(tmp_path / "other", width=7)
    target = tmp_path / "one"
    _, damaged = write_two(target)
    changed(damaged, setting("steps", "2"))
    for path in target.glob("000001-000000000-*"):
        path.unlink()
    shutil.copy(older, target)
    with pytest.raises(TrainingError, match="is of another model"):
        restored(target)
