"""Whether results can go to a folder, found out before a run does anything else."""

import errno
import os
import tempfile
from pathlib import Path

from biolm_ray.errors import BiolmError, ConfigError, ResourceError
from biolm_ray.results.contents import LOGS, MODE_FOLDERS
from biolm_ray.results.manifest import relative, results_of
from biolm_ray.shortages import DISK

MOST_SHOWN = 80
"""Characters of a path in a message: a name that is too long would fill the screen."""
NOT_WRITABLE = {
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
    errno.EROFS: "it is read-only",
    errno.ENOENT: "no folder can be made there",
}
NO_FOLDER = {
    errno.ENAMETOOLONG: "the name is longer than the file system allows",
    errno.ELOOP: "it is a link that leads back to itself",
    errno.ENOTDIR: "it is a file, not a folder",
    errno.EEXIST: "it is a file, not a folder",
    errno.EINVAL: "the file system allows no such name",
    errno.EILSEQ: "the file system allows no such name",
}
"""What the system says of a place that cannot hold results, in our words."""


def check_output(output: Path, mode: str, *, is_default: bool = False) -> None:
    """Make sure that a run can write its results, and make the output folder.

    Nothing but an attempt to write tells for every file system whether a folder can be written to;
    it leaves nothing, as another run may be at work there.

    Args:
        output: The output folder.
        mode: Of the run; its folder below the output folder has the same name.
        is_default: Whether it is where results go if no folder is named.

    Raises:
        ConfigError: Another folder is to be named: results cannot be written to this one, or it is
            a part of an experiment, which has its own record.
        ResourceError: It cannot be written to for now, as where no space is left.
    """
    folder = output
    try:
        _reach(output)
        _check_no_part(output)
        output.mkdir(parents=True, exist_ok=True)
        for folder in (output, output / mode, output / mode / LOGS):
            if os.path.lexists(folder):
                tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        name = f"outputpath {_shown(output)}"
        if is_default:
            name += " (next to the data file, since no other is set)"
        raise _unusable(name, output, folder, error) from error


def _reach(output: Path) -> None:
    """Follow the path to a folder, which need not exist, and let the system say what is wrong."""
    try:
        output.stat()
    except FileNotFoundError:
        return


def _check_no_part(output: Path) -> None:
    for place in dict.fromkeys((Path(os.path.normpath(output)), output.resolve())):
        found = results_of(place.parent)
        if found is None:
            continue
        experiment, manifest = found
        folds = {fold.folder for record in manifest.modes.values() for fold in record.folds}
        if relative(place, experiment) in {*MODE_FOLDERS, *folds}:
            raise ConfigError(
                f"outputpath {output} is a part of the experiment {experiment}: set outputpath to "
                f"{experiment}, or to a folder of its own (and pretrainedmodel to {output}, if its "
                "models are to be used)"
            )


def _unusable(name: str, output: Path, folder: Path, error: OSError) -> BiolmError:
    place = _place_to_blame(folder, error)
    where = "" if place == output else f" because of {_shown(place)}"
    if error.errno in DISK.numbers:
        return ResourceError(f"{name}: no space is left there ({error.strerror}); make room")
    problem = NOT_WRITABLE.get(error.errno or 0) or NO_FOLDER.get(error.errno or 0)
    if problem is None:
        return ResourceError(
            f"{name} cannot be written to{where}: {error.strerror}; see what is wrong with that "
            "place, or set outputpath to a folder elsewhere"
        )
    if error.errno == errno.EEXIST and place.is_symlink():
        problem = f"it is a link to {_shown(place.readlink())}, which does not exist"
    return ConfigError(
        f"{name} cannot hold results{where}: {problem}; set outputpath to a folder that you may "
        "write to"
    )


def _place_to_blame(folder: Path, error: OSError) -> Path:
    """The first place on the way to a folder that is no folder, or the one it is to be made in."""
    for place in (*reversed(folder.parents), folder):
        if not os.path.isdir(place):  # noqa: PTH112 (Path.is_dir raises where a name is too long)
            return place.parent if error.errno in NOT_WRITABLE else place
    return folder


def _shown(path: Path) -> str:
    text = str(path)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
