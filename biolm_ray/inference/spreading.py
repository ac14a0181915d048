"""Ways to get units of sequences scored: in this process, by actors, or by trials of Ray Tune.

Each takes a job and its units and calls `done` with every result as it comes. The tables
themselves are written where the work is done.
"""

import os
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError, RayTaskError

from biolm_ray.errors import BiolmError, ResourceError, root_cause
from biolm_ray.inference.scorer import ScoringJob, UnitScorer
from biolm_ray.inference.units import Unit, UnitResult, finished_unit

Done = Callable[[UnitResult], None]

RESTARTS = 10


def score_units(
    job: ScoringJob,
    units: Sequence[Unit],
    done: Done,
    *,
    num_workers: int,
    gpu_per_worker: float = 0.0,
) -> None:
    """Score units the way that the job's settings ask for; without Ray, in this process.

    The dearest units go first, so that none is left for the end.

    Raises:
        ResourceError: More than RESTARTS workers died.
    """
    if not units:
        return
    if num_workers == 0 or not ray.is_initialized():
        scorer = UnitScorer(job)
        for unit in units:
            done(scorer.score(unit))
        return
    ordered = sorted(units, key=lambda unit: unit.cost, reverse=True)
    spread = score_on_trials if job.settings.distribute == "tune" else score_on_actors
    spread(replace(job, num_threads=1), ordered, done, min(num_workers, len(units)), gpu_per_worker)


def score_on_actors(
    job: ScoringJob, units: Sequence[Unit], done: Done, num_workers: int, gpu_per_worker: float
) -> None:
    """Give every actor a unit, and the next one when it has finished.

    An actor gets its first unit once it runs, so that one the cluster has no room for keeps none
    from the others. One that dies is replaced, and its unit begun again.
    """
    remote_class: Any = ray.remote(num_cpus=1, num_gpus=gpu_per_worker)(UnitScorer)
    waiting = deque(units)
    actors: list[Any] = []
    working: dict[Any, tuple[Any, Unit | None]] = {}
    num_deaths, num_left = 0, len(units)

    def start_actor() -> None:
        actors.append(remote_class.remote(job))
        working[actors[-1].__ray_ready__.remote()] = actors[-1], None

    try:
        for _ in range(num_workers):
            start_actor()
        while num_left:
            (finished,), _ = ray.wait(list(working), num_returns=1)
            actor, unit = working.pop(finished)
            try:
                result: Any = ray.get(finished)
            except RayActorError as error:
                num_deaths += 1
                _check_deaths(num_deaths, error)
                if unit is not None:
                    waiting.appendleft(unit)
                start_actor()
                continue
            except RayTaskError as error:
                raise _own_error(error) from None
            if unit is not None:
                num_left -= 1
                done(result)
            if waiting:
                unit = waiting.popleft()
                working[actor.score.remote(unit)] = actor, unit
    finally:
        for actor in actors:
            ray.kill(actor)


def _check_deaths(num_deaths: int, error: RayActorError) -> None:
    cause = root_cause(error)
    if isinstance(cause, BiolmError):
        raise cause from None
    if num_deaths > RESTARTS:
        raise ResourceError(
            f"scoring workers keep dying ({str(error).splitlines()[0][:200]}), {num_deaths} by "
            "now; what is finished is kept: run the same command again, with fewer workers "
            "(interpret.num_workers) if memory ran out"
        ) from error


def _own_error(error: Exception) -> BaseException:
    cause = root_cause(error)
    return cause if isinstance(cause, BiolmError) else error


class UnitTrial(tune.Trainable):
    """Scores one unit as a trial; Ray Tune gives its actor the next one without a new start."""

    def setup(self, config: dict[str, Any], job: Any = None, units: Any = None) -> None:
        self.units = units
        self.scorer = UnitScorer(job)
        self.unit = units[config["unit"]]

    def step(self) -> dict[str, Any]:
        self.scorer.score(self.unit)
        return {"done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.unit = self.units[new_config["unit"]]
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        return None


class _TrialResults(tune.Callback):
    """Passes the results of finished trials on; the marks among the parts hold them."""

    def __init__(self, job: ScoringJob, units: Sequence[Unit], done: Done) -> None:
        self.job = job
        self.units = units
        self.done = done

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        result = finished_unit(self.job.parts, self.units[trial.config["unit"]], ())
        assert result is not None, "a trial completes after its unit is written"
        self.done(result)


def score_on_trials(
    job: ScoringJob, units: Sequence[Unit], done: Done, num_workers: int, gpu_per_worker: float
) -> None:
    """Make every unit a trial, as many at a time as there are workers."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    trainable: Any = tune.with_parameters(UnitTrial, job=job, units=tuple(units))
    with tempfile.TemporaryDirectory(prefix=".trials.", dir=job.parts.parent) as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"CPU": 1, "GPU": gpu_per_worker}),
            param_space={"unit": tune.grid_search(list(range(len(units))))},
            tune_config=tune.TuneConfig(max_concurrent_trials=num_workers, reuse_actors=True),
            run_config=tune.RunConfig(
                name="units",
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                callbacks=[_TrialResults(job, units, done)],
            ),
        )
        errors = [result.error for result in tuner.fit() if result.error is not None]
    if errors:
        raise _own_error(errors[0])
