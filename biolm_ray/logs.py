"""Where messages go: the terminal and a file in the run's folder."""

import logging
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biolm_ray.masking import masked

LOGGER = "biolm_ray"
RESULT = (logging.INFO + logging.WARNING) // 2
"""The level of results, which quiet runs say too: `log.log(RESULT, ...)`."""
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Categories of characters that steer a terminal, end a line or turn the direction of a text."""


def has_control_characters(text: str) -> bool:
    """Whether a text holds a character that is not seen but does something: tabs are among them."""
    if text.isprintable():
        return False
    return any(unicodedata.category(character) in _UNSAFE for character in text)


def escaped(text: str, kept: str = "") -> str:
    """A text whose control characters are written as Python does, such as \\x1b; but those kept."""
    if not has_control_characters(text):
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if character not in kept and unicodedata.category(character) in _UNSAFE
        else character
        for character in text
    )


class MaskedFormatter(logging.Formatter):
    """Formats messages without the passwords and keys in their addresses.

    Of control characters only line ends are left as they are.
    """

    def format(self, record: logging.LogRecord) -> str:
        return escaped(masked(super().format(record)), kept="\n")


@contextmanager
def logged(folder: Path, *, quiet: bool) -> Iterator[logging.Logger]:
    """Write the run's messages to `folder/run.log` and to the terminal.

    A quiet run prints results and warnings only.
    """
    logging.addLevelName(RESULT, "RESULT")
    folder.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger(LOGGER)
    path = folder / "run.log"
    if path.is_symlink():  # in a folder that one was sent it could lead to any file
        path.unlink()
    to_file = logging.FileHandler(path, encoding="utf-8")
    to_file.setFormatter(MaskedFormatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = logging.StreamHandler()
    to_terminal.setFormatter(MaskedFormatter())
    to_terminal.setLevel(RESULT if quiet else logging.INFO)
    handlers: list[logging.Handler] = [to_file, to_terminal]
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield logger
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
