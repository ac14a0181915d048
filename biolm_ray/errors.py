"""The exceptions that tell a user what to mend, each with its exit code."""


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


def root_cause(error: BaseException) -> Exception:
    """Find the error behind the wrappers that Ray puts around it.

    A wrapper is made to be of the class of what it wraps, and keeps that as its `cause`.
    """
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
    assert isinstance(found, Exception)
    return found


def _most_telling(failures: list[BaseException]) -> BaseException:
    """Choose what a user can mend before what the other workers say of the lost connection."""
    causes = [root_cause(failure) for failure in failures]
    return next((cause for cause in causes if isinstance(cause, BiolmError)), causes[0])
