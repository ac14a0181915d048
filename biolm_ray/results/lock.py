"""One run at a time in an output folder.

A run holds the lock of its folder from before it writes there until it ends. Who only reads takes
none. A lock whose holder has ended is taken over; who finds that its own was stops.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biolm_ray.errors import DataError, ResourceError
from biolm_ray.records import parse_record
from biolm_ray.results.holder import (
    STALE_SECONDS,
    Holder,
    State,
    describe_ended,
    describe_turn,
    is_alive,
    readable_age,
    refusal,
    this_process,
)
from biolm_ray.results.lock_file import LockFile, LockPlace
from biolm_ray.signals import interrupt_main_thread

log = logging.getLogger("biolm_ray")

LOCK = ".biolm_ray.lock"
BEAT_SECONDS = 15.0
ATTEMPTS = 100
ATTEMPT_SECONDS = 0.05
TURN_SECONDS = 0.5


@contextmanager
def locked(output: Path, mode: str) -> Iterator["Lock"]:
    """Hold the lock of an output folder for the block.

    Args:
        output: The folder; made if there is none.
        mode: What runs, for others to be told.

    Raises:
        ResourceError: Another run works there, or the lock cannot be written; or, in the end, the
            lock was lost meanwhile.
    """
    _make(output)
    lock = acquire(LockFile(output / LOCK), output, mode)
    try:
        yield lock
    except BaseException as error:
        if lock.lost is not None and not isinstance(error, ResourceError):
            raise ResourceError(lock.lost) from error
        raise
    finally:
        lock.release()


@contextmanager
def held_in_turn(path: Path, mode: str, what: str, wait_minutes: float) -> Iterator[None]:
    """Hold the lock of something that several runs may make, each in its turn, for the block.

    Args:
        path: Of the lock.
        mode: What runs.
        what: What is made, for messages.
        wait_minutes: Longest wait for the others.

    Raises:
        ResourceError: The wait was too long, or the lock cannot be written.
    """
    _make(path.parent)
    deadline, told = time.monotonic() + 60 * wait_minutes, False
    while isinstance(found := take(LockFile(path), path.parent, mode), State):
        if time.monotonic() >= deadline:
            raise ResourceError(
                f"{describe_turn(what, found)}; this run has waited {wait_minutes:g} min "
                "(resources.wait_minutes) for it: run it again when that is done"
            )
        if not told:
            log.info("waiting for %s", describe_turn(what, found))
        told = True
        time.sleep(TURN_SECONDS)
    try:
        yield
    finally:
        found.release()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"{folder} cannot be made ({error.strerror or error}); choose another folder"
        ) from error


def acquire(place: LockPlace, output: Path, mode: str) -> "Lock":
    """Take a lock, or take one over whose holder has ended.

    Raises:
        ResourceError: Another run holds it.
    """
    found = take(place, output, mode)
    if isinstance(found, State):
        raise ResourceError(refusal(output, mode, found))
    return found


def take(place: LockPlace, output: Path, mode: str) -> "Lock | State":
    """Take a lock, or take one over whose holder has ended; else say who holds it.

    Raises:
        ResourceError: It cannot be read or written, or changes hands all the time.
    """
    holder = this_process(mode)
    content = holder.model_dump_json().encode()
    for _ in range(ATTEMPTS):
        found = place.find()
        if found is None:
            if place.create(content):
                return Lock(place, output, holder)
            continue
        state = look_at(place, found)
        if state.is_held:
            return state
        if place.replace(found, content):
            return Lock(place, output, holder, taken_over=describe_ended(output, state))
        time.sleep(ATTEMPT_SECONDS)
    raise ResourceError(
        f"{output}: several runs want to begin here at once; wait, or choose another outputpath"
    )


def look_at(place: LockPlace, found: bytes) -> State:
    """Find out whether the holder of a lock still works."""
    try:
        holder = parse_record(found, "the lock", Holder, "")
    except DataError:
        return State(str(place), None, None, place.silent_seconds())
    alive = is_alive(holder)
    # Where a process is seen to run, nothing is written, not even to tell the time.
    return State(str(place), holder, alive, 0.0 if alive else place.silent_seconds())


class Lock:
    """The right of this process to write in a folder, kept alive by a thread until it is released.

    Attributes:
        taken_over: What to say of the holder before, who has ended without releasing it; None if
            there was none.
        lost: What to say once somebody else has the lock, as after a long suspension; then the
            main thread is interrupted, if it is it that holds the lock.
    """

    def __init__(
        self, place: LockPlace, output: Path, holder: Holder, taken_over: str | None = None
    ) -> None:
        self.taken_over, self.lost = taken_over, None
        self._place, self._output, self._holder = place, output, holder
        self._content = holder.model_dump_json().encode()
        self._seen = time.time()
        self._released = threading.Event()
        self._changing = threading.Lock()
        self._in_main = threading.current_thread() is threading.main_thread()
        threading.Thread(target=self._beat, name="biolm_ray lock", daemon=True).start()

    def check(self) -> None:
        """Make sure that the folder is still this run's, before results are changed.

        Raises:
            ResourceError: It is not.
        """
        with self._changing:
            self._look()
        if self.lost is not None:
            raise ResourceError(self.lost)

    def release(self) -> None:
        """Let others begin; in a process that was forked off meanwhile nothing is done."""
        if os.getpid() != self._holder.process:
            return
        with self._changing:
            self._released.set()
            self._place.remove(self._content)

    def _beat(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            with self._changing:
                if self._released.is_set():
                    return
                try:
                    self._look()
                except (OSError, ResourceError) as error:  # as when the network is away
                    log.warning("%s: its lock cannot be renewed: %s", self._output, error)
                if self.lost is not None:
                    if self._in_main:
                        interrupt_main_thread()  # `locked` then says why
                    return

    def _look(self) -> None:
        """Leave a sign of life, or find out that somebody else has the lock.

        Nobody takes it over that soon after a sign of life: then it was removed by hand.
        """
        found = self._place.find()
        if found is None and time.time() - self._seen < STALE_SECONDS:
            if not self._place.create(self._content):
                found = self._place.find()
            else:
                log.warning("%s: the lock of this run was removed; it is put back", self._output)
                found = self._content
        if found != self._content:
            self.lost = self.lost or self._describe_loss(found)
            return
        self._place.renew()
        self._seen = time.time()

    def _describe_loss(self, found: bytes | None) -> str:
        other = None if found is None else look_at(self._place, found).holder
        who = f"{other.mode} has begun here ({other.described})" if other else "its lock is gone"
        return (
            f"{self._output}: this run was suspended or cut off from its files for more than "
            f"{readable_age(STALE_SECONDS)}, and {who} meanwhile, so it stops; when nothing runs "
            "here any more, run it again (with --resume, if it trains)"
        )
