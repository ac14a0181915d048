"""Moving results that others replace aside, as a whole.

The manifest says what is being moved before anything is, so that a run broken off at any point
leaves the earlier results in their place or aside, and the next run ends what was begun.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath

from biolm_ray.errors import DataError, ResourceError
from biolm_ray.files import atomic_path
from biolm_ray.results.contents import LOGS, MODE_FOLDERS, SCORES, TOKENIZERS, divided
from biolm_ray.results.manifest import (
    MANIFEST,
    REPLACED,
    Manifest,
    Moving,
    read_manifest,
    update_manifest,
    write_manifest,
)
from biolm_ray.signals import held

log = logging.getLogger("biolm_ray")

REMOVING = "removing-"
"""How the names begin of folders that results are moved to in order to be removed. Nothing else
goes there, so that a manifest that was sent with a folder cannot have anything else removed."""


def set_aside(
    output: Path, mode: str, paths: Sequence[str], *, remove: bool = False, to: str | None = None
) -> str:
    """Move results out of the way, with what the manifest says of them.

    They keep their places below the folder they are moved to, which has a manifest of its own: it
    can be read as the output folder was.

    Args:
        output: The output folder.
        mode: Of the run that replaces them.
        paths: Files and folders, relative to the output folder.
        remove: Remove them in the end.
        to: The folder, if this run has set other results aside there before.

    Returns:
        The folder they are moved to, relative to the output folder.

    Raises:
        DataError: They are not to be moved.
        ResourceError: They cannot be moved.
    """
    to = to or new_place(output, mode, remove=remove)
    check_movable(output, paths)

    def begin(manifest: Manifest) -> Manifest:
        going = {name: divided(found, paths, inside=True) for name, found in manifest.modes.items()}
        staying = {
            name: divided(found, paths, inside=False) for name, found in manifest.modes.items()
        }
        moving = Moving(
            to=to,
            paths=tuple(paths),
            modes={name: found for name, found in going.items() if found is not None},
            remove=remove,
        )
        modes = {name: found for name, found in staying.items() if found is not None}
        return manifest.model_copy(update={"modes": modes, "moving": moving})

    with held():
        moving = update_manifest(output, begin).moving
        assert moving is not None, "just written"
        _finish(output, moving)
    return to


def check_movable(output: Path, paths: Sequence[str], to: str | None = None) -> None:
    """Make sure that paths are of results, and that moving them leads to no other folder.

    A manifest that came with a folder may name any.

    Args:
        output: The output folder.
        paths: What is to be moved, relative to it.
        to: The folder, where another run has begun with it: then they may not even lie in the
            folder of a mode that is a link, to another disk for example.

    Raises:
        DataError: One is not, or does.
    """
    for path in paths:
        first, *below = PurePosixPath(path).parts
        is_file = not below and (first in TOKENIZERS or first.startswith(SCORES))
        if first not in MODE_FOLDERS and not is_file:
            raise _not_movable(output, path, "it is no result")
        places = [path] if to is None else [path, f"{to}/{path}"]
        for parent in (parent for place in places for parent in PurePosixPath(place).parents):
            is_mode = to is None and str(parent) == first
            if str(parent) != "." and not is_mode and (output / parent).is_symlink():
                raise _not_movable(output, path, f"{output / parent} is a link")


def _not_movable(output: Path, path: str, problem: str) -> DataError:
    return DataError(
        f"{output / path} is not moved to {output / REPLACED}, as {output / MANIFEST} or this run "
        f"has it: {problem}. Move it away yourself (and take 'moving' out of that file, if it is "
        "there), or choose another outputpath"
    )


def new_place(output: Path, mode: str, now: datetime | None = None, *, remove: bool = False) -> str:
    """Name a folder for results that are replaced now."""
    stamp = (now or datetime.now()).strftime("%Y-%m-%d-%H%M%S")
    return _unused(output, f"{REPLACED}/{REMOVING if remove else ''}{mode}-{stamp}")


def _unused(output: Path, wanted: str) -> str:
    place, number = wanted, 2
    while os.path.lexists(output / place):
        place, number = f"{wanted}-{number}", number + 1
    return place


def finish_moving(output: Path, *, remove: bool = False) -> None:
    """Go on with moving aside what the manifest says an earlier run has begun with.

    Args:
        output: The output folder.
        remove: Whether this run removes what is replaced; else it is kept, whatever that run did.

    Raises:
        DataError: It is not to be moved.
        ResourceError: It cannot be moved.
    """
    manifest = read_manifest(output)
    if manifest is None or manifest.moving is None:
        return
    moving = manifest.moving
    check_movable(output, moving.paths, moving.to)
    is_for_removal = PurePosixPath(moving.to).name.startswith(REMOVING)
    removes = moving.remove and remove and is_for_removal
    moving = moving.model_copy(update={"remove": removes})
    log.info(
        "an earlier run was broken off while it moved results to %s; going on with it%s: %s",
        output / moving.to,
        ", and removing them (run.replaced_results: remove)" if moving.remove else "",
        ", ".join(moving.paths),
    )
    with held():
        _finish(output, moving)
        if is_for_removal and not removes and (output / moving.to).is_dir():
            _keep(output, moving.to)


def _keep(output: Path, place: str) -> None:
    """Call results that were to be removed what those are called that are kept."""
    kept = _unused(output, f"{REPLACED}/{PurePosixPath(place).name.removeprefix(REMOVING)}")
    (output / place).rename(output / kept)
    log.info("they were to be removed, and are kept in %s", output / kept)


def _finish(output: Path, moving: Moving) -> None:
    try:
        for path in moving.paths:
            _move(output / path, output / moving.to / path)
        if moving.remove:
            if (output / moving.to).exists():
                shutil.rmtree(output / moving.to)
        else:
            _describe_moved(output / moving.to, moving)
    except OSError as error:
        raise ResourceError(
            f"{output}: earlier results cannot be moved to {moving.to} ({error}); make that "
            "possible and run the same command again, or choose another outputpath"
        ) from error
    update_manifest(output, lambda found: found.model_copy(update={"moving": None}))


def _move(source: Path, target: Path) -> None:
    """Move a file or folder at one stroke, unless that is done; its logs come back.

    Of a link to a folder elsewhere the link is moved; logs are copied back from there.
    """
    if target.exists() or not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    is_link = source.is_symlink()
    if is_link:
        _make_absolute(source)
    os.replace(source, target)
    if not (target / LOGS).is_dir():
        return
    source.mkdir(exist_ok=True)
    if is_link:
        shutil.copytree(target / LOGS, source / LOGS, dirs_exist_ok=True)
    else:
        os.replace(target / LOGS, source / LOGS)


def _make_absolute(link: Path) -> None:
    """Let a link lead to the same place wherever it lies."""
    with atomic_path(link) as temporary:
        temporary.symlink_to(link.resolve())


def _describe_moved(folder: Path, moving: Moving) -> None:
    """Write the manifest of what was moved, which may add to what was moved there before."""
    before = read_manifest(folder) or Manifest()
    modes = dict(before.modes)
    for name, record in moving.modes.items():
        known = modes.get(name) or record.model_copy(update={"folds": (), "tables": ()})
        modes[name] = known.model_copy(
            update={
                "folds": _joined(known.folds, record.folds),
                "tables": _joined(known.tables, record.tables),
            }
        )
    write_manifest(folder, Manifest(modes=modes))


def _joined(before: tuple, added: tuple) -> tuple:
    return (*(item for item in before if item not in added), *added)
