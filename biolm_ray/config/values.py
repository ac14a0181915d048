"""How the text of a setting becomes its value, decided by the type the schema gives it."""

from __future__ import annotations

import ast
import json
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from biolm_ray.config.schema import Column, Config, Section
from biolm_ray.config.source import Quoted, parse_yaml
from biolm_ray.errors import ConfigError

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_NUMBER = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?")
_MOST_DIGITS = 4000
"""Python reads no whole number that is much longer, and no setting may be."""
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


class Unset:
    """The type of UNSET: the setting keeps its default."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset()


class SettingType:
    """What the schema says of one setting.

    Attributes:
        kind: bool, int, float, str, dict, tuple, Literal, Column, or None for a mixture.
        members: The values of a Literal, or the type of a tuple's or dict's members.
    """

    def __init__(self, name: str) -> None:
        section, _, key = name.rpartition(".")
        owner = Config.model_fields[section].annotation if section else Config
        assert isinstance(owner, type), name
        assert issubclass(owner, Section), name
        self.field = owner.model_fields[key]
        annotation, self.limits = _plain(self.field.annotation)
        self.limits = [*self.limits, *self.field.metadata]
        origin = get_origin(annotation)
        self.members: tuple[Any, ...] = get_args(annotation)
        self.kind: Any = None if origin in (Union, types.UnionType) else origin or annotation


def _plain(annotation: Any) -> tuple[Any, list[Any]]:
    """Take `| None` and `Annotated` off a type; return what is left and the limits found."""
    if get_origin(annotation) is Annotated:
        inner, limits = _plain(get_args(annotation)[0])
        return inner, [*limits, *get_args(annotation)[1:]]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return _plain(members[0])
    return annotation, []


def is_unset(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in ("", "none", "null", "false")
    return value is None or value is False or value is UNSET


def is_true(value: Any) -> bool:
    """Tell a word or value for true from a number, 1 included."""
    return value is True or (isinstance(value, str) and value.strip().lower() in _TRUE[:-1])


def read_value(name: str, value: Any) -> Any:
    """Read what was written for the setting `name`; UNSET where it means "not set".

    Raises:
        ValueError: The value cannot be read at all; whether it is allowed, the schema says later.
    """
    if name in _SPECIAL:
        return _SPECIAL[name](value)
    setting = SettingType(name)
    if setting.kind is bool:
        return read_flag(value)
    if setting.kind is Literal:
        value = _read_choice(value, setting.members)
        return UNSET if is_unset(value) and value not in setting.members else value
    if is_unset(value):
        return UNSET
    if setting.kind is Column:
        return _read_column(value)
    if setting.kind in (int, float):
        return read_number(value)
    if setting.kind is str:
        return _read_text(value)
    if setting.kind is dict:
        return {str(key): _read_text(item) for key, item in read_mapping(value).items()}
    assert setting.kind is tuple, name
    read = read_number if _plain(setting.members[0])[0] is int else _read_text
    return tuple(read(item) for item in read_list(value))


def read_flag(value: Any) -> Any:
    if isinstance(value, str):
        word = value.strip().lower()
        value = True if word in _TRUE else False if word in _FALSE else value
    if value is None or (isinstance(value, str) and is_unset(value)):
        return UNSET
    return value


def read_number(value: Any) -> Any:
    """Read `20_000`, `1e-5` or `2e4`; anything else is left for the schema to refuse."""
    if isinstance(value, str) and len(value) < _MOST_DIGITS and _NUMBER.fullmatch(value.strip()):
        text = value.strip().replace("_", "")
        value = int(text) if re.fullmatch(r"[-+]?[0-9]+", text) else float(text)
    return value


def guess_value(value: Any) -> Any:
    """Read a value whose type no schema knows, as YAML would: an option of a model, a choice."""
    if isinstance(value, dict):
        return {str(key): guess_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [guess_value(item) for item in value]
    if isinstance(value, Quoted):
        return str(value)
    if not isinstance(value, str):
        return value
    if value[:1] in ("[", "{"):
        return _guess_nested(value)
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value in ("", "None", "null"):
        return None
    if len(value) < _MOST_DIGITS and _INTEGER.fullmatch(value):
        return int(value.replace("_", ""))
    is_float = _NUMBER.fullmatch(value) and re.search(r"[.eE]", value)
    return float(value.replace("_", "")) if is_float else value


def _guess_nested(text: str) -> Any:
    try:
        value = parse_text(text)
    except ValueError:
        return text
    return guess_value(value)


def parse_text(text: str) -> Any:
    """Read a list or dictionary written as Python, JSON or YAML text."""
    for parse in (ast.literal_eval, json.loads):
        try:
            return keep_texts(parse(text))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    try:
        return parse_yaml(text, "text")
    except ConfigError:
        raise ValueError("a list such as [a, b] or a dictionary such as {a: b}") from None


def keep_texts(value: Any) -> Any:
    """Mark the texts in a Python value as quoted: they are meant as they are."""
    if isinstance(value, dict):
        return {key: keep_texts(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [keep_texts(item) for item in value]
    return Quoted(value) if isinstance(value, str) else value


def read_mapping(value: Any) -> dict[Any, Any]:
    if isinstance(value, str):
        value = parse_text(value)
    if not isinstance(value, dict):
        raise ValueError("a dictionary such as {a: b}")
    return value


def read_list(value: Any) -> list[Any]:
    """Read a YAML list, `[a, b]` in text, or `a,b`; a single value is a list of one."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "("):
        value = parse_text(value.strip())
    elif isinstance(value, str):
        value = [item.strip() for item in value.split(",")]
    return list(value) if isinstance(value, list | tuple | set) else [value]


def _read_text(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _read_words(value: Any) -> Any:
    """Read a list of words; YAML's null is one of them."""
    words = [_read_text("null" if item is None else item) for item in read_list(value)]
    return UNSET if is_unset(value) else tuple(words)


def _read_column(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+", value.strip()):
        return int(value)
    return str(value) if isinstance(value, str) else value


def _read_columns(value: Any) -> Any:
    """Read one column, or several; a comma in a quoted text is part of the column's name."""
    if is_unset(value):
        return UNSET
    is_list = isinstance(value, str) and value.strip()[:1] in ("[", "(")
    if isinstance(value, Quoted) and not is_list:
        return _read_column(value)
    columns = tuple(_read_column(item) for item in read_list(value))
    return columns[0] if len(columns) == 1 else columns


def _read_choice(value: Any, choices: tuple[Any, ...]) -> Any:
    value = _without_quotes(value) if isinstance(value, str) else value
    for choice in choices:
        if str(value).strip() == str(choice):
            return choice
    same = [choice for choice in choices if str(value).strip().lower() == str(choice).lower()]
    return same[0] if same and not is_unset(value) else value


def _read_separator(value: Any) -> Any:
    if not isinstance(value, str):
        return UNSET if is_unset(value) else value
    text = _without_quotes(value)
    return UNSET if is_unset(text) and not text.isspace() else text.replace("\\t", "\t")


def _without_quotes(text: str) -> str:
    """A text without the quotes that a shell or another pair of quotes has kept around it."""
    quoted = re.fullmatch(r"\s*(['\"])(.+)\1\s*", text, re.DOTALL)
    return quoted[2] if quoted else str(text)


def _read_ratio(value: Any) -> Any:
    if is_unset(value):
        return UNSET
    if isinstance(value, str):
        value = value.strip().strip("[]()").replace("/", ",").split(",")
    if not isinstance(value, list | tuple) or len(value) not in (2, 3):
        raise ValueError("two or three shares such as 85,15 or 80,10,10")
    return tuple(read_number(item) for item in value)


def _read_groups(value: Any) -> Any:
    """Read one set of split names, or a list of sets, one per fold."""
    if is_unset(value):
        return UNSET
    items = read_list(value)
    nested = [isinstance(item, list | tuple) for item in items]
    if any(nested) and not all(nested):
        raise ValueError("a list of split names, or a list of such lists")
    groups = items if any(nested) else [items]
    return tuple(tuple(_read_text(item) for item in group) for group in groups)


def _read_resume(value: Any) -> Any:
    if is_true(value):
        return True
    if isinstance(value, str) and value.strip().lower() == "auto":
        return "auto"
    if is_unset(value) or (not isinstance(value, bool) and value in (0, "0")):
        return UNSET
    return read_number(value)


def _read_patience(value: Any) -> Any:
    """Read a number of epochs; true, as a flag without a value, leaves it to the model's recipe."""
    return UNSET if is_unset(value) or is_true(value) else read_number(value)


def _read_accelerator(value: Any) -> Any:
    """Read cpu or auto; gpu and cuda are no more than auto, which uses GPUs that are there."""
    word = str(value).strip().lower()
    return UNSET if is_unset(value) else "auto" if word in ("gpu", "cuda") else word


def _read_options(value: Any) -> Any:
    return UNSET if is_unset(value) else guess_value(read_mapping(value))


def _read_paths(value: Any) -> Any:
    """Read one path, or a list of them; a text with a comma or in quotes is one path."""
    if is_unset(value):
        return UNSET
    is_bare = isinstance(value, str) and not isinstance(value, Quoted)
    if is_bare and value.strip()[:1] in ("[", "("):
        value = parse_text(value.strip())
    if not isinstance(value, list | tuple):
        return _read_text(value)
    paths = tuple(_read_text(item) for item in value)
    return paths[0] if len(paths) == 1 else paths


def _read_replacements(value: Any) -> Any:
    """Read what replaces each token: a text, or a list of them."""
    if is_unset(value):
        return UNSET
    return {
        str(token): tuple(map(_read_text, new if isinstance(new, list | tuple) else [new]))
        for token, new in read_mapping(value).items()
    }


def _read_motifs(value: Any) -> Any:
    """Read motifs by name: a dictionary, a list of motifs that name themselves, or a file."""
    if is_unset(value):
        return UNSET
    is_file = isinstance(value, str) and re.fullmatch(r"[^{\[(,]*[./][^,]*", value.strip())
    motifs = _motif_file(Path(value.strip()).expanduser()) if is_file else value
    if not isinstance(motifs, dict):
        text = motifs.strip() if isinstance(motifs, str) else ""
        motifs = read_mapping(text) if text[:1] == "{" else _named_by_themselves(read_list(motifs))
    motifs = {str(name): str(motif).strip() for name, motif in motifs.items()}
    for name, motif in motifs.items():
        if not re.fullmatch(r"[A-Za-z]+", motif):
            raise ValueError(f"letters of the IUPAC code in motif '{name}', not '{motif[:40]}'")
    return motifs


def _named_by_themselves(motifs: list[Any]) -> dict[str, str]:
    return {str(motif): str(motif) for motif in motifs}


def _motif_file(path: Path) -> dict[str, str]:
    """Read a motif a line, after its name if it has one; # begins a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"a file of motifs that can be read ({error})") from None
    fields = [line.partition("#")[0].split() for line in lines]
    return {" ".join(words[:-1]) or words[-1]: words[-1] for words in fields if words}


_SPECIAL: dict[str, Callable[[Any], Any]] = {
    "data.path": _read_paths,
    "data.label_column": _read_columns,
    "data.column_separator": _read_separator,
    "data.token_separator": _read_separator,
    "data.specifier_separator": _read_separator,
    "data.missing_values": _read_words,
    "splits.ratio": _read_ratio,
    "splits.validation_splits": _read_groups,
    "splits.test_splits": _read_groups,
    "interpret.region_columns": _read_columns,
    "interpret.replacements": _read_replacements,
    "interpret.motifs": _read_motifs,
    "training.patience": _read_patience,
    "training.resume": _read_resume,
    "resources.accelerator": _read_accelerator,
    "model.options": _read_options,
    "tune.space": _read_options,
}
