"""Workers of one training in threads of one process."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class ThreadWorker:
    """Gathers values as a real worker does; `work_together` makes a crew of them."""

    device = "cpu"

    def __init__(self, rank: int, values: list[Any], meeting: threading.Barrier) -> None:
        self.rank, self.size = rank, len(values)
        self._values, self._meeting = values, meeting

    def gather(self, value: Any) -> list[Any]:
        self._values[self.rank] = value
        self._meeting.wait(timeout=10)
        found = list(self._values)
        self._meeting.wait(timeout=10)
        return found


def work_together(size: int, work: Callable[[ThreadWorker], Any]) -> list[Any]:
    """Let so many workers do the same work side by side; give their results by rank."""
    values: list[Any] = [None] * size
    meeting = threading.Barrier(size)
    crew = [ThreadWorker(rank, values, meeting) for rank in range(size)]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(work, crew))
