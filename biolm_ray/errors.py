"""The exceptions that tell a user what to mend, each with its exit code."""

import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SENTENCE_LETTERS = 500
DETAILS_LETTERS = 40_000
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class BiolmError(Exception):
    """Something the user can mend; the message says what, where, and what would be right."""

    exit_code = 1


class ConfigError(BiolmError):
    """A setting is unknown, of the wrong type, or contradicts another."""

    exit_code = 2


class DataError(BiolmError):
    """A file or a row of it cannot be used as it is."""

    exit_code = 3


class ResourceError(BiolmError):
    """The machine or the cluster cannot give what was asked for."""

    exit_code = 4


class TrainingError(BiolmError):
    """Training failed; finished folds are kept."""

    exit_code = 5


class UnexpectedError(BiolmError):
    """A defect of the program or of a plugin, which nobody has foreseen."""


@contextmanager
def without_exits() -> Iterator[None]:
    """Make an error of `sys.exit` and its like, which would end the worker without a word."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise RuntimeError(f"sys.exit({error.code!r}) was called in a worker") from error
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__}: {error} was raised in a worker") from error


def is_unexpected(error: BaseException) -> bool:
    """Whether an error is a defect, rather than something to be mended by the user."""
    return isinstance(error, UnexpectedError) or not isinstance(error, BiolmError)


def attach(error: BaseException, **facts: Any) -> None:
    """Keep facts with an error on its way up; they are pickled with it."""
    error.__dict__.update(facts)


def sentence(error: BaseException) -> str:
    """Say what is wrong; an error that nobody has foreseen is named by its class too."""
    text = str(error).strip()
    if isinstance(error, BiolmError):
        return text
    text = " ".join(_COLOURS.sub("", text).split())
    if len(text) > SENTENCE_LETTERS:
        text = f"{text[:SENTENCE_LETTERS]} ..."
    return f"unexpected {type(error).__name__}: {text}".removesuffix(": ")


def details(error: BaseException) -> str:
    """The traceback of an error and of those behind it, in workers too; the end of a long one."""
    parts = ["".join(traceback.format_exception(type(error), error, error.__traceback__))]
    for each in _chain(error):
        remote = getattr(each, "remote_traceback", None)
        if remote and remote not in parts[0]:
            parts.append(f"in the worker: {remote}")
    text = _COLOURS.sub("", "\n".join(dict.fromkeys(parts))).rstrip()
    left_out = len(text) - DETAILS_LETTERS
    return f"[{left_out} characters left out]\n{text[left_out:]}" if left_out > 0 else text


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it."""
    passed: set[int] = set()
    while error is not None and id(error) not in passed:
        passed.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def unwrapped(error: BaseException) -> BaseException:
    """The cause of an error that Ray has wrapped; any other one as it is."""
    return root_cause(error) if getattr(error, "cause", None) is not None else error


def root_cause(error: BaseException) -> BaseException:
    """Find the error behind the wrappers that Ray puts around it.

    A wrapper is made to be of the class of what it wraps, and keeps that as its `cause`. What it
    knows of where the error was raised is attached to it as `remote_traceback`.
    """
    found = _innermost(error)
    if found is not error and "remote_traceback" not in found.__dict__:
        attach(found, remote_traceback=str(error)[-DETAILS_LETTERS:])
    return found


def _innermost(error: BaseException) -> BaseException:
    seen: BaseException | None = error
    found: BaseException = error
    while seen is not None:
        found = seen
        wrapped = getattr(seen, "cause", None)
        if isinstance(seen, BiolmError) and wrapped is None:
            break
        failures = getattr(seen, "worker_failures", None)
        if failures:
            seen = _most_telling(list(failures.values()))
        else:
            seen = wrapped or getattr(seen, "controller_failure", None) or seen.__cause__
    return found


def _most_telling(failures: list[BaseException]) -> BaseException:
    """Choose what a user can mend before what the other workers say of the lost connection."""
    causes = [_innermost(failure) for failure in failures]
    return next((cause for cause in causes if isinstance(cause, BiolmError)), causes[0])


def in_short(error: BaseException) -> str:
    """What a library or the system says, in one line that can be shown and written anywhere."""
    number = getattr(error, "errno", None)
    said = os.strerror(number) if isinstance(number, int) else str(error)
    said = said.partition("Exception raised from")[0]  # torch adds where in its own source
    line = " ".join(said.split())[:200] or type(error).__name__
    return line.encode("ascii", "backslashreplace").decode()
