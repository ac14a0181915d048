"""Work that waits for a place, and workers that leave theirs."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from biolm_ray.errors import ResourceError
from biolm_ray.experiment import waiting
from biolm_ray.experiment.places import num_without_place
from biolm_ray.experiment.waiting import Demand, await_place
from biolm_ray.inference.crew import share_tasks

pytestmark = pytest.mark.usefixtures("ray_cluster")


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_waits_for_cpus_is_counted_and_what_has_them_is_not(tmp_path: Path) -> None:
    go_on = tmp_path / "go on"

    def work() -> None:
        while not go_on.exists():
            time.sleep(0.1)

    tasks = [ray.remote(num_cpus=0.75)(work).remote() for _ in range(5)]
    wait_until(lambda: num_without_place(0.75) == 3)
    assert num_without_place(0.5) == 0
    go_on.touch()
    ray.get(tasks, timeout=100)
    wait_until(lambda: num_without_place(0.75) == 0)


def share(worker: type, folder: Path, num_tasks: int, num_workers: int) -> list[tuple]:
    done = []
    share_tasks(
        worker,
        (folder,),
        [(number,) for number in range(num_tasks)],
        lambda task, result: done.append((*task, result)),
        num_workers=num_workers,
        gpu_per_worker=0,
        wait_minutes=2,
        noun="worker",
        advice="",
    )
    return sorted(done)


def test_a_worker_that_is_being_created_when_the_work_ends_is_left_to_finish_that(
    tmp_path: Path,
) -> None:
    class Worker:
        def __init__(self, folder: Path) -> None:
            try:
                (folder / "first").touch(exist_ok=False)
            except FileExistsError:
                (folder / "second").touch()
                while not (folder / "work has ended").exists():
                    time.sleep(0.05)
                (folder / "created").touch()
            self.folder = folder

        def work(self, number: int) -> int:
            while not (self.folder / "second").exists():
                time.sleep(0.05)
            return number

    assert share(Worker, tmp_path, 2, 2) == [(0, 0), (1, 1)]
    (tmp_path / "work has ended").touch()
    wait_until((tmp_path / "created").exists)
    wait_until(lambda: ray.available_resources().get("CPU") == 2)


def test_workers_without_a_place_leave_the_queue_when_the_work_ends(tmp_path: Path) -> None:
    class Worker:
        def __init__(self, folder: Path) -> None:
            pass

        def work(self, number: int) -> int:
            return number

    assert share(Worker, tmp_path, 9, 9) == [(number, number) for number in range(9)]
    wait_until(lambda: num_without_place(1) == 0)
    wait_until(lambda: ray.available_resources().get("CPU") == 2)


def test_readers_that_find_no_place_are_told_and_given_up(monkeypatch, caplog) -> None:
    monkeypatch.setattr(waiting, "FIRST_SECONDS", 0.0)
    with caplog.at_level("INFO", "biolm_ray"), pytest.raises(ResourceError, match="be placed for"):
        await_place(Demand(noun="reading task", cpus=3), 0.02)
    assert "waiting: 1 reading task asks for 3 CPUs; the cluster has" in caplog.text
    wait_until(lambda: num_without_place(3) == 0)
