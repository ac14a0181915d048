"""What a process does in a race for a lock; in a module of its own, for processes to import."""

import os
import random
import time
from pathlib import Path

from biolm_ray.errors import ResourceError
from biolm_ray.results.holder import this_process
from biolm_ray.results.lock import LOCK, locked


def as_of_a_dead_process(mode: str = "fine-tune") -> bytes:
    """The content of a lock whose holder has ended: its number now is another process's."""
    holder = this_process(mode).model_copy(update={"process_started": "1"})
    return holder.model_dump_json().encode()


def work_in_turn(folder: Path, num_turns: int, seed: int) -> int:
    """Take the lock again and again, and die with it every other time; gives how often it was held.

    Raises:
        FileExistsError: Somebody else held it at the same time.
    """
    luck, turns, taken_over = random.Random(seed), 0, 0
    while turns < num_turns:
        try:
            with locked(folder, "fine-tune") as lock:
                taken_over += lock.taken_over is not None
                alone = folder / "alone"
                os.close(os.open(alone, os.O_CREAT | os.O_EXCL))
                time.sleep(luck.random() / 1000)
                alone.unlink()
                if luck.random() < 0.5:
                    dead = folder / f"dead-{os.getpid()}"
                    dead.write_bytes(as_of_a_dead_process())
                    dead.replace(folder / LOCK)
                turns += 1
        except ResourceError:
            time.sleep(luck.random() / 1000)
    return taken_over
