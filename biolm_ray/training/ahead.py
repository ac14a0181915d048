"""Make the next items while the present one is being worked on."""

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")
WAIT_SECONDS = 0.5


def ahead(items: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """Draw items in a thread, up to `depth` of them before they are asked for.

    An error of the items comes up where the item would have. The thread ends with the iteration,
    also with one that is given up.
    """
    ready: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(depth)
    given_up = threading.Event()

    def hand_over(entry: tuple[Item] | BaseException | None) -> None:
        while not given_up.is_set():
            try:
                ready.put(entry, timeout=WAIT_SECONDS)
            except queue.Full:
                continue
            return

    def draw() -> None:
        try:
            for item in items:
                hand_over((item,))
                if given_up.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 (raised again by the reader)
            hand_over(error)
        else:
            hand_over(None)

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        while (entry := ready.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]
    finally:
        given_up.set()
        thread.join()
