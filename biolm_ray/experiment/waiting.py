"""When work waits for a place in the cluster: what to say, and when to give up."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import ray

from biolm_ray.errors import ResourceError
from biolm_ray.experiment.local_ray import check_local_ray
from biolm_ray.experiment.placement import Placement
from biolm_ray.experiment.places import num_groups_without_place, num_without_place
from biolm_ray.experiment.runtime import Supply, look_at_supply
from biolm_ray.wording import counted

FIRST_SECONDS = 10.0
SLOW_START_SECONDS = 60.0
EVERY_SECONDS = 30.0

log = logging.getLogger("biolm_ray")


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What each of some models or workers asks of the cluster.

    Attributes:
        noun: What asks, such as "model".
        cpus: CPUs of a worker.
        gpus: GPUs, or a share of one, of a worker.
        num_workers: Workers of each.
        ways: What the user can do when nothing can be placed, besides waiting and more nodes.
    """

    noun: str
    cpus: float = 1.0
    gpus: float = 0.0
    num_workers: int = 1
    ways: tuple[str, ...] = ()


def demand_of(placement: Placement) -> Demand:
    """What each model asks for that is trained."""
    ways: tuple[str, ...] = ()
    if placement.use_gpu:
        ways = ("ask for fewer GPUs (ngpus; 0 trains on CPUs)",)
    elif placement.cpus_per_worker * placement.num_workers > 1:
        ways = ("ask for less (a smaller ngpus, or a larger resources.parallel_folds)",)
    return Demand(
        noun="model",
        cpus=placement.cpus_per_worker,
        gpus=float(placement.use_gpu),
        num_workers=placement.num_workers,
        ways=ways,
    )


def describe_waiting(num_waiting: int, demand: Demand, supply: Supply) -> str:
    """Set what those that wait ask for against what the cluster has."""
    asked = f"{demand.cpus:g} CPU{'s' if demand.cpus > 1 else ''}"
    free = f"{supply.free_cpus:g} of {supply.num_cpus:g} CPUs"
    if demand.gpus:
        asked = f"{demand.gpus:g} GPU and {asked}"
        free = f"{supply.free_gpus:g} of {supply.num_gpus:g} GPUs and {free}"
    if demand.num_workers > 1:
        asked = f"{demand.num_workers} workers with {asked} each"
    elif num_waiting > 1:
        asked += " each"
    who = counted(num_waiting, f"{demand.noun} asks", f"{demand.noun}s ask")
    nodes = counted(supply.num_nodes, "node")
    return f"{who} for {asked}; the cluster has {free} free on {nodes}"


@dataclass
class Patience:
    """Knows how long work has waited, from what it is told every second or so."""

    minutes: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._queued_since: float | None = None
        self._starting_since: float | None = None
        self._idle_since: float | None = None
        self._said = float("-inf")
        self._last = ""

    def look(self, num_queued: int, num_running: int, num_starting: int = 0) -> None:
        """Take in how many wait for a place, how many work, and how many have only their place."""
        now = self.clock()
        self._queued_since = _since(self._queued_since, now, num_queued > 0)
        self._starting_since = _since(self._starting_since, now, num_starting > 0)
        is_idle = not num_running and num_queued + num_starting > 0
        self._idle_since = _since(self._idle_since, now, is_idle)
        if not num_queued and not num_starting:
            self._last = ""

    def notice(self, describe: Callable[[], str | None]) -> str | None:
        """Give a sentence when one is due; while others work, only one that says news.

        Args:
            describe: Gives None where there is nothing to tell.
        """
        now = self.clock()
        waited = now - (now if self._queued_since is None else self._queued_since)
        started = now - (now if self._starting_since is None else self._starting_since)
        if waited < FIRST_SECONDS and started < SLOW_START_SECONDS:
            return None
        if now - self._said < EVERY_SECONDS:
            return None
        text = describe()
        if text is None or (text == self._last and self._idle_since is None):
            return None
        self._said, self._last = now, text
        return text

    @property
    def is_over(self) -> bool:
        """Whether nothing has worked for too long."""
        return self._idle_since is not None and self.clock() - self._idle_since >= self.minutes * 60


def _since(before: float | None, now: float, holds: bool) -> float | None:
    """When something began to hold, None if it does not."""
    if not holds:
        return None
    return now if before is None else before


class PlaceWatch:
    """Says what waits for a place, and gives up when nothing has had one for too long.

    Args:
        demand: Of each that may wait.
        minutes: How long to wait (resources.wait_minutes).
        say: Tells the user a sentence.
        clock: Seconds.
        supply: What the cluster has now.
    """

    def __init__(
        self,
        demand: Demand,
        minutes: float,
        *,
        say: Callable[[str], None] = log.info,
        clock: Callable[[], float] = time.monotonic,
        supply: Callable[[], Supply] = look_at_supply,
    ) -> None:
        self._demand, self._minutes = demand, minutes
        self._say, self._supply = say, supply
        self._patience = Patience(minutes, clock)

    def look(self, num_queued: int, num_running: int, num_starting: int = 0) -> None:
        """Take in how many wait for a place, how many work, and how many have only their place.

        Raises:
            ResourceError: Nothing has worked for too long.
        """
        self._patience.look(num_queued, num_running, num_starting)

        def facts() -> str:
            if num_queued:
                supply = self._supply()
                return f"waiting: {describe_waiting(num_queued, self._demand, supply)}"
            noun = self._demand.noun
            have = counted(num_starting, f"{noun} has its place", f"{noun}s have their places")
            return f"starting: {have}, but the machine is slow to start them"

        def news() -> str | None:
            num_placed = num_running + num_starting
            return None if num_queued and self._waits_its_turn(num_placed) else facts()

        notice = self._patience.notice(news)
        if notice is not None:
            self._say(notice)
        if self._patience.is_over:
            raise gave_up(facts().partition(": ")[2], self._demand, self._minutes)

    def _waits_its_turn(self, num_placed: int) -> bool:
        """Whether all that is taken of the cluster is taken by others of the same run."""
        if not num_placed:
            return False
        demand, supply = self._demand, self._supply()
        taken, share = supply.num_cpus - supply.free_cpus, demand.cpus
        if demand.gpus:
            taken, share = supply.num_gpus - supply.free_gpus, demand.gpus
        return taken <= num_placed * demand.num_workers * share + 1e-3  # shares are rounded


def num_queued_models(demand: Demand) -> int:
    """How many models that ask for so much have no place yet."""
    if demand.num_workers > 1:
        return num_groups_without_place()
    return num_without_place(demand.cpus, demand.gpus)


def await_place(demand: Demand, minutes: float) -> None:
    """Wait until one worker finds a place, asking for it, so that a cluster may grow.

    Raises:
        ResourceError: None was found for too long.
    """
    if look_at_supply().free_cpus >= demand.cpus:
        return
    watch = PlaceWatch(demand, minutes)
    asked = ray.remote(num_cpus=demand.cpus, max_retries=0)(_do_nothing).remote()
    try:
        while not ray.wait([asked], timeout=1)[0]:
            check_local_ray()
            num_queued = min(1, num_without_place(demand.cpus))
            watch.look(num_queued, 0, 1 - num_queued)
    finally:
        ray.cancel(asked)


def _do_nothing() -> None:
    """What a task does that only asks for a place."""


def gave_up(facts: str, demand: Demand, minutes: float) -> ResourceError:
    """Say that nothing could be placed, and what would help."""
    ways = ["add nodes or free some", *demand.ways, "wait longer (resources.wait_minutes)"]
    return ResourceError(
        f"nothing could be placed for {minutes:g} min: {facts}; {', '.join(ways[:-1])}, "
        f"or {ways[-1]}"
    )
