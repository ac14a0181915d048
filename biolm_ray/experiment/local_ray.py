"""Whether the Ray that runs on this machine for a run alone is still there.

Its processes are children of this one. Where one of them has died, which the system does to them
when memory runs out, no node comes back: there is nothing to wait for. Ray itself waits for ever,
or ends this process after a minute without a word to the user.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray._private import ray_constants, worker

from biolm_ray.errors import ResourceError
from biolm_ray.signals import interrupt_main_thread, stop_received

log = logging.getLogger("biolm_ray")

NEEDED = {
    ray_constants.PROCESS_TYPE_RAYLET: "which gives tasks their place",
    ray_constants.PROCESS_TYPE_GCS_SERVER: "which knows what runs where",
}
"""Processes that nothing goes on without, and what each does."""
LOOK_SECONDS = 1.0
# Those who wait look for themselves every second or so; a call that does not return is interrupted.
# Ray ends this process 60 s after the server has died that knows what runs where.
INTERRUPT_SECONDS = 15.0
END_SECONDS = 25.0


class RayHasDiedError(ResourceError):
    """A process of the local Ray has died that nothing goes on without."""


def dead_process(node: Any = None) -> str | None:
    """Name a process of the local Ray that has died by itself; None if there is none.

    Args:
        node: Ray's own record of the processes it has started; the one of this process if None.
    """
    node = worker._global_node if node is None else node
    dead = [] if node is None else [kind for kind, _ in node.dead_processes()]
    return next((kind for kind in dead if kind in NEEDED), None)


def check_local_ray() -> None:
    """Make sure that the local Ray is there; of a cluster that was joined nothing is asked.

    Raises:
        RayHasDiedError: It has.
    """
    dead = dead_process()
    if dead is not None:
        raise _has_died(dead)


def _has_died(process: str) -> RayHasDiedError:
    return RayHasDiedError(
        f"Ray's process '{process}' on this machine, {NEEDED[process]}, has died: mostly memory "
        "has run out, and the system has ended it. What is finished is kept: make room in memory "
        "(resources.parallel_folds: 1 trains one model at a time) and run the same command again "
        "(with --resume, if it trains)"
    )


@contextmanager
def telling_of_death() -> Iterator[None]:
    """Raise in the place of whatever the death of the local Ray makes of the block what it was.

    Raises:
        RayHasDiedError: It was that.
    """
    watch = Watch()
    thread = threading.Thread(target=watch.run, name="watches Ray", daemon=True)
    thread.start()
    try:
        yield
    except Exception as error:
        # A signal that is sent to a whole group of processes ends Ray as well.
        # Our own, which wakes a call that hangs, is none of the user's.
        stop = None if watch.has_interrupted else stop_received() or _stop_before(error)
        if stop is not None and dead_process() is not None:
            raise stop from error
        if isinstance(error, RayHasDiedError) or (dead := dead_process()) is None:
            raise
        raise _has_died(dead) from error
    except KeyboardInterrupt as stop:
        if not watch.has_interrupted:
            raise
        raise _has_died(watch.has_interrupted) from stop
    finally:
        watch.ended.set()
        thread.join()


def _stop_before(error: BaseException) -> KeyboardInterrupt | None:
    """The Ctrl-C during whose handling an error was raised, where nobody handles signals."""
    before = error.__context__
    while before is not None and not isinstance(before, KeyboardInterrupt):
        before = before.__context__
    return before


def _leave_alone() -> None:
    """What is done to a main thread in which the block does not run."""


class Watch:
    """Interrupts a block of the main thread that hangs since the local Ray has died.

    Args:
        interrupt: Has the main thread raise KeyboardInterrupt, if the block runs there.
        end: Ends this process with a code, where interrupting it has not helped.
        dead: Names a process that has died.
        seconds: Between two looks, until it is interrupted, and then until it is ended.

    Attributes:
        ended: Is set when the block has ended.
        has_interrupted: The process because of whose death the block was interrupted.
    """

    def __init__(
        self,
        interrupt: Callable[[], None] = interrupt_main_thread,
        end: Callable[[int], Any] = os._exit,
        dead: Callable[[], str | None] = dead_process,
        seconds: tuple[float, float, float] | None = None,
    ) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        self._interrupt = interrupt if is_main else _leave_alone
        self._end, self._dead = end, dead
        self._seconds = seconds or (LOOK_SECONDS, INTERRUPT_SECONDS, END_SECONDS)
        self.ended = threading.Event()
        self.has_interrupted = ""

    def run(self) -> None:
        """Look every second, until the block has ended; a Ray that starts once more is alive."""
        look, before_interrupt, before_end = self._seconds
        seconds_dead = 0.0
        while not self.ended.wait(look):
            dead = self._dead()
            if dead is None:
                seconds_dead = 0.0
                continue
            seconds_dead += look
            if seconds_dead >= before_interrupt and not self.has_interrupted:
                self.has_interrupted = dead
                self._interrupt()
            if seconds_dead >= before_interrupt + before_end:
                error = _has_died(dead)
                log.error("%s", error)
                self._end(error.exit_code)
                return
