"""How signals end a run."""

import signal
import threading
from collections.abc import Iterator

import pytest

from biolm_ray.signals import (
    ENDING,
    EndingHandler,
    Stopped,
    exit_code,
    handle_signals,
    handlers_kept,
    held,
    name_of,
)


@pytest.fixture(autouse=True)
def _default_handlers() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("SIGINT", 130, "Ctrl-C"),
        ("SIGTERM", 143, "SIGTERM"),
        ("SIGHUP", 129, "the closed terminal (SIGHUP)"),
    ],
)
def test_each_signal_stops_with_the_code_that_shells_give_for_it(name, code, said):
    handle_signals()
    with pytest.raises(Stopped) as raised:
        signal.raise_signal(signal.Signals[name])
    assert (exit_code(raised.value), name_of(raised.value)) == (code, said)


def test_ctrl_c_without_our_handler_counts_as_itself():
    assert (exit_code(KeyboardInterrupt()), name_of(KeyboardInterrupt())) == (130, "Ctrl-C")


def test_the_signal_is_known_where_ray_has_made_a_ctrl_c_of_it():
    handle_signals()
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGTERM)
    assert exit_code(KeyboardInterrupt()) == 143


def test_a_second_signal_ends_at_once_unless_it_is_the_first_one_sent_twice():
    now, ended = [0.0], []
    handler = EndingHandler(ended.append, lambda: now[0])
    with pytest.raises(Stopped):
        handler(signal.SIGTERM, None)
    now[0] = 0.2
    handler(signal.SIGTERM, None)
    assert ended == []
    now[0] = 3.0
    handler(signal.SIGINT, None)
    assert ended == [130]


def test_a_signal_that_is_ignored_stays_so():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    handle_signals()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert isinstance(signal.getsignal(signal.SIGTERM), EndingHandler)


def test_handlers_that_a_library_replaces_are_put_back():
    handle_signals()
    with handlers_kept():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with pytest.raises(Stopped):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_ends_the_library_that_starts_stops_the_run():
    with pytest.raises(Stopped) as raised, handlers_kept():
        raise SystemExit(signal.SIGTERM)
    assert exit_code(raised.value) == 143
    with pytest.raises(SystemExit), handlers_kept():
        raise SystemExit(1)


def test_a_signal_takes_effect_when_the_block_has_ended_that_holds_it():
    handle_signals()
    done = []

    def write_two_files() -> None:
        with held():
            with held():
                signal.raise_signal(signal.SIGTERM)
                done.append("first")
            done.append("second")

    with pytest.raises(Stopped) as raised:
        write_two_files()
    assert done == ["first", "second"]
    assert exit_code(raised.value) == 143


def test_an_error_of_a_block_that_holds_signals_is_told_before_the_signal():
    handle_signals()

    def fail_when_stopped() -> None:
        with held():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        fail_when_stopped()


def test_a_second_signal_is_not_held(monkeypatch):
    handle_signals()
    times = iter([10.0, 12.0])
    monkeypatch.setattr("biolm_ray.signals.time.monotonic", lambda: next(times, 12.0))
    reached = []

    def stop_twice() -> None:
        with held():
            signal.raise_signal(signal.SIGINT)
            reached.append("first")
            signal.raise_signal(signal.SIGINT)
            reached.append("second")

    with pytest.raises(Stopped):
        stop_twice()
    assert reached == ["first"]


def test_other_threads_hold_nothing():
    handlers = []

    def look() -> None:
        with held():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.SIG_DFL]
