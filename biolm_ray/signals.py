"""The signals that end a run: Ctrl-C, and those of job systems and of terminals that close."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
NAMES = {"SIGINT": "Ctrl-C", "SIGHUP": "the closed terminal (SIGHUP)"}
# A signal may be sent twice, to the process and to its group, as `timeout` and SLURM do.
SECONDS_OF_ONE = 1.0


class Stopped(KeyboardInterrupt):
    """A signal has asked this process to end.

    It is a KeyboardInterrupt, so that it takes every way that Ctrl-C takes.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """The code that a shell would give for the signal, such as 130 for Ctrl-C."""
    return 128 + _number_of(stop)


def name_of(stop: KeyboardInterrupt) -> str:
    """The signal in words."""
    name = signal.Signals(_number_of(stop)).name
    return NAMES.get(name, name)


def _number_of(stop: KeyboardInterrupt) -> int:
    """The signal; where Ray has put a KeyboardInterrupt of its own, the handler knows it."""
    if not isinstance(stop, Stopped):
        stop = stop_received() or Stopped(signal.SIGINT)
    return stop.number


def stop_received() -> Stopped | None:
    """The signal to end that this process has been sent, whatever has become of it since."""
    handlers = [signal.getsignal(number) for number in ENDING]
    received = [each.received for each in handlers if isinstance(each, EndingHandler)]
    return next((Stopped(number) for number in received if number is not None), None)


class EndingHandler:
    """Raises `Stopped` at the first signal, and ends the process at the second.

    Attributes:
        received: The first signal.
    """

    def __init__(
        self,
        end: Callable[[int], Any] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._end, self._clock = end, clock
        self.received: int | None = None
        self._received_at = 0.0

    def __call__(self, number: int, frame: Any) -> None:
        now = self._clock()
        if self.received is None:
            self.received, self._received_at = number, now
            raise Stopped(number)
        if now - self._received_at >= SECONDS_OF_ONE:
            with contextlib.suppress(OSError):
                os.write(2, b"ended at once\n")
            self._end(128 + number)


def handle_signals(handler: EndingHandler | None = None) -> None:
    """Have signals end this process in order, from now on; ignored ones (`nohup`) stay ignored."""
    handler = handler or EndingHandler()
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def interrupt_main_thread() -> None:
    """Have the main thread raise what Ctrl-C does, or another signal; a call that waits wakes up.

    Under `nohup` and in the background some signals are ignored: then the next that is not is sent.
    """
    main = threading.main_thread().ident
    heeded = [number for number in ENDING if callable(signal.getsignal(number))]
    if main is not None and heeded:
        signal.pthread_kill(main, heeded[0])


@contextmanager
def held() -> Iterator[None]:
    """Have a signal that ends this process take effect when the block has ended.

    For changes that must not be broken off between two files, and take a moment. A second signal
    takes effect where it arrives, as ever; so does one whose handler is none of Python's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in ENDING}
    own = {number: handler for number, handler in handlers.items() if callable(handler)}
    waiting: list[tuple[int, float]] = []

    def hold(number: int, frame: Any) -> None:
        now = time.monotonic()
        if not waiting:
            waiting.append((number, now))
        elif now - waiting[0][1] >= SECONDS_OF_ONE:
            own[number](number, frame)

    for number in own:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in own.items():
            signal.signal(number, handler)
    if waiting:
        number = waiting[0][0]
        own[number](number, None)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put back the handlers of the signals after a block that replaces them, as starting Ray does.

    Of Ray's two handlers of SIGTERM one exits by itself, which becomes `Stopped` here; the other,
    which would come to stand there afterwards, prints its stack and aborts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
    except SystemExit as error:
        if error.code == signal.SIGTERM:
            raise Stopped(signal.SIGTERM) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
