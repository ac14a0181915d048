"""A local Ray that has died ends the run in a sentence."""

import contextlib
import logging
import signal
import threading
from types import SimpleNamespace

import pytest
from ray._private import worker

from biolm_ray.errors import DataError, ResourceError, TrainingError
from biolm_ray.experiment import local_ray
from biolm_ray.experiment.local_ray import Watch, check_local_ray, dead_process, telling_of_death
from biolm_ray.signals import EndingHandler, Stopped


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The processes of the local Ray that have died; more may be added."""
    kinds: list[str] = []
    node = SimpleNamespace(dead_processes=lambda: [(kind, None) for kind in kinds])
    monkeypatch.setattr(worker, "_global_node", node)
    return kinds


@pytest.mark.parametrize("process", ["raylet", "gcs_server"])
def test_those_who_wait_for_a_local_ray_that_has_died_are_told(dead, process):
    check_local_ray()
    dead += ["log_monitor", process]
    with pytest.raises(ResourceError, match=rf"'{process}' on this machine.* has died.*--resume"):
        check_local_ray()


def test_processes_that_nothing_waits_for_may_die(dead):
    dead += ["log_monitor", "dashboard"]
    check_local_ray()


def test_nothing_is_asked_of_a_cluster_that_was_joined(monkeypatch):
    monkeypatch.setattr(worker, "_global_node", None)
    assert dead_process() is None


@pytest.mark.parametrize("error", [ValueError("max() arg"), TrainingError("its worker was lost")])
def test_what_the_death_of_a_local_ray_makes_of_a_run_is_told_as_what_it_is(dead, error):
    def lose_the_node() -> None:
        with telling_of_death():
            dead.append("raylet")
            raise error

    with pytest.raises(ResourceError, match="'raylet' on this machine") as raised:
        lose_the_node()
    assert raised.value.__cause__ is error


def test_those_who_have_looked_themselves_are_not_told_twice(dead):
    dead.append("raylet")
    with pytest.raises(ResourceError) as raised, telling_of_death():
        check_local_ray()
    assert raised.value.__cause__ is None


def test_errors_of_a_ray_that_is_alive_stay_what_they_are(dead):
    with pytest.raises(DataError, match="line 3"), telling_of_death():
        raise DataError("line 3")
    with pytest.raises(KeyboardInterrupt), telling_of_death():
        raise KeyboardInterrupt


def test_a_call_that_hangs_since_ray_has_died_is_interrupted(dead, monkeypatch):
    monkeypatch.setattr(local_ray, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(local_ray, "INTERRUPT_SECONDS", 0.01)

    def hang() -> None:
        with telling_of_death():
            dead.append("gcs_server")
            threading.Event().wait(60)

    with pytest.raises(ResourceError, match="'gcs_server' on this machine"):
        hang()


def test_a_process_that_cannot_be_interrupted_ends_with_its_sentence(caplog):
    codes: list[int] = []
    watch = Watch(
        interrupt=lambda: None, end=codes.append, dead=lambda: "raylet", seconds=(0, 0, 0)
    )
    with caplog.at_level(logging.ERROR, "biolm_ray"):
        watch.run()
    assert codes == [4]
    assert "Ray's process 'raylet'" in caplog.text


def test_nothing_is_ended_once_the_block_has_ended():
    codes: list[int] = []
    watch = Watch(interrupt=lambda: codes.append(1), end=codes.append, dead=lambda: "raylet")
    watch.ended.set()
    watch.run()
    assert codes == []


def test_a_signal_that_has_ended_ray_as_well_is_told_as_what_it_was(monkeypatch):
    monkeypatch.setattr(local_ray, "dead_process", lambda: "raylet")

    def save_after_a_signal() -> None:
        try:
            raise Stopped(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("no board to ask for checkpoints") from None

    def look_after_a_signal() -> None:
        try:
            raise Stopped(signal.SIGTERM)
        finally:
            check_local_ray()

    def stop_where_it_is_lost() -> None:
        signal.signal(signal.SIGTERM, EndingHandler())
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        check_local_ray()

    before = signal.getsignal(signal.SIGTERM)
    try:
        for run in (save_after_a_signal, look_after_a_signal, stop_where_it_is_lost):
            with pytest.raises(Stopped) as stopped, telling_of_death():
                run()
            assert stopped.value.number == signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
    with pytest.raises(ResourceError, match="has died"), telling_of_death():
        raise RuntimeError("lost")


def test_a_ray_that_is_started_once_more_is_not_interrupted():
    looks = iter(["raylet", "raylet", None, "raylet", "raylet", None])
    interrupted: list[int] = []
    watch = Watch(interrupt=lambda: interrupted.append(1), seconds=(0.001, 0.0025, 9))

    def look() -> str | None:
        found = next(looks, "over")
        if found == "over":
            watch.ended.set()
            return None
        return found

    watch._dead = look
    watch.run()
    assert interrupted == []


def test_a_call_that_was_interrupted_for_ray_is_told_so_whoever_looks_next(dead, monkeypatch):
    monkeypatch.setattr(local_ray, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(local_ray, "INTERRUPT_SECONDS", 0.01)

    def hang_and_save() -> None:
        with telling_of_death():
            dead.append("raylet")
            try:
                threading.Event().wait(60)
            finally:
                check_local_ray()

    with pytest.raises(ResourceError, match="'raylet' on this machine"):
        hang_and_save()
