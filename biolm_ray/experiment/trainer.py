"""What runs in a model's task and its workers: a TorchTrainer around the work."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ray

from biolm_ray.errors import TrainingError, without_exits
from biolm_ray.experiment.notices import preemption_announced, stop_announced
from biolm_ray.experiment.placement import Placement
from biolm_ray.experiment.storage import check_sees
from biolm_ray.shortages import shortage_as_error

TRAIN_STATE = "ray"


def train_with_ray(
    job: Any, work: Callable[..., dict[str, float]], placement: Placement, board: Any, attempt: int
) -> dict[str, float]:
    """Run one job through a TorchTrainer; with one worker it runs in this very process.

    Ray Train restarts its workers here only where nodes are taken away after a notice, or cannot
    be started yet. It would repeat what the work raises, too; so losses are left to the driver,
    which knows what is worth another attempt.
    """
    alone = placement.num_workers == 1
    if alone:
        _tell_start(board, job.name, attempt)
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    resources = {"CPU": placement.cpus_per_worker} | ({"GPU": 1} if placement.use_gpu else {})
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={
            "job": job,
            "work": work,
            "board": board,
            "attempt": attempt,
            "num_cpus": placement.cpus_per_worker,
        },
        scaling_config=ScalingConfig(
            num_workers=0 if alone else placement.num_workers,
            use_gpu=placement.use_gpu,
            resources_per_worker=None if alone else resources,
        ),
        run_config=RunConfig(
            name=TRAIN_STATE,
            storage_path=str(job.folder),
            failure_config=FailureConfig(max_failures=0),
        ),
    )
    metrics = trainer.fit().return_value
    assert metrics is not None
    shutil.rmtree(job.folder / TRAIN_STATE, ignore_errors=True)
    return metrics


def train_worker(settings: dict[str, Any]) -> dict[str, float]:
    """What every worker runs: find its place among the workers and do the work."""
    import ray.train
    import torch
    from ray.train.torch import get_device

    from biolm_ray.models.plugins import plugin_named
    from biolm_ray.training.threads import use_threads
    from biolm_ray.training.workers import Workers

    use_threads(settings["num_cpus"])
    context = ray.train.get_context()
    device = get_device()
    assert isinstance(device, torch.device)
    workers = Workers(context.get_world_rank(), context.get_world_size(), device)
    nodes = set(workers.gather(ray.get_runtime_context().get_node_id()))
    job, board = settings["job"], settings["board"]

    def must_leave() -> bool:
        return preemption_announced(nodes) or stop_announced(board)

    workers = replace(workers, must_leave=must_leave)
    if workers.size > 1:
        _tell_start(board, job.name, settings["attempt"])

    def report(event: Mapping[str, float | str]) -> None:
        if workers.is_first:
            board.report.remote(job.name, event)

    plugin = job.config.model.plugin
    check_sees(job.folder)
    with shortage_as_error(job.folder), without_exits(), plugin_named(plugin, TrainingError):
        return settings["work"](job, workers, report)


def _tell_start(board: Any, name: str, attempt: int) -> None:
    context = ray.get_runtime_context()
    board.start.remote(name, attempt, context.get_node_id(), context.get_worker_id())
