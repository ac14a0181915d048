"""Remedies as they are written where the settings stand: in a file, or on the command line."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from biolm_ray.config.names import all_names
from biolm_ray.logs import LOGGER

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


@contextmanager
def flags_in_messages() -> Iterator[None]:
    """Write remedies as flags in what is logged too, as of a run without a file."""
    logger = logging.getLogger(LOGGER)
    logger.addFilter(_with_flags)
    try:
        yield
    finally:
        logger.removeFilter(_with_flags)


def _with_flags(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.WARNING:
        record.msg, record.args = as_flags(record.getMessage()), ()
    return True
