"""Some workers that share tasks: Ray actors, each given the next task when it has finished one.

How they are ended matters: see docs/adr/0007.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from biolm_ray.errors import BiolmError, ResourceError, root_cause
from biolm_ray.experiment.local_ray import check_local_ray
from biolm_ray.experiment.places import has_process, num_without_place
from biolm_ray.experiment.waiting import Demand, PlaceWatch

log = logging.getLogger("biolm_ray")

RESTARTS = 10
LOOK_SECONDS = 1.0

Task = TypeVar("Task", bound=tuple)


def share_tasks(
    worker: Callable[..., Any],
    arguments: Sequence[Any],
    tasks: Sequence[Task],
    done: Callable[[Task, Any], None],
    *,
    num_workers: int,
    gpu_per_worker: float,
    wait_minutes: float,
    noun: str,
    advice: str,
) -> None:
    """Have some workers do tasks, in their order, and take every result as it comes.

    A worker gets its first task once it runs, so that one the cluster has no room for keeps none
    from the others. One that dies is replaced, and its task begun again.

    Args:
        worker: A class whose `work(*task)` does a task; light, so that its process starts quickly.
        arguments: What each worker is made with.
        tasks: Tuples of arguments.
        done: Called for every task with its result.
        num_workers: Most workers; no more than there are tasks.
        gpu_per_worker: GPUs, or a share of one, that each worker holds, besides a CPU.
        wait_minutes: When to give up if no worker finds a place.
        noun: What a worker is called, such as "scoring worker".
        advice: What to do when they keep dying.

    Raises:
        ResourceError: More than RESTARTS workers died, or none had a place for too long.
    """
    demand = Demand(noun=noun, gpus=gpu_per_worker)
    options = {"num_cpus": demand.cpus, "num_gpus": demand.gpus}
    crew = _Crew(
        make=lambda: ray.remote(**options)(worker).remote(*arguments),  # pyright: ignore
        tasks=deque(tasks),
        done=done,
        demand=demand,
        watch=PlaceWatch(demand, wait_minutes),
        advice=advice,
    )
    try:
        crew.recruit(min(num_workers, len(tasks)))
        while crew.num_left:
            crew.look()
            crew.collect()
    finally:
        crew.end()


class _Crew:
    """The workers of a run, what each of them does, and the tasks that wait.

    Attributes:
        num_left: Tasks that are not finished.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        tasks: deque[Any],
        done: Callable[[Any, Any], None],
        demand: Demand,
        watch: PlaceWatch,
        advice: str,
    ) -> None:
        self.num_left = len(tasks)
        self._make, self._waiting, self._done = make, tasks, done
        self._demand, self._watch, self._advice = demand, watch, advice
        self._starting: dict[Any, Any] = {}
        self._working: dict[Any, tuple[Any, Any]] = {}
        self._idle: list[Any] = []
        self._num_deaths = 0

    def recruit(self, number: int) -> None:
        """Ask for workers."""
        for _ in range(number):
            worker = self._make()
            self._starting[worker.__ray_ready__.remote()] = worker

    def look(self) -> None:
        """Say what waits for a place, if anything does.

        Raises:
            ResourceError: It has waited for too long.
        """
        num_starting, num_queued = len(self._starting), 0
        if num_starting:
            queued = num_without_place(self._demand.cpus, self._demand.gpus)
            num_queued = min(num_starting, queued)
        self._watch.look(num_queued, len(self._working), num_starting - num_queued)

    def collect(self) -> None:
        """Wait a second for a worker to start or to finish its task."""
        finished, _ = ray.wait([*self._starting, *self._working], timeout=LOOK_SECONDS)
        check_local_ray()
        for reference in finished:
            worker = self._starting.pop(reference, None)
            task = None
            if worker is None:
                worker, task = self._working.pop(reference)
            try:
                result: Any = ray.get(reference)
            except RayTaskError as error:
                self._idle.append(worker)
                raise own_error(error) from None
            except RayError as error:
                self._replace(task, error)
                continue
            self._give_task(worker)
            if task is not None:
                self.num_left -= 1
                self._done(task, result)

    def _give_task(self, worker: Any) -> None:
        if not self._waiting:
            self._idle.append(worker)
            return
        task = self._waiting.popleft()
        self._working[worker.work.remote(*task)] = worker, task

    def _replace(self, task: Any, error: RayError) -> None:
        """Take in that a worker died: its task waits again, and another comes if it is needed."""
        self._num_deaths += 1
        cause = str(error).splitlines()[0][:200]
        if self._num_deaths > RESTARTS:
            raise ResourceError(
                f"{self._demand.noun}s keep dying ({cause}), "
                f"{self._num_deaths} by now; {self._advice}"
            ) from error
        log.warning(
            "a %s died (%s); another goes on in its place",
            self._demand.noun,
            cause,
            exc_info=error,
        )
        if task is not None:
            self._waiting.appendleft(task)
        if self._waiting and self._idle:
            self._give_task(self._idle.pop())
        elif len(self._waiting) > len(self._starting):
            self.recruit(1)

    def end(self) -> None:
        """End all workers; those that have no place yet first, so that none is found for them.

        One that is being created is left to finish that: without a handle it ends then.
        """
        for reference, worker in self._starting.items():
            if not has_process(worker):
                ray.cancel(reference)
        self._starting.clear()
        for worker in [*self._idle, *(worker for worker, _ in self._working.values())]:
            ray.kill(worker)


def own_error(error: Exception) -> BaseException:
    """The error of ours behind one of Ray, or that one."""
    cause = root_cause(error)
    return cause if isinstance(cause, BiolmError) else error
