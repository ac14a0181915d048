"""From merged settings to a checked configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from biolm_ray.config.checks import TRAINING_MODES, Problem, contradictions, missing_settings
from biolm_ray.config.names import (
    CODE,
    OPEN,
    Setting,
    all_names,
    bad_value,
    name_override,
    read_settings,
)
from biolm_ray.config.paths import default_output
from biolm_ray.config.schema import COMMON_BOUNDS, Column, Config, Mode, TuneConfig
from biolm_ray.config.settings import allowed_text, choices
from biolm_ray.config.spelling import did_you_mean
from biolm_ray.config.values import UNSET
from biolm_ray.errors import ConfigError, attach
from biolm_ray.masking import is_masked

_SEARCHABLE = ("preprocessing", "tokenization", "splits", "model", "training")


def build_config(
    settings: Mapping[str, Setting], mode: Mode, label: str, unread: Iterable[str] = ()
) -> Config:
    """Make the configuration that the settings describe, and check it.

    Args:
        settings: By dotted name; none of them is UNSET.
        mode: The command the configuration is for.
        label: Where the settings come from on the whole, for messages.
        unread: The data sources of the file that are for other modes.

    Raises:
        ConfigError: Something is missing, contradictory or of the wrong type; where it is missing,
            with the paths and the format of the data as `data_paths` and `data_format`.
    """
    missing = next(missing_settings(mode, settings, unread), None)
    if missing is not None:
        error = ConfigError(f"{label}: {missing}")
        attach(error, **_data_named(settings))
        raise error
    _check_whole(settings)
    settings = {**settings, **_implied_settings(settings, mode)}
    config = _assemble(settings, mode)
    problem = next(contradictions(config), None)
    if problem is not None:
        raise ConfigError(_place(problem, settings, label))
    if config.tune.space:
        config = _with_checked_space(config, settings)
    return config


def _data_named(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """The files of data that settings name, and how they are said to be written."""
    path = settings["data.path"].value if "data.path" in settings else ()
    format = settings["data.format"].value if "data.format" in settings else "auto"
    return {"data_paths": (path,) if isinstance(path, str) else path, "data_format": format}


def _check_whole(settings: Mapping[str, Setting]) -> None:
    """Refuse an address without its password or key, which a written configuration leaves out."""
    for setting in settings.values():
        values = setting.value if isinstance(setting.value, tuple) else (setting.value,)
        for value in values:
            if isinstance(value, str) and is_masked(value):
                raise ConfigError(
                    f"{setting.place}: {value} lacks its password or key, which is never written "
                    f"to a file of results; give the whole address again, as in "
                    f"--set {setting.name}=..., or keep secrets in the environment"
                )


def _implied_settings(settings: Mapping[str, Setting], mode: Mode) -> dict[str, Setting]:
    """What follows from other settings: a header, the result folder, classes without scaling."""
    implied: dict[str, Any] = {}
    if _needs_header(settings):
        implied["data.has_header"] = True
    if "output_path" not in settings:
        implied["output_path"] = _default_output(settings["data.path"])
    task = settings.get("task")
    if (
        mode in TRAINING_MODES
        and task is not None
        and task.value == "classification"
        and "training.scaling" not in settings
    ):
        implied["training.scaling"] = "none"
    return {
        name: Setting(name=name, value=value, key=name, where="implied")
        for name, value in implied.items()
    }


def _needs_header(settings: Mapping[str, Setting]) -> bool:
    """Tell whether a column is given by name; refuse it for a file declared to have no header."""
    header = settings.get("data.has_header")
    for setting in settings.values():
        if not (setting.name.startswith("data.") and setting.name.endswith("_column")):
            continue
        columns = setting.value if isinstance(setting.value, tuple) else (setting.value,)
        found = [item.name if isinstance(item, Column) else item for item in columns]
        name = next((name for name in found if isinstance(name, str)), None)
        if name is None:
            continue
        if header is not None and header.value is False:
            raise ConfigError(
                f"{setting.place}: found the name '{name}', but the file has no header "
                f"({header.place}); give the column's number"
            )
        return True
    return False


def _default_output(path: Setting) -> str:
    output = default_output(path.value)
    if output is None:
        text = path.value if isinstance(path.value, str) else ", ".join(path.value)
        raise ConfigError(
            f"{path.place}: '{text}' does not tell where the results go; set outputpath"
        )
    return output


def _assemble(settings: Mapping[str, Setting], mode: Mode) -> Config:
    tree: dict[str, Any] = {"mode": mode}
    for name, setting in settings.items():
        steps = name.split(".", 2)  # the name of a model's option may hold dots itself
        branch = tree
        for step in steps[:-1]:
            branch = branch.setdefault(step, {})
        branch[steps[-1]] = setting.value
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, settings)) from None


def _explain(error: ValidationError, settings: Mapping[str, Setting]) -> str:
    """Say which setting the first complaint of the schema is about, and what it may be."""
    complaint = error.errors()[0]
    location = [str(step) for step in complaint["loc"]]
    setting = next(
        settings[name]
        for name in (".".join(location[:depth]) for depth in (3, 2, 1))
        if name in settings
    )
    name = setting.name
    if name not in all_names():
        name = next(parent for parent in OPEN if name.startswith(f"{parent}."))
    allowed = allowed_text(name)
    most = complaint.get("ctx", {}).get("le")
    if most in COMMON_BOUNDS:
        allowed += f" and at most {most:,}" if isinstance(most, int) else f" and at most {most:g}"
    if complaint["type"] == "finite_number":
        allowed += " and finite"
    text = bad_value(setting, setting.value, allowed)
    return f"{text}{did_you_mean(str(setting.value), choices(name))}"


def _place(problem: Problem, settings: Mapping[str, Setting], label: str) -> str:
    """Put the places in which the settings were written before what is wrong with them."""
    names, text = problem
    written = [settings[name] for name in names if name in settings]
    places = [item.place for item in written if item.where != "implied"]
    return f"{' and '.join(places) or label}: {text}"


def _with_checked_space(config: Config, settings: Mapping[str, Setting]) -> Config:
    """Check that each choice of a search is a value its setting may have; use the new names."""
    fixed = {name: item for name, item in settings.items() if not name.startswith("tune.")}
    space = {}
    for name, values in config.tune.space.items():
        source = settings[f"tune.space.{name}"]
        where = source.place
        new_name = name if "." in name else name_override(name, None, where).names[0]
        if new_name.split(".")[0] not in _SEARCHABLE:
            raise ConfigError(
                f"{where}, {name}: only settings of {', '.join(_SEARCHABLE)} can be searched"
            )
        if new_name in CODE:
            raise ConfigError(f"{where}, {name}: {new_name} decides what code runs; set it outside")
        if new_name in space:
            raise ConfigError(f"{where}, {name}: {new_name} is searched twice; keep one")
        space[new_name] = values
        for value in values if isinstance(values, tuple) else _ends(values, f"{where}, {name}"):
            chosen = read_settings(name_override(name, value, where))
            trial = {item.name: item for item in chosen if item.value is not UNSET}
            _assemble({**fixed, **trial}, config.mode)
    tune = TuneConfig.model_validate({**dict(config.tune), "space": space})
    return config.model_copy(update={"tune": tune})


def _ends(values: Any, where: str) -> tuple[Any, Any]:
    """The two ends of a range to search."""
    if values.low >= values.high or (values.log and values.low <= 0):
        raise ConfigError(
            f"{where}: the range goes from {values.low} to {values.high}; low must be below high"
            f"{', and above 0 on a log scale' if values.log else ''}"
        )
    kind = int if values.integer else float
    return kind(values.low), kind(values.high)
