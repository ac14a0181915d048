"""Ways to get units of sequences scored: in this process, by actors, or by trials of Ray Tune.

Each takes jobs and tasks, which are their units, and calls `done` with every result as it comes.
The parts of the tables are written where the work is done.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import ray
from ray import tune

from biolm_ray.errors import ResourceError
from biolm_ray.experiment.places import num_groups_without_place
from biolm_ray.experiment.waiting import Demand, PlaceWatch
from biolm_ray.inference import crew
from biolm_ray.inference.crew import own_error, share_tasks
from biolm_ray.inference.units import Unit, UnitResult, read_result
from biolm_ray.inference.worker import ScoringJob, ScoringWorker
from biolm_ray.signals import handlers_kept

NOUN = "scoring worker"


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
    wait_minutes: float = 30.0,
) -> None:
    """Score tasks, in their order, the way that the jobs' settings ask for.

    Without workers, or without Ray, it is done in this process.

    Args:
        jobs: Of one run, so that they differ in models and rows alone.
        tasks: Those of a job stand together, since a worker holds the models of one.
        done: Called for every task when it is finished.
        num_workers: How many Ray workers share the tasks.
        gpu_per_worker: GPUs, or a share of one, that each worker holds.
        wait_minutes: When to give up if no worker finds a place.

    Raises:
        ResourceError: Too many workers died, or none had a place for too long.
    """
    if not tasks:
        return
    if num_workers == 0 or not ray.is_initialized():
        worker = ScoringWorker(jobs)
        for task in tasks:
            done(task, worker.work(*task))
        return
    jobs = [replace(job, num_threads=1) for job in jobs]
    num_workers = min(num_workers, len(tasks))
    if jobs[0].settings.distribute == "tune":
        score_on_trials(jobs, tasks, done, num_workers, gpu_per_worker, wait_minutes)
        return
    share_tasks(
        ScoringWorker,
        (jobs,),
        tasks,
        done,
        num_workers=num_workers,
        gpu_per_worker=gpu_per_worker,
        wait_minutes=wait_minutes,
        noun=NOUN,
        advice="what is finished is kept: run the same command again, with fewer workers "
        "(interpret.num_workers) if memory ran out",
    )


class TaskTrial(tune.Trainable):
    """Works on one task as a trial; Ray Tune gives its actor the next one without a new start."""

    def setup(self, config: dict[str, Any], jobs: Any = None, tasks: Any = None) -> None:
        self.tasks = tasks
        self.worker = ScoringWorker(jobs)
        self.task = tasks[config["task"]]

    def step(self) -> dict[str, Any]:
        self.worker.work(*self.task)
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

    def __init__(
        self, jobs: Sequence[ScoringJob], tasks: Sequence[Task], done: Done, watch: PlaceWatch
    ) -> None:
        self.jobs = jobs
        self.tasks = tasks
        self.done = done
        self.watch = watch
        self.error: Exception | None = None
        self.num_done = 0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.error is not None

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        num_running = sum(trial.status == trial.RUNNING for trial in trials)
        try:
            self.watch.look(num_groups_without_place(), num_running)
        except ResourceError as error:
            self.error = self.error or error

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        if self.error is not None:
            return
        task = self.tasks[trial.config["task"]]
        try:
            self.done(task, read_result(self.jobs[task.job].parts, task.unit))
            self.num_done += 1
        except Exception as error:  # noqa: BLE001 - raised when the trials have ended
            self.error = error


def score_on_trials(
    jobs: Sequence[ScoringJob],
    tasks: Sequence[Task],
    done: Done,
    num_workers: int,
    gpu_per_worker: float,
    wait_minutes: float,
) -> None:
    """Make every task a trial, as many at a time as there are workers."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    trainable: Any = tune.with_parameters(TaskTrial, jobs=jobs, tasks=tuple(tasks))
    watch = PlaceWatch(Demand(noun=NOUN, gpus=gpu_per_worker), wait_minutes)
    results = _TrialResults(jobs, tasks, done, watch)
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
                failure_config=tune.FailureConfig(max_failures=crew.RESTARTS),
                stop=results,
                callbacks=[results],
            ),
        )
        with handlers_kept():  # Ray Tune leaves one of its own for Ctrl-C
            errors = [result.error for result in tuner.fit() if result.error is not None]
    if results.error is not None:
        raise results.error
    if errors:
        raise own_error(errors[0])
    if results.num_done < len(tasks):  # Ray Tune ends its trials at Ctrl-C, and says nothing
        raise KeyboardInterrupt
