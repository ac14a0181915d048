"""When models wait for a place in the cluster: what to say, and when to give up."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from biolm_ray.errors import ResourceError
from biolm_ray.experiment.placement import Placement
from biolm_ray.experiment.runtime import Supply

FIRST_SECONDS = 10.0
EVERY_SECONDS = 30.0


def describe_waiting(num_models: int, placement: Placement, supply: Supply) -> str:
    """Set what the waiting models ask for against what the cluster has."""
    workers = placement.num_workers
    asked = f"{placement.cpus_per_worker:g} CPU{'s' if placement.cpus_per_worker > 1 else ''}"
    free = f"{supply.free_cpus:g} of {supply.num_cpus:g} CPUs"
    if placement.use_gpu:
        asked = f"1 GPU and {asked}"
        free = f"{supply.free_gpus:g} of {supply.num_gpus:g} GPUs and {free}"
    if workers > 1:
        asked = f"{workers} workers with {asked} each"
    elif num_models > 1:
        asked += " each"
    models = "1 model asks" if num_models == 1 else f"{num_models} models ask"
    nodes = f"{supply.num_nodes} node{'' if supply.num_nodes == 1 else 's'}"
    return f"{models} for {asked}; the cluster has {free} free on {nodes}"


@dataclass
class Patience:
    """Knows how long models have waited, from what it is told every second or so."""

    minutes: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._queued_since: float | None = None
        self._idle_since: float | None = None
        self._said = float("-inf")
        self._last = ""

    def look(self, num_queued: int, num_running: int) -> None:
        """Take in how many models wait, and how many have a place."""
        now = self.clock()
        if not num_queued:
            self._queued_since, self._last = None, ""
        elif self._queued_since is None:
            self._queued_since = now
        if num_running or not num_queued:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now

    def notice(self, describe: Callable[[], str]) -> str | None:
        """Give a sentence when one is due; while others train, only one that says news."""
        now = self.clock()
        if self._queued_since is None or now - self._queued_since < FIRST_SECONDS:
            return None
        if now - self._said < EVERY_SECONDS:
            return None
        text = describe()
        if text == self._last and self._idle_since is None:
            return None
        self._said, self._last = now, text
        return text

    @property
    def is_over(self) -> bool:
        """Whether nothing has had a place for too long."""
        return self._idle_since is not None and self.clock() - self._idle_since >= self.minutes * 60


def gave_up(facts: str, placement: Placement, minutes: float) -> ResourceError:
    """Say that nothing could be placed, and what would help."""
    ways = ["add nodes or free some"]
    if placement.use_gpu:
        ways.append("ask for fewer GPUs (ngpus; 0 trains on CPUs)")
    elif placement.cpus_per_worker * placement.num_workers > 1:
        ways.append("ask for less (a smaller ngpus, or a larger resources.parallel_folds)")
    ways.append("wait longer (resources.wait_minutes)")
    return ResourceError(
        f"nothing could be placed for {minutes:g} min: {facts}; {', '.join(ways[:-1])}, "
        f"or {ways[-1]}"
    )
