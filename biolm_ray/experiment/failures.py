"""Which failures a training outlives, and how those it does not are told: pure functions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ray.exceptions import (
    OutOfMemoryError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    TaskCancelledError,
    TaskUnschedulableError,
)

from biolm_ray.errors import (
    BiolmError,
    ResourceError,
    TrainingError,
    UnexpectedError,
    attach,
    is_unexpected,
    root_cause,
    sentence,
)
from biolm_ray.wording import counted

CAUSE_LETTERS = 500
LASTING = (RayTaskError, TaskCancelledError, RuntimeEnvSetupError, TaskUnschedulableError)


@dataclass(frozen=True)
class Outcome:
    """What became of one job: its metrics, or the error that ended it."""

    job: Any
    metrics: dict[str, float] | None = None
    error: BaseException | None = None


def is_loss(error: Exception) -> bool:
    """Tell whether a model lost a process or a node, so that it may be taken up again.

    When one of several workers dies, the others may be the ones that complain, of a connection;
    so their RuntimeError and OSError count as a loss. What a single worker raises never does.
    """
    from ray.train import TrainingFailedError

    cause = root_cause(error)
    if isinstance(cause, (BiolmError, *LASTING)):
        return False
    if isinstance(cause, RayError):
        return True
    of_group = isinstance(error, RayTaskError) and isinstance(error.cause, TrainingFailedError)
    return of_group and (isinstance(cause, RuntimeError | OSError) or _of_ray_train(cause))


def _of_ray_train(cause: BaseException) -> bool:
    """Tell the errors of Ray Train itself, whose base class is no part of its API."""
    return type(cause).__module__.startswith("ray.train.")


def final_error(error: Exception, num_losses: int, last_words: str = "") -> BaseException:
    """Give the error to tell when a model is not taken up again.

    Args:
        error: As Ray raises it.
        num_losses: How often a worker was lost.
        last_words: What the last one had printed, if that is known.
    """
    cause = root_cause(error)
    if not is_loss(error):
        return cause
    final = _loss(cause, "once" if num_losses == 1 else f"{num_losses} times")
    if last_words:
        final.args = (f"{final} (what it printed last is in run.log)",)
        attach(final, remote_traceback=last_words)
    return final


def _loss(cause: BaseException, times: str) -> BiolmError:
    if isinstance(cause, OutOfMemoryError):
        return ResourceError(
            f"its worker was ended {times} because its node ran out of memory; train fewer models "
            f"at a time (resources.parallel_folds) or use a smaller batch: {_short(cause)}"
        )
    return TrainingError(
        f"its worker was lost {times}; --resume goes on where it was, and resources.max_failures "
        f"allows more losses: {_short(cause)}"
    )


def _short(cause: BaseException) -> str:
    return " ".join(str(cause).split())[:CAUSE_LETTERS] or type(cause).__name__


def describe_failure(name: str, error: BaseException, told: dict[str, str]) -> str:
    """Say that a model has failed; a cause that was told before is not told again.

    Args:
        name: Of the model.
        error: What has ended it.
        told: The first model that each cause has ended, by the cause; is added to.
    """
    cause = sentence(error)
    first = told.setdefault(cause, name)
    if first != name:
        return f"{name} failed, for the same reason as {first}"
    return f"{name} failed: {cause}" + (" (details in run.log)" if is_unexpected(error) else "")


def raise_failures(outcomes: list[Outcome]) -> None:
    """Name the jobs that failed, each with its cause.

    Raises:
        BiolmError: The shared class of all causes where users can mend them, UnexpectedError where
            they can mend none, else TrainingError.
    """
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if not failed:
        return
    errors = [outcome.error for outcome in failed if outcome.error is not None]
    classes = {UnexpectedError if is_unexpected(error) else type(error) for error in errors}
    shared = classes.pop() if len(classes) == 1 else TrainingError
    kind = shared if issubclass(shared, BiolmError) else TrainingError
    if len(outcomes) == 1:
        raise kind(_by_cause(failed)[0]) from errors[0]
    finished = len(outcomes) - len(failed)
    raise kind(
        f"{len(failed)} of {counted(len(outcomes), 'model')} failed; {finished} finished and kept "
        "(--resume trains only the missing ones)\n  " + "\n  ".join(_by_cause(failed))
    ) from errors[0]


def _by_cause(failed: Iterable[Outcome]) -> list[str]:
    """One line per cause, with all the jobs that it ended."""
    names: dict[str, list[str]] = {}
    for outcome in failed:
        assert outcome.error is not None
        cause = sentence(outcome.error)[-CAUSE_LETTERS:] or type(outcome.error).__name__
        names.setdefault(cause, []).append(outcome.job.name)
    return [f"{', '.join(jobs)}: {cause}" for cause, jobs in names.items()]
