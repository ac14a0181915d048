"""Results that others replace: what they are, and moving them aside as a whole.

The manifest says what is being moved before anything is, so that a run broken off at any point
leaves the earlier results in their place or aside, and the next run ends what was begun.
"""

import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath

from biolm_ray.errors import DataError, ResourceError
from biolm_ray.files import atomic_path
from biolm_ray.results.manifest import (
    MANIFEST,
    REPLACED,
    Manifest,
    ModeRecord,
    Moving,
    Run,
    read_manifest,
    update_manifest,
    write_manifest,
)

log = logging.getLogger("biolm_ray")

LOGS = "logs"
"""Stays where it is: the run that replaces results writes to it."""
NO_RESULTS = {
    *("config.yaml", "rejected.tsv", "tokenizer.json", "tokenization.json"),
    *("training_settings.json", "search_settings.json", "steps.csv"),
}
"""Files that describe results, or a training that is under way, and are worth nothing alone."""
MODE_FOLDERS = ("tokenize", "pre-train", "fine-tune", "predict", "interpret", "tune")
TOKENIZERS = ("tokenizer.json", "tokenization.json")
SCORES = "loo_scores"
"""How the names of tables of scores begin; earlier versions put them into the output folder too."""
NO_RESULTS_IN = {LOGS, "checkpoint", "ray", "tboard"}


def holds_results(path: Path) -> bool:
    """Tell whether there is anything worth keeping at a path, beyond what a failed run leaves."""
    if path.is_file():
        return path.name not in NO_RESULTS
    if path.name in NO_RESULTS_IN or path.name.startswith(".") or not path.is_dir():
        return False
    return any(child.name not in NO_RESULTS_IN and holds_results(child) for child in path.iterdir())


def tables_in(folder: Path) -> list[Path]:
    """List the files of a folder that are worth keeping; those of its folders are not looked at."""
    return sorted(path for path in folder.iterdir() if path.is_file() and holds_results(path))


def results_to_replace(
    output: Path,
    mode: str,
    folders: Sequence[str] | None = None,
    trained_on: Sequence[str] = (),
) -> list[str]:
    """List what must go when results of a mode are replaced, relative to the output folder.

    These are the folders, and whatever was made of their models.

    Args:
        output: The output folder.
        mode: Of the results.
        folders: With all that lies in them; unset: that of the mode.
        trained_on: Of models that stay until others with the same name are trained from them.
    """
    folders = [mode] if folders is None else folders
    going = [folder for folder in folders if holds_results(output / folder)]
    manifest = read_manifest(output) or Manifest()
    folds = manifest.modes[mode].folds if mode in manifest.modes else ()
    weights = {
        file.sha256
        for fold in folds
        if is_below(fold.folder, [*folders, *trained_on])
        for file in fold.files.values()
    }
    for other, record in manifest.modes.items():
        made = [table.path for table in record.tables if weights & set(table.models)]
        made = [path for path in made if not is_below(path, going)]
        all_its_own = all(is_below(path, [other]) for path in made)
        if made and other != mode and all_its_own and len(made) == len(record.tables):
            going.append(other)
        else:
            going += [path for table in made for path in with_companions(output, table)]
    return list(dict.fromkeys(path for path in going if (output / path).exists()))


def with_companions(output: Path, path: str) -> list[str]:
    """List what lies beside a table and has its name but for the ending, the table included."""
    folder, stem = PurePosixPath(path).parent, PurePosixPath(path).name.partition(".")[0]
    if not (output / folder).is_dir():
        return []
    names = sorted(child.name for child in (output / folder).iterdir())
    return [str(folder / name) for name in names if name == stem or name.startswith(f"{stem}.")]


def is_below(path: str, folders: Iterable[str]) -> bool:
    """Tell whether a path is one of some others, or lies below one of them."""
    return any(PurePosixPath(path).is_relative_to(folder) for folder in folders)


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
    to = to or new_place(output, mode)
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


def new_place(output: Path, mode: str, now: datetime | None = None) -> str:
    """Name a folder for results that are replaced now."""
    stamp = (now or datetime.now()).strftime("%Y-%m-%d-%H%M%S")
    place = f"{REPLACED}/{mode}-{stamp}"
    number = 2
    while (output / place).exists():
        place = f"{REPLACED}/{mode}-{stamp}-{number}"
        number += 1
    return place


def divided(record: ModeRecord, paths: Sequence[str], *, inside: bool) -> ModeRecord | None:
    """Give the part of a record that concerns some paths, or all others; None if there is none."""
    folds = tuple(fold for fold in record.folds if is_below(fold.folder, paths) == inside)
    tables = tuple(table for table in record.tables if is_below(table.path, paths) == inside)
    if not folds and not tables:
        return None
    return record.model_copy(update={"folds": folds, "tables": tables})


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
    moving = moving.model_copy(update={"remove": moving.remove and remove})
    log.info(
        "an earlier run was broken off while it moved results to %s; going on with it%s: %s",
        output / moving.to,
        ", and removing them (run.replaced_results: remove)" if moving.remove else "",
        ", ".join(moving.paths),
    )
    _finish(output, moving)


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


def describe_results(output: Path, paths: Sequence[str]) -> str:
    """Say which results lie at some paths, and of when they are."""
    manifest = read_manifest(output) or Manifest()
    parts = [divided(record, paths, inside=True) for record in manifest.modes.values()]
    records = [record for record in parts if record is not None]
    if not records:
        return f"{', '.join(paths)} (nothing says of which run)"
    tables = [table for record in records for table in record.tables]
    runs = [record.run for record in records] + [table.run for table in tables]
    counts = {
        "model": sum(bool(fold.files) for record in records for fold in record.folds),
        "file": len(tables),
    }
    what = " and ".join(_counted(number, of) for of, number in counts.items() if number)
    return f"{', '.join(paths)} ({what or 'nothing finished'}, of {_days(runs)})"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _days(runs: Iterable[Run]) -> str:
    """The time of a run in UTC, or of the first and the last of several."""
    times = sorted(run.started[:16].replace("T", " ") for run in runs)
    return f"{times[0]} UTC" if times[0] == times[-1] else f"{times[0]} to {times[-1]} UTC"
