"""What the trials damage copies of: an experiment, a broken-off training, and what they predict."""

import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from trials.command import FINISHED, Running, ending

from biolm_ray.demo.data import DATA_SETTINGS, write_demo_data

NUM_ROWS = 24
SETTINGS = (
    DATA_SETTINGS
    + """\
  prepared_path: prepared
splits: {num_folds: 2}
preprocessing: {block_size: 300}
training: {batch_size: 4, num_epochs: %d, patience: 100, scaling: log, checkpoint_minutes: 0.001}
model: {name: saluki, channels: 8, num_layers: 2}
"""
)
FEW, MANY = 2, 60
"""Epochs of the finished experiment, and of the one that is broken off."""
EXPERIMENT, BROKEN_OFF = "experiment", "broken_off"
PREDICTIONS = Path("predict") / "test_predictions.csv"


@dataclass(frozen=True)
class Whole:
    """Finished work, to be copied.

    Attributes:
        folder: Holds the data, the configuration files and the experiments.
        address: Of a Ray cluster that trials may join; "local" has each start its own.
        predictions: What the experiment predicts of its own data.
    """

    folder: Path
    address: str
    predictions: str

    def copy(self, place: Path) -> None:
        """Copy all of it to a place of its own."""
        shutil.copytree(self.folder, place, symlinks=True, dirs_exist_ok=True)

    @property
    def joined(self) -> dict[str, str | None]:
        """The environment of a command that joins the cluster."""
        return {"RAY_ADDRESS": None if self.address == "local" else self.address}


def make_whole(folder: Path, address: str) -> Whole:
    """Train and predict once, and break a training off."""
    folder.mkdir(parents=True)
    write_demo_data(folder / "demo.tsv", num_rows=NUM_ROWS)
    for name, epochs in (("run.yaml", FEW), ("long.yaml", MANY)):
        (folder / name).write_text(SETTINGS % epochs, encoding="utf-8")
    whole = Whole(folder, address, "")
    _finish(whole, "fine-tune", "--configfile", "run.yaml", "--outputpath", EXPERIMENT)
    _finish(
        whole, "interpret", "--configfile", "run.yaml", "--outputpath", EXPERIMENT,
        "--handletokens", "mask", "--set", "interpret.folds=0",
    )  # fmt: skip
    _finish(whole, *predicting("predictions"))
    _break_off(whole)
    return Whole(folder, address, (folder / "predictions" / PREDICTIONS).read_text())


def predicting(output: str, experiment: str = EXPERIMENT) -> tuple[str, ...]:
    """The command that predicts the experiment's own data into another folder."""
    return (
        "predict", "--configfile", "run.yaml", "--pretrainedmodel", experiment,
        "--outputpath", output,
    )  # fmt: skip


def _finish(whole: Whole, *arguments: str) -> None:
    ended = Running(whole.folder, arguments, whole.joined).end()
    if ending(ended) != FINISHED:
        raise SystemExit(f"{' '.join(arguments)} failed, undamaged:\n{ended.output[-3000:]}")


def _break_off(whole: Whole) -> None:
    """Kill a training once a fold has two checkpoints."""
    arguments = ("fine-tune", "--configfile", "long.yaml", "--outputpath", BROKEN_OFF)
    running = Running(whole.folder, arguments, whole.joined)
    output = whole.folder / BROKEN_OFF
    while running.process.poll() is None:
        if any(
            len(list(fold.glob("*-*.pt"))) >= 2 for fold in output.glob("fine-tune/*/checkpoint")
        ):
            break
        time.sleep(0.02)
    running.send(signal.SIGKILL)
    running.end()
    if not list(output.glob("fine-tune/*/checkpoint/*-*.pt")):
        raise SystemExit("the training that was to be broken off has ended without checkpoints")
