"""From keys as written, nested in sections old and new, to the settings they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from biolm_ray.config.legacy import KEYS, SECTIONS, OldKey
from biolm_ray.config.schema import Config, Section
from biolm_ray.config.source import Block
from biolm_ray.config.spelling import closest
from biolm_ray.config.values import UNSET, SettingType, read_value
from biolm_ray.errors import ConfigError


def _parts() -> dict[str, tuple[str, ...]]:
    parts = {}
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            parts[name] = tuple(field.annotation.model_fields)
    return parts


PARTS: Mapping[str, tuple[str, ...]] = _parts()
"""The sections of the schema, each with its keys."""

TOP: tuple[str, ...] = tuple(name for name in Config.model_fields if name not in PARTS)
"""The keys that stand outside all sections."""

OPEN = ("model.options", "tune.space")
"""The settings that are open dictionaries; their keys are merged one by one."""

CODE: Mapping[str, str] = {
    "model.plugin": "--plugin {}",
    "model.trust_remote_code": "--set model.trust_remote_code=true",
}
"""The settings that have code run which is not ours, and the flag that gives each."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A key as somebody wrote it, and the setting or settings it stands for.

    Attributes:
        key: As written; with its dashes if it was a flag.
        where: The file and line, or "command line", for messages.
        sections: The older sections it stands in, outermost first.
        old: The row of the table of older spellings, if it is one.
    """

    names: tuple[str, ...]
    key: str
    value: Any
    where: str
    sections: tuple[str, ...] = ()
    old: OldKey | None = None

    @property
    def place(self) -> str:
        return f"{self.where}, {self.key}"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting with the value read for it."""

    name: str
    value: Any
    key: str
    where: str

    @property
    def place(self) -> str:
        return f"{self.where}, {self.key}"


def all_names() -> list[str]:
    return [*TOP, *(f"{part}.{key}" for part, keys in PARTS.items() for key in keys)]


def nearest(word: str, names: Iterable[str]) -> str:
    """Say which valid name is meant by `word`, or which there are."""
    names = list(names)
    close = closest(word, names)
    if close is not None:
        return f"did you mean '{close}'?"
    return f"valid here: {', '.join(names)}" if len(names) <= 24 else "see --help for all names"


def show(value: Any) -> str:
    """A value for a message, cut to 60 characters."""
    if isinstance(value, Block):
        value = dict(value)
    text = f"'{value}'" if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def name_file(block: Block, file: str) -> Iterator[Written]:
    """Name every key of a configuration file.

    Raises:
        ConfigError: A key or section means nothing, also in sections the mode will skip.
    """
    yield from _name_block(block, file, part=None, sections=())


def _name_block(
    block: Block, file: str, *, part: str | None, sections: tuple[str, ...]
) -> Iterator[Written]:
    for key, value in block.items():
        where = f"{file}, line {block.lines[key]}"
        found = _find(part, key)
        if found is not None:
            names, old, inner = found
            value = value if inner is None else {inner: value}
            yield Written(
                names=names, key=key, value=value, where=where, sections=sections, old=old
            )
        elif key in PARTS or key in SECTIONS:
            if isinstance(value, Block):
                old_section = SECTIONS.get(key) if key not in PARTS else None
                below = key if old_section is None else old_section.part
                outer = (*sections, key) if old_section else sections
                yield from _name_block(value, file, part=below, sections=outer)
            elif value is not None:
                raise ConfigError(
                    f"{where}, {key}: found {show(value)}; expected a section with keys of its own"
                )
        elif part is None and key.partition(".")[0] in PARTS:
            yield replace(name_override(key, value, where), sections=sections)
        else:
            raise ConfigError(f"{where}: {_unknown(part, key, value)}")


def _find(part: str | None, key: str) -> tuple[tuple[str, ...], OldKey | None, str | None] | None:
    """Find what `key` means inside `part`: settings, table row, and the key of a model option."""
    if part is not None and key in PARTS[part]:
        return (f"{part}.{key}",), None, None
    if part == "model" and not (key in KEYS and KEYS[key].names[0].startswith("model.")):
        return ("model.options",), None, key
    if key in KEYS:
        return KEYS[key].names, KEYS[key], None
    return ((key,), None, None) if key in TOP else None


def _unknown(part: str | None, key: str, value: Any, *, is_dotted: bool = False) -> str:
    if isinstance(value, Block) and not is_dotted:
        hint = nearest(key, [*dict.fromkeys([*PARTS, *SECTIONS]), *_dictionaries()])
        return f"'{key}' is neither a section nor a setting; {hint}"
    here = [*KEYS, *TOP, *PARTS, *SECTIONS] if part is None else [*PARTS[part], *KEYS]
    elsewhere = {name: owner for owner, keys in PARTS.items() for name in keys if name not in here}
    close = closest(key, [*here, *elsewhere])
    hint = nearest(key, here)
    if close in elsewhere:
        section = elsewhere[close]
        where = "" if part is None else f", in section '{section}'"
        hint = f"did you mean '{section}.{close}'{where}?"
    elif is_dotted and close in PARTS.get(part or "", ()):
        hint = f"did you mean '{part}.{close}'?"
    return f"'{key}' is not a setting (found value {show(value)}); {hint}"


def _dictionaries() -> list[str]:
    """The keys whose value is a dictionary, which a misspelt section may be meant to be."""
    names = [name for name in all_names() if SettingType(name).kind is dict]
    return [*(key for key, old in KEYS.items() if old.names[0] in names), *names]


def name_override(name: str, value: Any, where: str, key: str | None = None) -> Written:
    """Name a setting given as `section.key` or by an older key.

    Args:
        name: The name to look up.
        value: What it is set to.
        where: Where it stands, for messages.
        key: How it was written there, if not as `name`.

    Raises:
        ConfigError: It names nothing.
    """
    written_as = name if key is None else key
    part, dot, key = name.partition(".") if "." in name else ("", "", name)
    if dot and part not in PARTS:
        raise ConfigError(
            f"{where}, {written_as}: '{part}' is not a section; {nearest(part, PARTS)}"
        )
    for prefix in ("options.", "space."):
        if key.startswith(prefix) and f"{part}.{prefix[:-1]}" in OPEN:
            key, value = prefix[:-1], {key.removeprefix(prefix): value}
    found = _find(part or None, key)
    if found is None:
        problem = _unknown(part or None, key, value, is_dotted=bool(dot))
        raise ConfigError(f"{where}, {written_as}: {problem}")
    names, old, inner = found
    value = value if inner is None else {inner: value}
    return Written(names=names, key=written_as, value=value, where=where, old=old)


def read_settings(written: Written) -> Iterator[Setting]:
    """Read the value of a written key into the setting, or settings, it stands for.

    Raises:
        ConfigError: The value cannot be read.
    """
    try:
        values = (written.value,)
        if written.old is not None and written.old.convert is not None:
            values = written.old.convert(written.value)
        pairs = [
            (name, UNSET if value is UNSET else read_value(name, value))
            for name, value in zip(written.names, values, strict=True)
        ]
    except ValueError as error:
        raise ConfigError(bad_value(written, written.value, str(error))) from None
    for name, value in pairs:
        if name not in OPEN:
            yield Setting(name=name, value=value, key=written.key, where=written.where)
        elif isinstance(value, dict):
            for key, item in value.items():
                yield Setting(
                    name=f"{name}.{key}", value=item, key=written.key, where=written.where
                )


def bad_value(written: Written | Setting, value: Any, allowed: str) -> str:
    return f"{written.place}: found {show(value)}; expected {allowed}"
