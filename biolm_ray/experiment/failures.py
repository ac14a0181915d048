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

from biolm_ray.errors import BiolmError, ResourceError, TrainingError, root_cause

CAUSE_LETTERS = 500
LASTING = (RayTaskError, TaskCancelledError, RuntimeEnvSetupError, TaskUnschedulableError)


@dataclass(frozen=True)
class Outcome:
    """What became of one job: its metrics, or the error that ended it."""

    job: Any
    metrics: dict[str, float] | None = None
    error: Exception | None = None


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


def _of_ray_train(cause: Exception) -> bool:
    """Tell the errors of Ray Train itself, whose base class is no part of its API."""
    return type(cause).__module__.startswith("ray.train.")


def final_error(error: Exception, num_losses: int) -> Exception:
    """Give the error to tell when a model is not taken up again."""
    cause = root_cause(error)
    if not is_loss(error):
        return cause
    times = "once" if num_losses == 1 else f"{num_losses} times"
    if isinstance(cause, OutOfMemoryError):
        return ResourceError(
            f"its worker was ended {times} because its node ran out of memory; train fewer models "
            f"at a time (resources.parallel_folds) or use a smaller batch: {_short(cause)}"
        )
    return TrainingError(
        f"its worker was lost {times}; --resume goes on where it was, and resources.max_failures "
        f"allows more losses: {_short(cause)}"
    )


def _short(cause: Exception) -> str:
    return " ".join(str(cause).split())[:CAUSE_LETTERS] or type(cause).__name__


def raise_failures(outcomes: list[Outcome]) -> None:
    """Name the jobs that failed, each with its cause.

    Raises:
        BiolmError: The shared class of all causes where users can mend them, else TrainingError.
    """
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if not failed:
        return
    classes = {type(outcome.error) for outcome in failed}
    shared = classes.pop() if len(classes) == 1 else TrainingError
    kind = shared if issubclass(shared, BiolmError) else TrainingError
    finished = len(outcomes) - len(failed)
    raise kind(
        f"{len(failed)} of {len(outcomes)} models failed; {finished} finished and kept "
        "(--resume trains only the missing ones)\n  " + "\n  ".join(_by_cause(failed))
    )


def _by_cause(failed: Iterable[Outcome]) -> list[str]:
    """One line per cause, with all the jobs that it ended."""
    names: dict[str, list[str]] = {}
    for outcome in failed:
        cause = str(outcome.error).strip()[-CAUSE_LETTERS:] or type(outcome.error).__name__
        names.setdefault(cause, []).append(outcome.job.name)
    return [f"{', '.join(jobs)}: {cause}" for cause, jobs in names.items()]
