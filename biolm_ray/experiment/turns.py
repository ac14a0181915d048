"""One run at a time in a process, and none in a process that was forked off one."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from biolm_ray.errors import ResourceError


@dataclass
class Turns:
    """Whose turn it is to run.

    Runs that start Ray share it with all of their process, and end it when they end; so they take
    turns. Neither Ray's threads nor those of torch exist in a process that was forked off: it
    would wait for them for good.

    Attributes:
        process: In which the first run was; None before it.
    """

    process: int | None = None
    _changing: threading.Lock = field(default_factory=threading.Lock)
    _thread: int | None = None
    _run: str = ""

    @contextmanager
    def taken(self, run: str, *, joined: bool = False) -> Iterator[None]:
        """Have the turn for the block; a run within another one, in its thread, shares its turn.

        Args:
            run: What runs, and where, for others to be told.
            joined: Whether this process has joined a cluster, which runs may share.

        Raises:
            ResourceError: Another thread has it, or this process was forked off one that has run.
        """
        here, thread = os.getpid(), threading.get_ident()
        if self.process not in (None, here):
            raise ResourceError(
                f"this process was forked off one (process {self.process}) that has run something "
                "before, and Ray does not survive that: start new processes with the method spawn "
                "(multiprocessing.get_context('spawn')), or fork before the first run"
            )
        with self._changing:
            if self._thread not in (None, thread):
                raise ResourceError(
                    f"{self._run} is running in another thread of this process; runs of one "
                    "process take turns: wait for it, run this in a process of its own, or call "
                    "ray.init first, which both then use"
                )
            self.process = here
            takes = self._thread is None and not joined
            if takes:
                self._thread, self._run = thread, run
        try:
            yield
        finally:
            if takes:
                self._thread = None


TURNS = Turns()
"""Those of this process."""
