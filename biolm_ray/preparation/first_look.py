"""What of a run's settings can be told to be wrong by a look at the files they name."""

from pathlib import Path

from biolm_ray.config.paths import default_output, is_uri, with_absolute_paths
from biolm_ray.config.schema import Config
from biolm_ray.data.columns import LabelKind
from biolm_ray.data.inputs import plan_input
from biolm_ray.data.sources import find_files
from biolm_ray.errors import ConfigError
from biolm_ray.results.output_folder import check_output


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
    """Look for the files of a run's data, and for its columns in their first lines.

    Raises:
        ConfigError: The columns are not set as the input needs.
        DataError: A file is missing, of a format that is not read, or lacks a column.
    """
    plan_input(config.data, label_kind(config))


def look_at_model(config: Config) -> None:
    """Look for the folder of the model and the files that a run names.

    Raises:
        ConfigError: One is not there.
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
    plugin = config.model.plugin
    if plugin is not None and plugin.endswith(".py") and not Path(plugin).is_file():
        raise ConfigError(f"plugin {plugin}: there is no such file")
    if config.mode == "interpret" and config.interpret.coordinates:
        find_files([config.interpret.coordinates], "table")


def label_kind(config: Config) -> LabelKind | None:
    """Tell what the label column holds for the task at hand; None without one."""
    if config.data.label_column is None or config.task is None:
        return None
    return "class" if config.task == "classification" else "number"
