"""Ways to get units of sequences scored: in this process, by actors, or by trials of Ray Tune.

Each takes jobs and tasks, which are their units, and calls `done` with every result as it comes.
The parts of the tables are written where the work is done.
"""

import os
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import ray
from ray import tune
from ray.exceptions import RayActorError, RayTaskError

from biolm_ray.errors import BiolmError, ResourceError, root_cause
from biolm_ray.inference.units import Unit, UnitResult, read_result
from biolm_ray.inference.worker import ScoringJob, ScoringWorker

RESTARTS = 10


class Task(NamedTuple):
    """A unit to be scored, of one of the jobs, given by its place among them."""

    job: int
    unit: Unit


Done = Callable[[Task, UnitResult], None]


def score_units(
    jobs: Sequence[ScoringJob],
    tasks: Sequence[Task],
    done: Done,
    *,
    num_workers: int,
    gpu_per_worker: float = 0.0,
) -> None:
    """Score tasks, in their order, the way that the jobs' settings ask for.

    Without workers, or without Ray, it is done in this process.

    Args:
        jobs: Of one run, so that they differ in models and rows alone.
        tasks: Those of a job stand together, since a worker holds the models of one.
        done: Called for every task when it is finished.
        num_workers: How many Ray workers share the tasks.
        gpu_per_worker: GPUs, or a share of one, that each worker holds.

    Raises:
        ResourceError: More than RESTARTS workers died.
    """
    if not tasks:
        return
    if num_workers == 0 or not ray.is_initialized():
        worker = ScoringWorker(jobs)
        for task in tasks:
            done(task, worker.score(*task))
        return
    spread = score_on_trials if jobs[0].settings.distribute == "tune" else score_on_actors
    jobs = [replace(job, num_threads=1) for job in jobs]
    spread(jobs, tasks, done, min(num_workers, len(tasks)), gpu_per_worker)


def score_on_actors(
    jobs: Sequence[ScoringJob],
    tasks: Sequence[Task],
    done: Done,
    num_workers: int,
    gpu_per_worker: float,
) -> None:
    """Give every actor a task, and the next one when it has finished.

    An actor gets its first task once it runs, so that one the cluster has no room for keeps none
    from the others. One that dies is replaced, and its task begun again.
    """
    remote_class: Any = ray.remote(num_cpus=1, num_gpus=gpu_per_worker)(ScoringWorker)
    waiting = deque(tasks)
    actors: list[Any] = []
    working: dict[Any, tuple[Any, Task | None]] = {}
    num_deaths, num_left = 0, len(tasks)

    def start_actor() -> None:
        actors.append(remote_class.remote(jobs))
        working[actors[-1].__ray_ready__.remote()] = actors[-1], None

    try:
        for _ in range(num_workers):
            start_actor()
        while num_left:
            (finished,), _ = ray.wait(list(working), num_returns=1)
            actor, task = working.pop(finished)
            try:
                result: Any = ray.get(finished)
            except RayActorError as error:
                num_deaths += 1
                _check_deaths(num_deaths, error)
                if task is not None:
                    waiting.appendleft(task)
                start_actor()
                continue
            except RayTaskError as error:
                raise _own_error(error) from None
            if waiting:
                following = waiting.popleft()
                working[actor.score.remote(*following)] = actor, following
            if task is not None:
                num_left -= 1
                done(task, result)
    finally:
        for actor in actors:
            ray.kill(actor)


def _check_deaths(num_deaths: int, error: RayActorError) -> None:
    if num_deaths > RESTARTS:
        raise ResourceError(
            f"scoring workers keep dying ({str(error).splitlines()[0][:200]}), {num_deaths} by "
            "now; what is finished is kept: run the same command again, with fewer workers "
            "(interpret.num_workers) if memory ran out"
        ) from error


def _own_error(error: Exception) -> BaseException:
    cause = root_cause(error)
    return cause if isinstance(cause, BiolmError) else error


class TaskTrial(tune.Trainable):
    """Works on one task as a trial; Ray Tune gives its actor the next one without a new start."""

    def setup(self, config: dict[str, Any], jobs: Any = None, tasks: Any = None) -> None:
        self.tasks = tasks
        self.worker = ScoringWorker(jobs)
        self.task = tasks[config["task"]]

    def step(self) -> dict[str, Any]:
        self.worker.score(*self.task)
        return {"done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.task = self.tasks[new_config["task"]]
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        return None


class _TrialResults(tune.Callback, tune.Stopper):
    """Passes the results of finished trials on; the marks among the parts hold them.

    Ray Tune would take an error of this process for one of the trial, and try it again. So the
    first is kept, and ends all trials.
    """

    def __init__(self, jobs: Sequence[ScoringJob], tasks: Sequence[Task], done: Done) -> None:
        self.jobs = jobs
        self.tasks = tasks
        self.done = done
        self.error: Exception | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.error is not None

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        if self.error is not None:
            return
        task = self.tasks[trial.config["task"]]
        try:
            self.done(task, read_result(self.jobs[task.job].parts, task.unit))
        except Exception as error:  # noqa: BLE001 - raised when the trials have ended
            self.error = error


def score_on_trials(
    jobs: Sequence[ScoringJob],
    tasks: Sequence[Task],
    done: Done,
    num_workers: int,
    gpu_per_worker: float,
) -> None:
    """Make every task a trial, as many at a time as there are workers."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    trainable: Any = tune.with_parameters(TaskTrial, jobs=jobs, tasks=tuple(tasks))
    results = _TrialResults(jobs, tasks, done)
    # Ray Tune keeps pickles; nothing below the output path is one.
    with tempfile.TemporaryDirectory(prefix="biolm_ray-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"CPU": 1, "GPU": gpu_per_worker}),
            param_space={"task": tune.grid_search(list(range(len(tasks))))},
            tune_config=tune.TuneConfig(max_concurrent_trials=num_workers, reuse_actors=True),
            run_config=tune.RunConfig(
                name="tasks",
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                stop=results,
                callbacks=[results],
            ),
        )
        errors = [result.error for result in tuner.fit() if result.error is not None]
    if results.error is not None:
        raise results.error
    if errors:
        raise _own_error(errors[0])
