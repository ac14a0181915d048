"""The one place where files, overrides and defaults meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from biolm_ray.config.build import build_config
from biolm_ray.config.legacy import FINE_TUNING_SOURCE, INFERENCE_SOURCE, KEYS, SECTIONS
from biolm_ray.config.names import (
    CODE,
    OPEN,
    PARTS,
    Setting,
    Written,
    bad_value,
    name_file,
    name_override,
    nearest,
    read_settings,
)
from biolm_ray.config.paths import PATHS, absolute, is_uri, results_around
from biolm_ray.config.schema import MODES, Config, Mode, Section
from biolm_ray.config.settings import all_settings
from biolm_ray.config.source import read_yaml
from biolm_ray.config.values import UNSET, is_unset, keep_texts
from biolm_ray.config.write import write_config
from biolm_ray.errors import ConfigError

__all__ = ["all_settings", "load_config", "load_written", "with_settings", "write_config"]


def load_config(
    path: str | Path | None, mode: str, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Load the configuration of one command from a YAML file, overrides and defaults.

    Sections, keys and values may be spelled as in the schema or as in older files. A section made
    for another mode is skipped; one made for this mode wins over a general one.

    Args:
        path: The YAML file; None when the overrides say all.
        mode: The command; a `mode` in the file gives way to it.
        overrides: Values by dotted name (`training.batch_size`) or older key (`batchsize`). They
            win over the file; None puts a setting back to its default.

    Raises:
        ConfigError: Something is unknown, missing, contradictory or of the wrong type.
    """
    written = [
        name_override(
            name, keep_texts(str(value) if isinstance(value, Path) else value), "overrides"
        )
        for name, value in (overrides or {}).items()
    ]
    return load_written(path, mode, written)


def load_written(path: str | Path | None, mode: str, overrides: Iterable[Written]) -> Config:
    """Load a configuration as `load_config` does, with overrides that know where they stand."""
    command = _check_mode(mode)
    file = None if path is None else Path(path)
    in_file = [] if file is None else list(name_file(read_yaml(file), str(file)))
    settings: dict[str, Setting] = {}
    for layer in _layers(in_file, command):
        _merge(settings, chain.from_iterable(map(read_settings, layer)))
    named = [settings[name] for name in CODE if name in settings]
    _merge(settings, chain.from_iterable(map(read_settings, overrides)))
    if file is not None:
        _refuse_code([item for item in named if settings.get(item.name) is item], file)
    other = settings.pop("mode", None)
    if other is not None and other.value not in MODES:
        raise ConfigError(bad_value(other, other.value, f"one of {', '.join(MODES)}"))
    label = "configuration" if file is None else str(file)
    if file is not None:
        _refuse_paths_beside(file, in_file, settings)
    return build_config(settings, command, label, _unread_sources(in_file, command))


def _unread_sources(written: list[Written], mode: Mode) -> list[str]:
    """The data sources of a file that are for other modes."""
    sections = dict.fromkeys(name for item in written for name in item.sections)
    return [
        name
        for name in sections
        if SECTIONS[name].part == "data" and mode not in (SECTIONS[name].modes or MODES)
    ]


def _refuse_code(settings: Iterable[Setting], file: Path) -> None:
    """Keep a file that lies among results from naming code: these are passed on, and read only.

    Raises:
        ConfigError: It does.
    """
    for setting in settings:
        if setting.value and (folder := results_around(file)) is not None:
            raise ConfigError(
                f"{setting.place}: found {setting.value}, but no code is run because a file in a "
                f"folder of results ({folder}) names it; if you trust it, give "
                f"{CODE[setting.name].format(setting.value)} on the command line"
            )


def _refuse_paths_beside(
    file: Path, in_file: Iterable[Written], settings: Mapping[str, Setting]
) -> None:
    """Refuse a relative path that leads nowhere but would, if it began beside the YAML file.

    Paths of a configuration begin in the working directory, as they always have.

    Raises:
        ConfigError: There is one.
    """
    places = {item.where for item in in_file}
    for setting in settings.values():
        if setting.name not in PATHS or setting.where not in places:
            continue
        for path in setting.value if isinstance(setting.value, tuple) else (setting.value,):
            beside = file.parent / str(path)
            if is_uri(str(path)) or Path(path).expanduser().exists() or not beside.exists():
                continue
            raise ConfigError(
                f"{setting.place}: {path} is looked for in the working directory, and "
                f"{absolute(path)} does not exist; it exists beside the YAML file: "
                f"{absolute(str(beside))}. Run the command there, or write that path"
            )


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """Copy a configuration with some settings changed, checked as if it had been loaded so.

    Args:
        config: The configuration to start from.
        settings: Values by dotted name or older key; `mode` is allowed too.

    Raises:
        ConfigError: A name is unknown, or a value not allowed.
    """
    merged = {
        name: Setting(name=name, value=value, key=name, where="configuration")
        for name, value in _changed_values(config).items()
    }
    given = dict(settings)
    mode = _check_mode(str(given.pop("mode", config.mode)))
    written = [name_override(name, keep_texts(value), "settings") for name, value in given.items()]
    _merge(merged, chain.from_iterable(map(read_settings, written)))
    return build_config(merged, mode, "settings")


def _check_mode(mode: str) -> Mode:
    for known in MODES:
        if mode == known:
            return known
    raise ConfigError(f"'{mode}' is not a mode; {nearest(mode, MODES)}")


def _layers(written: list[Written], mode: Mode) -> tuple[list[Written], list[Written]]:
    """Part the keys of a file into general ones and those in sections made for this mode.

    A data source without a file counts as absent. When interpreting a new file, the fine-tuning
    data source is foreign; otherwise its pre-trained model is, since the fine-tuned one is wanted.
    """
    has_inference_file = any(
        INFERENCE_SOURCE in item.sections and "data.path" in item.names and not is_unset(item.value)
        for item in written
    )

    def is_foreign(item: Written) -> bool:
        if any(mode not in (SECTIONS[name].modes or MODES) for name in item.sections):
            return True
        if mode != "interpret":
            return False
        if not has_inference_file:
            is_start = FINE_TUNING_SOURCE in item.sections and "model.pretrained" in item.names
            return is_start or INFERENCE_SOURCE in item.sections
        return FINE_TUNING_SOURCE in item.sections

    general, special = [], []
    for item in written:
        if not is_foreign(item):
            is_special = any(SECTIONS[name].modes for name in item.sections)
            (special if is_special else general).append(item)
    return general, special


def _merge(settings: dict[str, Setting], layer: Iterable[Setting]) -> None:
    """Let the settings of one layer win over those of the layers before it."""
    seen: dict[str, Setting] = {}
    for setting in layer:
        other = seen.get(setting.name)
        if other is None or other.value is UNSET:
            seen[setting.name] = setting
        elif setting.value is not UNSET and setting.value != other.value:
            raise ConfigError(f"{setting.place}: contradicts {other.key} ({other.where}); keep one")
    for name, setting in seen.items():
        below = settings.get(name)
        if setting.value is not UNSET:
            settings[name] = setting
        elif below is not None and not _are_different_switches(setting.key, below.key):
            del settings[name]


def _are_different_switches(key: str, other: str) -> bool:
    """Tell `_3utr` from `non3utr`: switching one off does not undo the other."""
    key, other = key.lstrip("-"), other.lstrip("-")
    return key != other and key in KEYS and other in KEYS


def _changed_values(config: Config) -> dict[str, Any]:
    """The settings that differ from their defaults, by dotted name."""
    changed: dict[str, Any] = {}
    for part in PARTS:
        section: Section = getattr(config, part)
        for key, field in type(section).model_fields.items():
            value = getattr(section, key)
            if field.is_required() or value != field.get_default(call_default_factory=True):
                changed[f"{part}.{key}"] = value
    for name in OPEN:
        for key, value in changed.pop(name, {}).items():
            changed[f"{name}.{key}"] = value
    changed["output_path"] = config.output_path
    if config.task is not None:
        changed["task"] = config.task
    return changed
