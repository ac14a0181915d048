from dataclasses import replace

import pytest

from biolm_ray.config.schema import ResourcesConfig
from biolm_ray.errors import ResourceError
from biolm_ray.experiment.placement import Placement
from biolm_ray.experiment.runtime import Supply
from biolm_ray.experiment.waiting import (
    Demand,
    Patience,
    PlaceWatch,
    demand_of,
    describe_waiting,
    gave_up,
)

PLACEMENT = Placement(
    num_workers=1,
    use_gpu=False,
    cpus_per_worker=1.0,
    parallel=3,
    joined=True,
    resources=ResourcesConfig(),
    note="",
)
SUPPLY = Supply(free_cpus=0, num_cpus=2, free_gpus=1, num_gpus=4, num_nodes=1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_demand_is_set_against_supply():
    assert describe_waiting(3, demand_of(PLACEMENT), SUPPLY) == (
        "3 models ask for 1 CPU each; the cluster has 0 of 2 CPUs free on 1 node"
    )
    assert describe_waiting(1, demand_of(replace(PLACEMENT, cpus_per_worker=4.0)), SUPPLY) == (
        "1 model asks for 4 CPUs; the cluster has 0 of 2 CPUs free on 1 node"
    )
    wide = replace(PLACEMENT, num_workers=2, use_gpu=True)
    assert describe_waiting(2, demand_of(wide), replace(SUPPLY, num_nodes=2)) == (
        "2 models ask for 2 workers with 1 GPU and 1 CPU each; "
        "the cluster has 1 of 4 GPUs and 0 of 2 CPUs free on 2 nodes"
    )


def told_at(patience: Patience, clock: Clock, num_running: int, texts: dict[int, str]) -> list:
    """The seconds at which something is said while one model waits."""
    said = []
    for second in range(100):
        clock.now = second
        patience.look(1, num_running)
        text = next(texts[start] for start in sorted(texts, reverse=True) if start <= second)
        if patience.notice(lambda text=text: text) is not None:
            said.append(second)
    return said


def test_waiting_is_told_after_some_seconds_and_then_every_half_minute():
    clock = Clock()
    assert told_at(Patience(30, clock), clock, 0, {0: "a"}) == [10, 40, 70]


def test_while_others_train_it_is_told_only_when_it_changes():
    clock = Clock()
    assert told_at(Patience(30, clock), clock, 1, {0: "a", 50: "b"}) == [10, 50]


def test_nothing_is_said_of_a_model_that_starts_at_once():
    clock = Clock()
    patience = Patience(30, clock)
    patience.look(1, 0)
    clock.now = 9.0
    patience.look(0, 1)
    clock.now = 12.0
    patience.look(1, 0)
    assert patience.notice(lambda: "a") is None


def test_patience_ends_when_nothing_has_run_for_long_enough():
    clock = Clock()
    patience = Patience(2, clock)
    for second, num_running, over in [(0, 0, False), (100, 1, False), (101, 0, False)]:
        clock.now = second
        patience.look(1, num_running)
        assert patience.is_over is over
    clock.now = 220
    assert not patience.is_over
    clock.now = 221
    assert patience.is_over


def test_work_that_has_its_place_and_is_starting_does_not_wait():
    clock = Clock()
    patience = Patience(30, clock)
    for second in range(50):
        clock.now = second
        patience.look(0, 0, num_starting=2)
        assert patience.notice(lambda: "a") is None


def test_a_start_that_takes_a_minute_is_told():
    said: list[tuple[float, str]] = []
    clock = Clock()
    watch = make_watch(clock, said)
    for second in range(95):
        clock.now = second
        watch.look(0, 0, num_starting=2)
    text = "starting: 2 models have their places, but the machine is slow to start them"
    assert said == [(60, text), (90, text)]


def make_watch(clock: Clock, said: list[tuple[float, str]], minutes: float = 30) -> PlaceWatch:
    return PlaceWatch(
        Demand(noun="model"),
        minutes,
        say=lambda text: said.append((clock.now, text)),
        clock=clock,
        supply=lambda: SUPPLY,
    )


def test_a_wait_is_told_and_ends_with_what_would_help():
    said: list[tuple[float, str]] = []
    clock = Clock()
    watch = make_watch(clock, said, minutes=1)
    watch.look(2, 0)
    clock.now = 12.0
    watch.look(2, 0)
    facts = "2 models ask for 1 CPU each; the cluster has 0 of 2 CPUs free on 1 node"
    assert said == [(12.0, f"waiting: {facts}")]
    clock.now = 60.0
    with pytest.raises(ResourceError) as caught:
        watch.look(2, 0)
    assert str(caught.value) == (
        f"nothing could be placed for 1 min: {facts}; add nodes or free some, "
        "or wait longer (resources.wait_minutes)"
    )


@pytest.mark.parametrize(
    ("num_running", "supply", "is_told"),
    [
        (2, SUPPLY, False),  # both CPUs are taken by models of this run
        (1, SUPPLY, True),  # something else has the other CPU
        (0, SUPPLY, True),
        (2, replace(SUPPLY, num_cpus=0), False),
    ],
)
def test_a_model_that_only_waits_its_turn_behind_others_of_the_run_is_not_told(
    num_running, supply, is_told
):
    said: list[str] = []
    clock = Clock()
    watch = PlaceWatch(
        Demand(noun="model"), 30, say=said.append, clock=clock, supply=lambda: supply
    )
    for second in range(50):
        clock.now = second
        watch.look(1, num_running)
    assert bool(said) is is_told


def test_work_that_goes_on_has_no_limit():
    clock = Clock()
    watch = make_watch(clock, [], minutes=1)
    for hour in range(10):
        clock.now = hour * 3600.0
        watch.look(5, 1)


def test_shares_of_a_gpu_are_told():
    asked = Demand(noun="scoring worker", gpus=0.5)
    assert describe_waiting(2, asked, SUPPLY).startswith(
        "2 scoring workers ask for 0.5 GPU and 1 CPU each; the cluster has 1 of 4 GPUs and 0 of 2"
    )


def test_giving_up_says_what_would_help():
    assert str(gave_up("1 model asks", demand_of(PLACEMENT), 30)) == (
        "nothing could be placed for 30 min: 1 model asks; add nodes or free some, "
        "or wait longer (resources.wait_minutes)"
    )
    assert "fewer GPUs (ngpus; 0" in str(
        gave_up("", demand_of(replace(PLACEMENT, use_gpu=True)), 1)
    )
    assert "a larger resources.parallel_folds" in str(
        gave_up("", demand_of(replace(PLACEMENT, cpus_per_worker=2.0)), 1)
    )
