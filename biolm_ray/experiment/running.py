"""Train several models side by side on Ray, each with its own workers."""

import shutil
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from biolm_ray.errors import BiolmError, TrainingError, root_cause
from biolm_ray.experiment.placement import Placement
from biolm_ray.experiment.progress import Board, Display

MAX_RETRIES = 2
TRAIN_STATE = "ray"
# A trial of Ray Tune holds a placement group, and would have the tasks it starts fit into it.
OUTSIDE_ANY_GROUP = PlacementGroupSchedulingStrategy(PlacementGroup.empty())


class Job(Protocol):
    """What a model's training needs; `name` is unique among those that run together."""

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> Path: ...


@dataclass(frozen=True)
class Outcome:
    """What became of one job: its metrics, or the error that ended it."""

    job: Any
    metrics: dict[str, float] | None = None
    error: Exception | None = None


def run_jobs(
    jobs: list[Any], work: Callable[..., dict[str, float]], placement: Placement, display: Display
) -> list[Outcome]:
    """Run `work(job, workers, report)` for every job, as many at a time as the placement says.

    A failed job does not stop the others. Jobs whose workers cannot be placed yet wait, so a
    cluster may start from nothing.
    """
    board: Any = ray.remote(num_cpus=0)(Board).remote()
    waiting, running, outcomes = deque(jobs), {}, {}
    while waiting or running:
        while waiting and len(running) < placement.parallel:
            job = waiting.popleft()
            running[_submit(job, work, placement, board)] = job
        done, _ = ray.wait(list(running), timeout=1)
        for reference in done:
            job = running.pop(reference)
            outcomes[job.name] = _outcome(job, reference)
        display.update(ray.get(board.events.remote()))
    ray.kill(board)
    return [outcomes[job.name] for job in jobs]


def _submit(job: Any, work: Callable, placement: Placement, board: Any) -> ray.ObjectRef:
    """Send off a job: inside one task with a single worker, else with workers of its own."""
    if placement.num_workers == 1:
        options: dict[str, Any] = {
            "num_cpus": placement.cpus_per_worker,
            "num_gpus": int(placement.use_gpu),
            "scheduling_strategy": OUTSIDE_ANY_GROUP,
        }
    else:
        here = ray.get_runtime_context().get_node_id()
        options = {"num_cpus": 0, "label_selector": {"ray.io/node-id": here}}
    task = ray.remote(max_retries=MAX_RETRIES, **options)(train_with_ray)
    return task.remote(job, work, placement, board)


def _outcome(job: Any, reference: ray.ObjectRef) -> Outcome:
    try:
        return Outcome(job, metrics=ray.get(reference))
    except RayTaskError as error:
        cause = root_cause(error)
        return Outcome(job, error=cause)
    except RayError as error:
        return Outcome(job, error=error)


def train_with_ray(job: Any, work: Callable, placement: Placement, board: Any) -> dict[str, float]:
    """Run one job through a TorchTrainer; with one worker it runs in this very process."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    alone = placement.num_workers == 1
    resources = {"CPU": placement.cpus_per_worker} | ({"GPU": 1} if placement.use_gpu else {})
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job, "work": work, "board": board},
        scaling_config=ScalingConfig(
            num_workers=0 if alone else placement.num_workers,
            use_gpu=placement.use_gpu,
            resources_per_worker=None if alone else resources,
        ),
        run_config=RunConfig(
            name=TRAIN_STATE,
            storage_path=str(job.folder),
            failure_config=FailureConfig(max_failures=0 if alone else MAX_RETRIES),
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

    from biolm_ray.training.workers import Workers

    context = ray.train.get_context()
    device = get_device()
    assert isinstance(device, torch.device)
    workers = Workers(context.get_world_rank(), context.get_world_size(), device)
    job, board = settings["job"], settings["board"]

    def report(event: dict[str, float]) -> None:
        if workers.is_first:
            board.report.remote(job.name, event)

    return settings["work"](job, workers, report)


def raise_failures(outcomes: list[Outcome]) -> None:
    """Name the jobs that failed, each with its cause.

    Raises:
        BiolmError: The shared class of all causes where users can mend them, else TrainingError.
    """
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if not failed:
        return
    classes = {type(outcome.error) for outcome in failed}
    shared = classes.pop() if len(classes) == 1 else TrainingError
    kind = shared if issubclass(shared, BiolmError) else TrainingError
    lines = [f"{outcome.job.name}: {str(outcome.error).strip()[-500:]}" for outcome in failed]
    finished = len(outcomes) - len(failed)
    raise kind(
        f"{len(failed)} of {len(outcomes)} models failed; {finished} finished and kept "
        "(--resume trains only the missing ones)\n  " + "\n  ".join(lines)
    )
