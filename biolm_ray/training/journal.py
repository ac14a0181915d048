"""The record of a training: TensorBoard events and the state file users' scripts read."""

from pathlib import Path

from tensorboardX import SummaryWriter

from biolm_ray.files import write_json
from biolm_ray.training.checkpoint import Progress


def write_journal(folder: Path, board: Path, progress: Progress, stop_metric: str) -> None:
    """Write `trainer_state.json` into the fold's folder and its curves as TensorBoard events."""
    write_json(
        folder / "trainer_state.json",
        {
            "epoch": progress.epochs,
            "best_epoch": progress.best_epoch,
            "best_metric": progress.best,
            "metric_for_best_model": stop_metric,
            "log_history": [
                {"epoch": epoch, **values} for epoch, values in enumerate(progress.history, 1)
            ],
        },
    )
    with SummaryWriter(str(board)) as writer:
        for epoch, values in enumerate(progress.history, 1):
            for name, value in values.items():
                writer.add_scalar(name, value, epoch)
