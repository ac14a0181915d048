"""Runs that prepare the same data set at once: one of them does, and the others wait for it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biolm_ray.config.schema import Config
from biolm_ray.data.store import Folder
from biolm_ray.files import swapped_folder
from biolm_ray.preparation.manifest import MANIFEST
from biolm_ray.results.lock import held_in_turn


@contextmanager
def in_turn(config: Config, target: Folder) -> Iterator[None]:
    """Let no other run prepare a data set in the block.

    Behind a URI there are no locks yet; files there are whole or absent, and the same for all who
    write them.

    Raises:
        ResourceError: Another run took too long.
    """
    if not target.is_local:
        yield
        return
    path = Path(target.location)
    what = f"the preparation of the same data in {path}"
    lock = path.with_name(f".{path.name}.lock")
    with held_in_turn(lock, config.mode, what, config.resources.wait_minutes):
        for left in path.parent.glob(f".{path.name}.*"):
            if left.is_dir():  # of a run that was killed while it prepared the data set again
                shutil.rmtree(left)
        yield


@contextmanager
def place_to_prepare(target: Folder, *, again: bool) -> Iterator[Folder]:
    """Give the folder in which a data set is prepared.

    Args:
        target: Where it will be.
        again: Whether to make it anew. Where a whole one is, others may be reading it; so the new
            one takes its place at one stroke.
    """
    is_whole = target.is_local and (Path(target.location) / MANIFEST).is_file()
    if again and is_whole:
        with swapped_folder(Path(target.location)) as new:
            yield Folder(new)
        return
    if again:
        target.delete()
    yield target
