"""Where messages go: the terminal and a file in the run's folder."""

import copy
import logging
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from biolm_ray.errors import ResourceError, attach, details, sentence, unwrapped
from biolm_ray.files import kind_of, make_folder
from biolm_ray.masking import masked
from biolm_ray.signals import name_of

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

    def formatException(self, ei: Any) -> str:
        return details(ei[1])


class WithoutTraceback(MaskedFormatter):
    """Formats for the terminal: the traceback of an error is for the file."""

    def format(self, record: logging.LogRecord) -> str:
        bare = copy.copy(record)
        bare.exc_info = bare.exc_text = None
        return super().format(bare)


class _ToFile(logging.FileHandler):
    """A message that cannot be written (a full disk) is no reason to print a traceback.

    Nor is it one to end a run, or to hide what ends it: closing the file writes what is left.
    """

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class _ToTerminal(logging.StreamHandler):
    """The same for a terminal that is gone."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextmanager
def logged(folder: Path, *, quiet: bool) -> Iterator[logging.Logger]:
    """Write the run's messages to `folder/run.log` and to the terminal.

    A quiet run prints results and warnings only. An error that ends the block goes to the file
    with its traceback, and is raised on with the path of the file attached as `run_log`.

    Raises:
        ResourceError: The file cannot be written.
    """
    logging.addLevelName(RESULT, "RESULT")
    logger = logging.getLogger(LOGGER)
    path = folder / "run.log"
    to_file = _opened(path)
    to_terminal = _ToTerminal()
    to_terminal.setFormatter(WithoutTraceback())
    to_terminal.setLevel(RESULT if quiet else logging.INFO)
    handlers: list[logging.Handler] = [to_file, to_terminal]
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield logger
    except BaseException as error:
        to_file.handle(_last_words(error))
        attach(error, run_log=path)
        raise
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def _opened(path: Path) -> _ToFile:
    """Open the file of messages, to be added to.

    Raises:
        ResourceError: It cannot be written, or is none: a pipe would be waited for.
    """
    try:
        make_folder(path.parent)
        if path.is_symlink():  # in a folder that one was sent it could lead to any file
            path.unlink()
        if path.exists() and not path.is_file():
            raise ResourceError(
                f"{path} is {kind_of(path)}, not the file for the messages of the run; move it away"
            )
        to_file = _ToFile(path, encoding="utf-8")
    except OSError as error:
        raise ResourceError(
            f"{path} cannot be written: {error.strerror or error}; the messages of the run go "
            "there: make that possible, or choose another outputpath"
        ) from error
    to_file.setFormatter(MaskedFormatter("%(asctime)s %(levelname)s %(message)s"))
    return to_file


def say(text: str) -> None:
    """Print to the terminal what ends a command, if the terminal is still there."""
    with suppress(OSError, ValueError):
        print(escaped(masked(text), kept="\n"), file=sys.stderr, flush=True)


def _last_words(error: BaseException) -> logging.LogRecord:
    """What the file says of the error that has ended a run."""
    if isinstance(error, KeyboardInterrupt):
        text, traceback = f"stopped by {name_of(error)}", None
        return logging.LogRecord(LOGGER, logging.WARNING, "", 0, text, None, traceback)
    traceback = (type(error), error, error.__traceback__)
    text = sentence(unwrapped(error))
    return logging.LogRecord(LOGGER, logging.ERROR, "", 0, text, None, traceback)
