"""Importing a plugin, a Python file or module with models, and saying what fails in it."""

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from biolm_ray.config.schema import Section
from biolm_ray.errors import BiolmError, ConfigError, details, sentence, unwrapped
from biolm_ray.models.spec import ModelSpec
from biolm_ray.signals import Stopped

NOT_OF_PLUGINS = ("MemoryError", "OutOfMemoryError")
"""Failures that the machine is to blame for, wherever they are raised."""


def plugin_specs(plugin: str) -> dict[str, ModelSpec]:
    """Import a plugin, and find its models by their names.

    Raises:
        ConfigError: It cannot be imported, or defines no model or one that is no use.
    """
    module = import_plugin(plugin)
    specs = [value for value in vars(module).values() if isinstance(value, ModelSpec)]
    for spec in specs:
        _check_spec(spec, plugin)
    if not specs:
        raise ConfigError(
            f"plugin {plugin} defines no model: put `SPEC = ModelSpec(...)` at its top level"
        )
    return {spec.name: spec for spec in specs}


def import_plugin(plugin: str) -> ModuleType:
    """Import a plugin, whatever it does.

    Raises:
        ConfigError: It raises anything, or calls `sys.exit`.
    """
    path = Path(plugin)
    try:
        if path.suffix == ".py":
            return _import_file(path)
        return importlib.import_module(plugin)
    except BiolmError:
        raise
    except BaseException as error:  # it is code of others, which may do anything
        if _is_stop(error, _file_of(plugin)):
            raise
        line = error.lineno if isinstance(error, SyntaxError) else _line_in(error, _file_of(plugin))
        where = f", line {line}" if line else ""
        hint = "; give a .py file or a module name" if isinstance(error, ImportError) else ""
        raise ConfigError(
            f"plugin {plugin}{where}: cannot be imported: {_said(error)}{hint}"
        ) from error


@contextmanager
def plugin_named(plugin: str | None, kind: type[BiolmError] = ConfigError) -> Iterator[None]:
    """Say of an error that was raised in a plugin, here or in a worker, that it was, and where.

    Args:
        plugin: As the configuration names it; None where there is none.
        kind: Of error to raise.
    """
    try:
        yield
    except BiolmError:
        raise
    except BaseException as error:  # as above
        file = None if plugin is None else _file_of(plugin)
        line = _line_in(error, file)
        if line is None or type(error).__name__ in NOT_OF_PLUGINS or _is_stop(error, file):
            raise
        raise kind(f"plugin {plugin}, line {line}: {_said(error)}") from error


def _is_stop(error: BaseException, file: str | None) -> bool:
    """Whether an error ends the run for its user, rather than being raised by a line of a file."""
    if not isinstance(error, KeyboardInterrupt) or isinstance(error, Stopped):
        return isinstance(error, KeyboardInterrupt)
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return not any(at.filename == file and (at.line or "").startswith("raise") for at in last)


def _said(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it calls sys.exit({error.code!r}), which a plugin must not"
    if isinstance(error, KeyboardInterrupt):
        return "it raises KeyboardInterrupt, which a plugin must not"
    return sentence(unwrapped(error)).removeprefix("unexpected ")


def _file_of(plugin: str) -> str | None:
    if plugin.endswith(".py"):
        return str(Path(plugin).resolve())
    return getattr(sys.modules.get(plugin), "__file__", None)


def _line_in(error: BaseException, file: str | None) -> int | None:
    """The last line of a file that an error went through, in this process or in another."""
    if file is None:
        return None
    lines = re.findall(rf'File "{re.escape(file)}", line (\d+)', details(error))
    return int(lines[-1]) if lines else None


def _check_spec(spec: ModelSpec, plugin: str) -> None:
    """Look at what every use of a model needs; the rest shows when it is used."""
    wrong = None
    if not (isinstance(spec.name, str) and spec.name):
        wrong = f"name is {spec.name!r}; it should be a word"
    elif not (isinstance(spec.options, type) and issubclass(spec.options, Section)):
        wrong = f"options is {spec.options!r}; it should be a class made from Section"
    else:
        found = {name: getattr(spec, name) for name in ("build", "recipe", "min_length")}
        name = next((name for name, value in found.items() if not callable(value)), None)
        if name is not None:
            wrong = f"{name} is {found[name]!r}; it should be a function"
    if wrong is not None:
        raise ConfigError(f"plugin {plugin}: in its ModelSpec, {wrong}")


def _import_file(path: Path) -> ModuleType:
    """Import a file once, under a name of its own, so that its classes can be pickled."""
    if not path.is_file():
        raise ConfigError(f"plugin {path}: there is no such file (looked in {Path.cwd()})")
    digest = sha256(str(path.resolve()).encode() + path.read_bytes()).hexdigest()[:12]
    name = f"biolm_ray_plugin_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, path.resolve())
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
