"""Finding a model by its name, and reading its options."""

from collections.abc import Iterable
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from biolm_ray.config.schema import ModelConfig, Section
from biolm_ray.config.spelling import did_you_mean
from biolm_ray.errors import ConfigError, DataError, sentence
from biolm_ray.models.plugins import import_plugin, plugin_specs
from biolm_ray.models.spec import ModelSpec

GROUP = "biolm_ray.models"
REMOTE_CODE = "trust_remote_code"
"""An option that comes from the setting of that name alone; no folder of a model can set it."""


class UsedPlugin(Section):
    """The plugin that a saved model came from: its file name or module, and its content."""

    name: str
    sha256: str | None = None


def default_model(encoding: str) -> str:
    """Name the model of a configuration that names none."""
    return "saluki" if encoding == "atomic" else "xlnet"


def checkpoint_model(folder: Path) -> tuple[str, dict[str, Any]]:
    """Name the model, with its options, that reads a plain Hugging Face checkpoint."""
    return "huggingface", {"checkpoint": str(folder)}


def model_names() -> list[str]:
    """Name the installed models, in alphabetical order."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def find_spec(name: str | None, plugin: str | None = None) -> ModelSpec:
    """Find a model among the installed ones, or in a plugin.

    Args:
        name: As written in `model: {name: ...}`; None takes the only model of the plugin.
        plugin: A Python file or an importable module that holds one or more `ModelSpec` at its
            top level. Its models go before installed ones of the same name.

    Raises:
        ConfigError: No such model or plugin, or the plugin cannot be imported.
    """
    specs = plugin_specs(plugin) if plugin else {}
    if name is None:
        if len(specs) != 1:
            raise ConfigError(
                f"model.name is not set, and plugin {plugin} defines {len(specs)} models"
                f"{_listed(specs)}; set model.name to one of them"
            )
        return next(iter(specs.values()))
    if name in specs:
        return specs[name]
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return _checked_spec(_loaded(entry), f"entry point {entry.value}")
    known = sorted({*specs, *model_names()})
    hint = did_you_mean(name, known)
    raise ConfigError(f"model '{name}' is unknown (known: {_joined(known)}){hint}")


def find_model(model: ModelConfig) -> tuple[ModelSpec, Any]:
    """Find the model that a configuration names, and read its options.

    Raises:
        ConfigError: No such model, or an option it does not have.
    """
    spec = find_spec(model.name, model.plugin)
    return spec, read_options(spec, model.options, remote_code=model.trust_remote_code)


def used_plugin(name: str, plugin: str | None) -> UsedPlugin | None:
    """Identify the plugin that a model comes from; None for an installed model."""
    if plugin is None or name not in plugin_specs(plugin):
        return None
    path = Path(plugin)
    file = import_plugin(plugin).__file__
    return UsedPlugin(
        name=path.name if path.suffix == ".py" else plugin,
        sha256=None if file is None else sha256(Path(file).read_bytes()).hexdigest(),
    )


def read_options(
    spec: ModelSpec,
    options: dict[str, Any],
    *,
    remote_code: bool = False,
    saved_in: Path | None = None,
) -> Any:
    """Check a model's own settings and fill in the defaults.

    Args:
        spec: The model.
        options: Its settings, from a configuration or a model folder.
        remote_code: Whether a checkpoint's own Python files may run.
        saved_in: The card of the model folder that they come from, where they do.

    Raises:
        ConfigError: A key is unknown or a value does not fit; the first such problem is told.
        DataError: The same, in a card.
    """
    if saved_in is not None and REMOTE_CODE in options:
        raise DataError(f"{saved_in}: {REMOTE_CODE} is no option of a model that a folder can set")
    if REMOTE_CODE in options:
        raise ConfigError(f"{REMOTE_CODE} is no option of a model; set model.{REMOTE_CODE}")
    if REMOTE_CODE in spec.options.model_fields:
        options = {**options, REMOTE_CODE: remote_code}
    elif remote_code:
        raise ConfigError(
            f"model.{REMOTE_CODE} is set, but model {spec.name} reads no checkpoint that could "
            "bring code; leave it out"
        )
    try:
        return spec.options.model_validate(options)
    except ValidationError as error:
        if saved_in is not None:
            raise DataError(f"{saved_in}: damaged ({_option_message(spec, error)})") from None
        raise ConfigError(_option_message(spec, error)) from None


def _option_message(spec: ModelSpec, error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    valid = sorted(spec.options.model_fields.keys() - {REMOTE_CODE})
    if problem["type"] == "extra_forbidden":
        return (
            f"model {spec.name} has no option '{key}' (its options: {_joined(valid)})"
            f"{did_you_mean(key, valid)}"
        )
    subject = f"option '{key}' of model {spec.name}" if key else f"the options of {spec.name}"
    return (
        f"{subject}: found {problem['input']!r:.60}; {problem['msg'].removeprefix('Value error, ')}"
    )


def _loaded(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of a package of others, which may do anything
        raise ConfigError(
            f"model {entry.name} of the installed package {entry.module.partition('.')[0]} cannot "
            f"be imported: {sentence(error)}; mend the package, or choose another model"
        ) from error


def _checked_spec(value: Any, origin: str) -> ModelSpec:
    if not isinstance(value, ModelSpec):
        raise ConfigError(
            f"{origin} is a {type(value).__name__}; group {GROUP} takes ModelSpec objects"
        )
    return value


def _listed(specs: dict[str, ModelSpec]) -> str:
    return f" ({_joined(specs)})" if specs else ""


def _joined(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
