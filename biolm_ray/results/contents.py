"""What an output folder holds: what is worth keeping, what was made of what, how it is called."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from biolm_ray.results.manifest import Manifest, ModeRecord, Run, read_manifest
from biolm_ray.wording import counted

FINE_TUNE = "fine-tune"
CARD_FILE = "config.json"
"""The last file of a model's folder."""
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
MOST_LISTED = 3
"""Files of a kind in one folder that messages name one by one."""
NO_RESULTS_IN = {LOGS, "checkpoint", "ray", "tboard"}


def holds_results(path: Path) -> bool:
    """Tell whether there is anything worth keeping at a path, beyond what a failed run leaves."""
    if path.is_file():
        return path.name not in NO_RESULTS
    if path.name in NO_RESULTS_IN or path.name.startswith(".") or not path.is_dir():
        return False
    return any(child.name not in NO_RESULTS_IN and holds_results(child) for child in path.iterdir())


def may_hold_models(path: Path) -> bool:
    """Tell whether a folder may be a model's, an experiment's or that of its models; by names."""
    places = (path, path / FINE_TUNE)
    return any(
        (place / CARD_FILE).is_file() or any(place.glob(f"*/{CARD_FILE}")) for place in places
    )


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


def divided(record: ModeRecord, paths: Sequence[str], *, inside: bool) -> ModeRecord | None:
    """Give the part of a record that concerns some paths, or all others; None if there is none."""
    folds = tuple(fold for fold in record.folds if is_below(fold.folder, paths) == inside)
    tables = tuple(table for table in record.tables if is_below(table.path, paths) == inside)
    if not folds and not tables:
        return None
    return record.model_copy(update={"folds": folds, "tables": tables})


def describe_results(output: Path, paths: Sequence[str]) -> str:
    """Say which results lie at some paths, and of when they are."""
    manifest = read_manifest(output) or Manifest()
    parts = [divided(record, paths, inside=True) for record in manifest.modes.values()]
    records = [record for record in parts if record is not None]
    if not records:
        return f"{_listed(paths)} (nothing says of which run)"
    tables = [table for record in records for table in record.tables]
    runs = [record.run for record in records] + [table.run for table in tables]
    counts = {
        "model": sum(bool(fold.files) for record in records for fold in record.folds),
        "file": len(tables),
    }
    what = " and ".join(counted(number, of) for of, number in counts.items() if number)
    return f"{_listed(paths)} ({what or 'nothing finished'}, of {_days(runs)})"


def _listed(paths: Iterable[str]) -> str:
    """Name the paths, but of many files of a kind in one folder how many there are."""
    found = [PurePosixPath(path) for path in paths]
    sizes = Counter((path.parent, path.suffix) for path in found if path.suffix)
    parts: list[str] = []
    for path in found:
        size = sizes[path.parent, path.suffix]
        many = size > MOST_LISTED
        parts.append(f"{size} {path.suffix} files in {path.parent}" if many else str(path))
    return ", ".join(dict.fromkeys(parts))


def _days(runs: Iterable[Run]) -> str:
    """The time of a run in UTC, or of the first and the last of several."""
    times = sorted(run.started[:16].replace("T", " ") for run in runs)
    return f"{times[0]} UTC" if times[0] == times[-1] else f"{times[0]} to {times[-1]} UTC"
