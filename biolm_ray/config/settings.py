"""What settings there are: name, meaning, type, default and older spellings."""

from __future__ import annotations

from typing import Any, Literal

from pydantic_core import PydanticUndefined

from biolm_ray.config.legacy import older_spellings
from biolm_ray.config.names import all_names
from biolm_ray.config.schema import COMMON_BOUNDS, Column
from biolm_ray.config.values import SettingType

_ALLOWED = {
    "data.path": "a file, folder or pattern such as data/*.tsv, local or a URI, or a list of them",
    "data.label_column": "a column number from 1, a name in the header, or a list of them",
    "tokenization.encoding": "atomic, bpe, or k-mers such as 3mer and 5mer",
    "splits.ratio": "two or three shares such as 85,15 or 80,10,10",
    "splits.validation_splits": "a list of split names, or a list of such lists",
    "splits.test_splits": "a list of split names, or a list of such lists",
    "interpret.region_columns": "a column number from 1, a name in the header, or three of them",
    "interpret.replacements": "a dictionary such as {a: b} or {a: [b, c]}",
    "interpret.motifs": "a dictionary such as {ARE: UAUUUA}, a list, or a file of motifs",
    "training.resume": "true, false, auto or a number of epochs",
    "model.options": "a dictionary of the model's own settings",
    "run.mlflow": "a tracking URI such as http://host:5000, sqlite:////path/file.db or file:/path",
    "tune.space": "for each setting a list of values, or {low, high, log, integer}",
}

_TYPE_TEXTS: dict[Any, str] = {
    bool: "true or false",
    str: "text",
    dict: "a dictionary such as {a: b}",
    Column: "a column number from 1, or a name in the header",
}

_LIMITS = {
    "gt": "above {}",
    "ge": "of at least {}",
    "lt": "below {}",
    "le": "of at most {}",
}


def allowed_text(name: str) -> str:
    """Say in words what the setting `name` may be."""
    if name in _ALLOWED:
        return _ALLOWED[name]
    setting = SettingType(name)
    if setting.kind is Literal:
        return f"one of {', '.join(map(str, setting.members))}"
    if setting.kind is tuple:
        return "a list of whole numbers" if "int" in str(setting.members[0]) else "a list of names"
    if setting.kind not in (int, float):
        return _TYPE_TEXTS[setting.kind]
    noun = "a whole number" if setting.kind is int else "a number"
    limits = [
        text.format(getattr(limit, key))
        for limit in setting.limits
        for key, text in _LIMITS.items()
        if hasattr(limit, key) and getattr(limit, key) not in COMMON_BOUNDS
    ]
    return " ".join([noun, " and ".join(limits)]).strip()


def choices(name: str) -> list[str]:
    """The values a setting can have, if they are few; [] otherwise."""
    if name == "tokenization.encoding":
        return ["atomic", "bpe", "3mer", "5mer"]
    setting = SettingType(name)
    return [str(member) for member in setting.members] if setting.kind is Literal else []


def all_settings() -> list[tuple[str, str, Any, tuple[str, ...]]]:
    """List every setting: dotted name, what it may be, default, older spellings.

    A mandatory setting and one without a default have the default None; columns count from 1.
    """
    settings = []
    for name in all_names():
        default = SettingType(name).field.get_default(call_default_factory=True)
        if default is PydanticUndefined:
            default = None
        if isinstance(default, Column):
            default = default.name if default.index is None else default.index + 1
        settings.append((name, allowed_text(name), default, older_spellings(name)))
    return settings
