"""What a tree of processes takes: CPU seconds, and memory over time."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

import psutil


def tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that descend from it and are alive."""
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def cpu_seconds(process: psutil.Process) -> float:
    """CPU seconds of a tree so far, those of its ended members included."""
    total = 0.0
    for member in tree(process):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_bytes(process: psutil.Process) -> int:
    """Proportional set size of a tree: what several of its members share counts once."""
    total = 0
    for member in tree(process):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += member.memory_full_info().pss
    return total


@dataclass
class MemoryWatch:
    """Samples the memory of a tree in the background; use as a context manager.

    Attributes:
        samples: Seconds since the start, and bytes.
    """

    process: psutil.Process
    every_seconds: float = 0.25
    samples: list[tuple[float, int]] = field(default_factory=list)

    def __enter__(self) -> "MemoryWatch":
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def peak(self) -> int:
        return max(size for _, size in self.samples)

    def _watch(self) -> None:
        started = time.monotonic()
        while not self._done.wait(self.every_seconds):
            self.samples.append((time.monotonic() - started, memory_bytes(self.process)))
