"""What a table of scores can be read as: changes of a number, or of the probability of a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from biolm_ray.data.naming import alike_in_files, name_for_files, told_apart
from biolm_ray.data.ordering import sorted_naturally
from biolm_ray.errors import ConfigError
from biolm_ray.inference.scores_file import class_columns, read_columns


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Scores of one kind. Those of different classes are never brought together.

    Attributes:
        paths: The tables that hold them; a fold whose rows lack a class has no scores of it.
        column: Where they stand in each.
        changing: What changes by an edit, as headings name it.
        folder: Where in the folder of a table all about them goes; empty: there itself.
        is_class: Whether it is the probability of a class, so that labels are texts.
    """

    paths: tuple[Path, ...]
    column: str = "loo"
    changing: str = "the prediction"
    folder: str = ""
    is_class: bool = False


def find_readings(paths: Sequence[Path], class_name: str | None = None) -> list[Reading]:
    """Decide what the tables of some folds, of one target, are read as.

    Of classes that is the one asked for, else the second of two, else each by itself.

    Args:
        paths: The tables.
        class_name: The class that is asked for; unset: the one all tables were made for, if any.

    Raises:
        ConfigError: The tables have no scores of the class.
    """
    described = {path: read_columns(path) for path in paths}
    columns = {path: class_columns(names) for path, (names, _) in described.items()}
    classes = sorted_naturally(name for found in columns.values() for name in found)
    made_for = {metadata.get("class_name") for _, metadata in described.values()}
    if not classes and class_name is None:
        changing = described[paths[0]][1].get("target") or "the prediction"
        return [Reading(paths=tuple(paths), changing=changing)]
    if class_name is not None and class_name not in classes:
        known = f"knows {', '.join(classes)}" if classes else "is about numbers; leave it out"
        raise ConfigError(f"interpret.class_name is '{class_name[:40]}'; {paths[0]} {known}")
    if class_name is None and len(made_for) == 1:
        class_name = made_for.pop()
    if class_name is None and len(classes) == 2:
        class_name = classes[1]
    chosen = classes if class_name is None else [class_name]
    folders = [""] if len(chosen) == 1 else class_folders(chosen)
    return [
        Reading(
            paths=tuple(path for path in paths if name in columns[path]),
            column=next(found[name] for found in columns.values() if name in found),
            changing=f"the probability of class {name[:40]}",
            folder=folder,
            is_class=True,
        )
        for name, folder in zip(chosen, folders, strict=True)
    ]


def class_folders(classes: Sequence[str]) -> list[str]:
    """Name a folder for each class, different also where case does not count."""
    names = [f"class_{name_for_files(name)}" for name in classes]
    if not alike_in_files(names):
        return names
    return told_apart(names, [str(number) for number in range(1, len(names) + 1)])
