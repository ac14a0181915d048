"""What of a run's settings can be told to be wrong by a look at the files they name."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from biolm_ray.config.paths import default_output, is_uri, with_absolute_paths
from biolm_ray.config.schema import Config, Mode
from biolm_ray.data.columns import LabelKind
from biolm_ray.data.pieces import MARKS
from biolm_ray.data.reading import Input, NumberedPiece, Piece, plan_input, read_piece
from biolm_ray.data.sources import find_files
from biolm_ray.errors import ConfigError
from biolm_ray.preparation.rejects import BadRows, bad_rows_of
from biolm_ray.results.contents import CARD_FILE, FINE_TUNE, may_hold_models
from biolm_ray.results.manifest import MOST_PARENTS, Manifest, results_of
from biolm_ray.results.output_folder import check_output

LOOKED_AT_BYTES = 1 << 20
"""Text of the first file whose rows are read before Ray starts."""
READ_AS_SET: tuple[Mode, ...] = ("tokenize", "pre-train", "fine-tune", "tune")
"""Modes that read rows as the settings say."""
READ_BY_MODEL: tuple[Mode, ...] = ("predict", "interpret")
"""Modes that take some of what reads rows from a model."""


def look_at_paths(config: Config) -> None:
    """Make sure that a run finds what it reads and can write its results; takes a moment.

    Input of other machines is left for later, since it takes longer to reach.

    Raises:
        BiolmError: It does not; nothing has been written then.
    """
    config = with_absolute_paths(config)
    if not any(map(is_uri, config.data.paths)):
        look_at_data(config)
    look_at_model(config)
    is_default = config.output_path == default_output(config.data.path)
    check_output(Path(config.output_path), config.mode, is_default=is_default)


def look_at_data(config: Config) -> None:
    """Look for the files of a run's data, for its columns in their first lines, and at those rows.

    Raises:
        ConfigError: The columns are not set as the input needs.
        DataError: A file is missing, of a format that is not read, or lacks a column; or one of
            the first rows cannot be used and the run is to stop at such.
    """
    plan = plan_input(config.data, label_kind(config))
    if config.mode in READ_AS_SET and plan.files[0].format in MARKS:
        look_at_rows(config, plan)


def look_at_kinds(paths: Iterable[str], format: str) -> None:
    """Tell what files are, of those that are there, where they are of a kind that is not read.

    Raises:
        DataError: One is.
    """
    local = [path for path in paths if isinstance(path, str) and not is_uri(path)]
    if found := [path for path in local if Path(path).is_file()]:
        find_files(dict.fromkeys(found), format)


def look_at_rows(config: Config, plan: Input) -> None:
    """Read the first rows of a text, but not their tokens.

    Raises:
        DataError: One of them cannot be used and the run is to stop at such, or all the rows there
            are have been read and too many cannot be used.
    """
    file = plan.files[0]
    is_whole = len(plan.files) == 1 and file.can_seek and file.size <= LOOKED_AT_BYTES
    if config.data.on_bad_rows == "quarantine" and not is_whole:
        return
    piece = NumberedPiece(Piece(0, stop=LOOKED_AT_BYTES), 0, 1, plan.num_skipped(0))
    if not (blocks := list(read_piece(plan, piece))):
        return
    rows = pa.concat_tables(blocks)
    num_rows = len(rows) if is_whole else len(rows) + 1
    BadRows(plan, config.data, num_rows).add(bad_rows_of(rows, 0), len(rows))


def look_at_model(config: Config) -> None:
    """Look for the folder of the model and the files that a run names.

    Raises:
        ConfigError: One is not there, or no model is in the folder.
        DataError: The file of coordinates is not, or is no text.
    """
    if config.mode == "tokenize":
        return
    given = None if config.model.from_scratch else config.model.pretrained
    if given is not None and not Path(given).is_dir():
        what = "is no folder" if Path(given).exists() else "does not exist"
        raise ConfigError(
            f"pretrainedmodel {given} {what} (looked for in {Path.cwd()}): give the folder of a "
            "model or of an experiment"
        )
    if given is not None and config.mode in READ_BY_MODEL:
        _look_for_models(Path(given))
    plugin = config.model.plugin
    if plugin is not None and plugin.endswith(".py") and not Path(plugin).is_file():
        raise ConfigError(f"plugin {plugin}: there is no such file")
    if config.mode == "interpret" and config.interpret.coordinates:
        find_files([config.interpret.coordinates], "table")


def _look_for_models(path: Path) -> None:
    """Refuse a folder in which no model is, and that no experiment knows as one of its own.

    Raises:
        ConfigError: It is such.
    """
    if may_hold_models(path):
        return
    output, manifest = results_of(path) or (None, Manifest())
    if output is not None:  # models that are not finished are told of in full later
        records = manifest.modes.values()
        known = {output / fold.folder for record in records for fold in record.folds}
        if path in {output, output / FINE_TUNE, *known}:
            return
    raise no_model_in(path)


def _looks_trained(folder: Path) -> bool:
    """Tell a folder of ours from one that has files of the same name below it."""
    is_part = folder.name == FINE_TUNE or (folder / CARD_FILE).is_file()
    return is_part or (folder / FINE_TUNE).is_dir()


def no_model_in(path: Path) -> ConfigError:
    """Say of a folder that it holds no fine-tuned model, and which one does."""
    parents = [folder for folder in path.parents[:MOST_PARENTS] if _looks_trained(folder)]
    above = next(filter(may_hold_models, parents), None)
    if above is not None and not may_hold_models(path):
        return ConfigError(f"no fine-tuned model in {path}: did you mean {above}?")
    return ConfigError(
        f"no fine-tuned model in {path}: set pretrainedmodel to the folder of a model or of an "
        "experiment (one with models in its fine-tune folder), or outputpath to that of an "
        "experiment, whose models are then used"
    )


def label_kind(config: Config) -> LabelKind | None:
    """Tell what the label column holds for the task at hand; None without one."""
    if config.data.label_column is None or config.task is None:
        return None
    return "class" if config.task == "classification" else "number"
