import json
import struct
from pathlib import Path

import pandas as pd
import pytest
from tensorboardX.proto.event_pb2 import Event
from transformers import TrainerState

from biolm_ray.training.checkpoint import Progress
from biolm_ray.training.journal import Journal, write_state


def take_step(journal: Journal, epoch: int, step: int, loss: float) -> None:
    journal.step(
        epoch=epoch,
        step=step,
        loss=loss,
        learning_rate=0.001,
        gradient_norm=2.0,
        rows=8,
        seconds=0.1,
    )


def curves(board: Path) -> dict[str, list[tuple[int, float]]]:
    """Read the points of each curve from the records of the event files."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in board.glob("events*"):
        content = path.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            for value in event.summary.value:
                points = found.setdefault(value.tag, [])
                points.append((event.step, pytest.approx(value.simple_value)))
    return found


@pytest.fixture
def broken_off(tmp_path) -> Path:
    """Two epochs of two steps and half of a third, of which the last step was not kept."""
    journal = Journal(tmp_path, tmp_path / "board", Progress(), 2)
    for epoch, step in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]:
        take_step(journal, epoch, step, loss=epoch + step / 10)
        if step == 2:
            journal.epoch(epoch, {"train_loss": float(epoch)})
    journal.close()
    return tmp_path


def go_on(folder: Path) -> None:
    history = [{"train_loss": 1.0}, {"train_loss": 2.0}]
    progress = Progress(epochs=2, steps=1, history=history)
    journal = Journal(folder, folder / "board", progress, 2)
    take_step(journal, 3, 2, loss=9.0)
    journal.close()


def test_every_step_has_a_line(broken_off):
    table = pd.read_csv(broken_off / "steps.csv")
    assert table["loss"].tolist() == [1.1, 1.2, 2.1, 2.2, 3.1, 3.2]
    assert table["epoch"].tolist() == [1, 1, 2, 2, 3, 3]
    assert table["learning_rate"].unique().tolist() == [0.001]


def test_steps_after_the_checkpoint_are_forgotten(broken_off):
    go_on(broken_off)
    assert pd.read_csv(broken_off / "steps.csv")["loss"].tolist() == [1.1, 1.2, 2.1, 2.2, 3.1, 9.0]
    found = curves(broken_off / "board")
    assert found["step/loss"] == [(1, 1.1), (2, 1.2), (3, 2.1), (4, 2.2), (5, 3.1), (6, 9.0)]
    assert found["train_loss"] == [(1, 1.0), (2, 2.0)]


def test_a_line_cut_short_by_a_crash_is_left_out(broken_off):
    path = broken_off / "steps.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], lines[5][:4]]))
    go_on(broken_off)
    assert pd.read_csv(path)["loss"].tolist() == [1.1, 1.2, 2.1, 2.2, 9.0]


def test_the_state_lists_every_epoch(tmp_path):
    journal = Journal(tmp_path, tmp_path / "board", Progress(), 2)
    for epoch, step in [(1, 1), (1, 2), (2, 1), (2, 2)]:
        take_step(journal, epoch, step, loss=1.0)
    journal.close()
    progress = Progress(epochs=2, best=0.5, best_epoch=1)
    progress.history = [{"train_loss": 0.9, "eval_loss": 0.5}, {"train_loss": 0.8}]
    write_state(tmp_path, progress)
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    assert (state["epoch"], state["global_step"], state["best_metric"]) == (2.0, 4, 0.5)
    rates = {"learning_rate": 0.001, "grad_norm": 2.0}
    assert state["log_history"] == [
        {"epoch": 1.0, "step": 2, "loss": 0.9, **rates},
        {"epoch": 1.0, "step": 2, "eval_loss": 0.5},
        {"epoch": 2.0, "step": 4, "loss": 0.8, **rates},
    ]


def test_the_state_is_read_as_that_of_an_old_experiment(tmp_path, shared):
    """What a script finds in the reference's file, it finds in ours, as transformers does."""
    journal = Journal(tmp_path, tmp_path / "board", Progress(), 1)
    take_step(journal, 1, 1, loss=1.0)
    journal.close()
    history = [{"train_loss": 0.9, "eval_loss": 0.5}]
    write_state(tmp_path, Progress(epochs=1, best=0.5, best_epoch=1, history=history))
    old = json.loads((shared / "golden/old_saluki_experiment/trainer_state.json").read_text())
    new = json.loads((tmp_path / "trainer_state.json").read_text())
    assert {"epoch", "global_step", "best_metric", "log_history"} == new.keys() <= old.keys()
    state = TrainerState.load_from_json(str(tmp_path / "trainer_state.json"))
    assert (state.global_step, state.log_history[0]["loss"]) == (1, 0.9)
    assert new["log_history"][0].keys() == old["log_history"][0].keys()
    assert new["log_history"][1].keys() <= old["log_history"][1].keys()
