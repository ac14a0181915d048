"""Train several models side by side on Ray, each with its own workers."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from biolm_ray.errors import ResourceError, attach, root_cause
from biolm_ray.experiment.failures import Outcome, describe_failure, final_error, is_loss
from biolm_ray.experiment.last_words import last_words
from biolm_ray.experiment.local_ray import check_local_ray
from biolm_ray.experiment.notices import were_taken_away
from biolm_ray.experiment.placement import Placement, parallel_now
from biolm_ray.experiment.progress import (
    SAVED,
    Board,
    Display,
    Events,
    Start,
    describe_end,
    describe_estimate,
)
from biolm_ray.experiment.runtime import free_abandoned_places, look_at_cluster
from biolm_ray.experiment.trainer import train_with_ray
from biolm_ray.experiment.waiting import PlaceWatch, demand_of, num_queued_models

log = logging.getLogger("biolm_ray")

SAVING_SECONDS = 20

BOARD_SECONDS = 1.0
# A trial of Ray Tune holds a placement group, and would have the tasks it starts fit into it.
OUTSIDE_ANY_GROUP = PlacementGroupSchedulingStrategy(PlacementGroup.empty())


class Job(Protocol):
    """What a model's training needs; `name` is unique among those that run together."""

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> Path: ...


def run_jobs(
    jobs: list[Any], work: Callable[..., dict[str, float]], placement: Placement, display: Display
) -> list[Outcome]:
    """Run `work(job, workers, report)` for every job, as many at a time as the placement says.

    A failed job does not stop the others. One that loses its worker, node or controller is taken
    up again, `max_failures` times; the work goes on from its own checkpoint. Jobs whose workers
    cannot be placed yet wait, so a cluster may start from nothing.
    """
    models = SideBySide(jobs, work, placement, display)
    try:
        while models.waiting or models.running:
            models.send()
            models.collect()
            models.show()
    except KeyboardInterrupt:
        models.save()
        raise
    finally:
        models.end()
    return [models.outcomes[job.name] for job in jobs]


class SideBySide:
    """The models of a run: those that wait to be sent off, those sent off, and what became of them.

    Attributes:
        waiting: Jobs to be sent off, the next one first.
        running: Jobs sent off, by the task that carries them; some may have no place yet.
        outcomes: What became of the others, by name.
    """

    def __init__(
        self, jobs: list[Any], work: Callable, placement: Placement, display: Display
    ) -> None:
        self.waiting = deque(jobs)
        self.running: dict[ray.ObjectRef, Any] = {}
        self.outcomes: dict[str, Outcome] = {}
        self._work, self._placement, self._display = work, placement, display
        self._attempts: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._events: Events = {}
        self._starts: dict[str, Start] = {}
        self._num_models, self._has_estimated = len(jobs), False
        self._told: dict[str, str] = {}
        self._demand = demand_of(placement)
        self._watch = PlaceWatch(
            self._demand,
            placement.resources.wait_minutes,
            say=lambda text: self._say(logging.INFO, text),
        )
        self._news: Any = None
        self._board_runs = False
        self._board: Any = ray.remote(num_cpus=0, max_restarts=-1, **_here())(Board).remote()

    def send(self) -> None:
        """Send off as many as the cluster, as it is now, may be asked for."""
        if not self.waiting:
            return
        parallel = parallel_now(self._placement, look_at_cluster(joined=self._placement.joined))
        while self.waiting and len(self.running) < parallel:
            job = self.waiting.popleft()
            self._attempts[job.name] += 1
            self.running[self._submit(job)] = job

    def _submit(self, job: Any) -> ray.ObjectRef:
        """Send off a job: inside one task with a single worker, else with workers of its own."""
        if self._placement.num_workers == 1:
            options: dict[str, Any] = {
                "num_cpus": self._placement.cpus_per_worker,
                "num_gpus": int(self._placement.use_gpu),
                "scheduling_strategy": OUTSIDE_ANY_GROUP,
            }
        else:
            options = {"num_cpus": 0, **_here()}
        task = ray.remote(max_retries=0, **options)(train_with_ray)
        attempt = self._attempts[job.name]
        return task.remote(job, self._work, self._placement, self._board, attempt)

    def collect(self) -> None:
        """Wait a second for models to end; those that lost their worker wait again."""
        done, _ = ray.wait(list(self.running), timeout=1)
        check_local_ray()  # before what waits for an answer of it
        self._hear()
        for reference in done:
            job = self.running.pop(reference)
            try:
                metrics = ray.get(reference)
                self.outcomes[job.name] = Outcome(job, metrics=metrics)
                self._tell_end(job.name, metrics)
            except RayError as error:
                self._take_up_or_fail(job, error)

    def _tell_end(self, name: str, metrics: dict[str, float]) -> None:
        """Say which epoch was the best: its line may have been missed between two looks."""
        if "epochs_trained" in metrics:
            self._say(logging.INFO, describe_end(name, metrics))

    def _take_up_or_fail(self, job: Any, error: RayError) -> None:
        lost = is_loss(error)
        announced = lost and self._was_announced(job)
        self._losses[job.name] += lost and not announced
        losses, most = self._losses[job.name], self._placement.resources.max_failures
        words = last_words(self._starts.get(job.name, Start(0)).workers) if lost else ""
        if not lost or losses > most:
            self._fail(job, final_error(error, losses, words))
            return
        cause = str(root_cause(error)).partition("\n")[0][:200]
        count = "its node was taken away" if announced else f"loss {losses} of {most} allowed"
        attach(error, remote_traceback=words)
        self._say(logging.WARNING, f"{job.name} is retried; {count} ({cause})", error)
        self.waiting.appendleft(job)

    def _fail(self, job: Any, error: BaseException) -> None:
        """Take in that a model has failed, and say so at once, unless it is the only one.

        The error that ends the run says it once more, for all.
        """
        self.outcomes[job.name] = Outcome(job, error=error)
        if self._num_models == 1:
            return
        text = describe_failure(job.name, error, self._told)
        goes_on = "; the others go on" if self.running or self.waiting else ""
        self._say(logging.ERROR, text + goes_on, error)

    def _was_announced(self, job: Any) -> bool:
        start = self._starts.get(job.name)
        return start is not None and were_taken_away(start.nodes, ray.nodes())

    def show(self) -> None:
        """Show how far the models are, and which of them wait for a place."""
        self._display.update(self._events)
        num_started = sum(self._has_started(job) for job in self.running.values())
        num_queued = self._num_queued(len(self.running) - num_started)
        try:
            self._watch.look(num_queued, num_started, len(self.running) - num_started - num_queued)
        except ResourceError as error:
            self._give_up(error)

    def _num_queued(self, num_not_started: int) -> int:
        """How many wait for their place; the others that have not started have theirs."""
        if not num_not_started:
            return 0
        if self._placement.num_workers > 1:
            free_abandoned_places()
        return min(num_not_started, num_queued_models(self._demand))

    def _has_started(self, job: Any) -> bool:
        start = self._starts.get(job.name)
        return start is not None and start.attempt == self._attempts[job.name]

    def _give_up(self, error: Exception) -> None:
        for job in (*self.running.values(), *self.waiting):
            self.outcomes[job.name] = Outcome(job, error=error)
        self._cancel()
        self.waiting.clear()

    def _hear(self) -> None:
        """Ask the board for news; what it said before is kept when it had to be restarted.

        It may be starting, or have died with its node: then its answer is taken another time.
        """
        if self._news is None:
            self._news = self._board.news.remote()
        if not ray.wait([self._news], timeout=BOARD_SECONDS)[0]:
            return
        answer, self._news = self._news, None
        try:
            events, starts, notes = ray.get(answer)
        except RayActorError:
            return
        self._board_runs = True
        self._events |= events
        self._starts |= starts
        for name, text in notes:
            self._say(logging.WARNING, f"{name}: {text}")
        self._tell_estimate()

    def _tell_estimate(self) -> None:
        """Say once what training will take, as soon as the first model has tried some batches."""
        tried = next((e for e in self._events.values() if "seconds_per_epoch" in e), None)
        if tried is None or self._has_estimated:
            return
        self._has_estimated = True
        parallel = min(self._placement.parallel, self._num_models)
        epochs = self._display.num_epochs
        self._say(logging.INFO, describe_estimate(tried, epochs, self._num_models, parallel))

    def _say(self, level: int, text: str, error: BaseException | None = None) -> None:
        """Say something below what is drawn; where an error was raised goes to the file alone."""
        self._display.interrupt()
        log.log(level, text, exc_info=error)

    def save(self) -> None:
        """Let the models that train write checkpoints where they are, within some seconds."""
        if not self._unsaved():
            return
        self._say(
            logging.WARNING,
            f"stopping: writing checkpoints (up to {SAVING_SECONDS} s; Ctrl-C again ends at once)",
        )
        deadline = time.monotonic() + SAVING_SECONDS
        self._board.stop.remote()
        while self._unsaved() and time.monotonic() < deadline:
            self.collect()

    def _unsaved(self) -> list[str]:
        """The models that have begun to train, and of which no checkpoint was written since."""
        events = {job.name: self._events.get(job.name, {}) for job in self.running.values()}
        return [name for name, event in events.items() if event and SAVED not in event]

    def _cancel(self) -> None:
        for reference in self.running:
            ray.cancel(reference, force=True)
        self.running.clear()

    def end(self) -> None:
        """Leave nothing behind on the cluster, however the run ends."""
        self._cancel()
        if self._board_runs:  # else it ends by itself: see docs/adr/0007
            ray.kill(self._board)


def _here() -> dict[str, Any]:
    """Options that keep a task or actor on the node of the driver."""
    return {"label_selector": {"ray.io/node-id": ray.get_runtime_context().get_node_id()}}
