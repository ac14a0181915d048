"""Remedies as they are written where the settings stand: in a file, or on the command line."""

import re

from biolm_ray.config.names import all_names

_NAMES = "|".join(re.escape(name) for name in all_names() if "." in name)
_VALUE = r"(?P<value>'[^']*'|\[[^\]]*\]|[^\s,;:()]+)"
_REMEDY = re.compile(rf"(?P<before>(?<!-)\b(?:set|with|and|or) |\()(?P<name>{_NAMES}): {_VALUE}")
"""A setting with its value that a sentence advises; not the place of one that it complains of."""


def as_flags(text: str) -> str:
    """Write the settings that a message advises as flags, for who has given no file.

    Messages name settings as a file does: "set data.skip_lines: 1" becomes
    "give --set data.skip_lines=1".
    """
    return _REMEDY.sub(_as_flag, text)


def _as_flag(found: re.Match[str]) -> str:
    before = found["before"].replace("set ", "give ")
    value = found["value"]
    if value.startswith("'"):
        value = value[1:-1]
    return f"{before}--set {found['name']}={_quoted(value)}"


def _quoted(value: str) -> str:
    """Quote a value for the shell where it needs to be."""
    if re.fullmatch(r"[\w.%+,:@/-]+", value):
        return value
    return f'"{value}"' if "'" in value else f"'{value}'"
