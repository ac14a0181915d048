"""What a failed start of Ray means, and what to do about it."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from biolm_ray.errors import ResourceError
from biolm_ray.experiment.addresses import ANYWHERE, Address
from biolm_ray.shortages import DISK, error_of

MOST_SHOWN = 200
"""Characters of what Ray says that are shown where it is nothing that is known here."""
LEAST_FREE_BYTES = 16 << 20
"""In the temporary folder; with less, Ray's processes cannot write their logs."""
ENOUGH_BYTES = 16 << 30
"""Of addresses, for Ray and torch: they reserve far more than they use."""
_TOKEN = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's own"
_PROCESSES = "raise the limit (ulimit -u), or end other programs of yours"


def describe_memory_limit(most_bytes: int) -> str | None:
    """Warn of a limit on a process's memory under which Ray may end it without a sentence.

    Args:
        most_bytes: The limit (`RLIMIT_AS`); below 0 there is none.
    """
    if most_bytes < 0 or most_bytes >= ENOUGH_BYTES:
        return None
    return (
        f"this process may reserve {most_bytes / (1 << 30):.1f} GB of memory (ulimit -v), and Ray "
        f"and torch may end without a word where they get less than {ENOUGH_BYTES >> 30} GB; if "
        "they do, raise the limit (ulimit -v unlimited)"
    )


@dataclass(frozen=True)
class Known:
    """A failure that is known by its words.

    Attributes:
        words: Of Ray or of the system, in small letters.
        problem: What they mean; fields are filled in with `_fields`.
        remedy: What to do.
        is_passing: Whether it may be over at the next try.
    """

    words: str
    problem: str
    remedy: str
    is_passing: bool = False


JOINING = (
    Known(
        "could not find any running ray instance",
        "no Ray cluster runs on this machine ({name})",
        "start one with 'ray start --head', or {alone}",
    ),
    Known(
        "version mismatch",
        "the cluster at {name} has another version of Ray or Python: {versions}",
        "install the same versions here, or submit the run as a job (ray job submit)",
    ),
    Known(
        "no authentication token was found",
        "a token is asked for (RAY_AUTH_MODE=token), and none is set here",
        _TOKEN,
    ),
    Known("invalidauthtoken", "the cluster at {name} asks for a token, or for another one", _TOKEN),
    Known(
        "method not found",
        "what listens at {name} is of Ray, but not its head",
        "give the port that the head was started with (--port, else 6379), or {alone}",
    ),
    Known(
        "no node info found matching",
        "this machine is no part of the cluster at {name}, and a run needs to be on one that is",
        "start it there, submit it as a job (ray job submit), or {alone}",
    ),
    Known(
        "failed to connect to gcs",
        "the head at {name} answers, but not in time",
        "see whether it runs and is not overloaded, or {alone}",
    ),
)
STARTING = (
    Known(
        "af_unix path length",
        "the path of the temporary folder, {temporary}, is too long for the sockets of Ray",
        "set RAY_TMPDIR to a folder with a short path, such as /tmp",
    ),
    Known(
        "can't start new thread",
        "no more processes or threads may be started here",
        _PROCESSES,
    ),
    Known(
        "node timed out during startup",
        "the machine is too busy or too short of memory to start Ray in time",
        "try again when less is running",
        is_passing=True,
    ),
    Known(
        "timed out waiting for file",
        "its processes do not come up; the machine is too busy, or the limit of processes too low",
        "try again when less is running, or " + _PROCESSES,
        is_passing=True,
    ),
    Known(
        "failed to start gcs",
        "the machine is too busy or too short of memory to start Ray in time",
        "try again when less is running; Ray's own messages lie below {temporary}/ray",
        is_passing=True,
    ),
)
"""In the order in which they are looked for."""
BY_NUMBER = {
    errno.EAGAIN: ("no more processes or threads may be started here", _PROCESSES),
    errno.ENOMEM: ("no memory is left", "end other programs, or take a larger machine"),
    errno.EMFILE: ("too many files are open", "raise the limit: ulimit -n 65536"),
    errno.ENFILE: ("too many files are open on this machine", "end other programs"),
}
_ANOTHER_FOLDER = "set RAY_TMPDIR to a folder with a short path that you may write to"


def explain_start(error: BaseException, address: Address) -> tuple[ResourceError, bool]:
    """Say in a sentence why Ray could not start or be joined, and whether to try once more."""
    chain = list(_chain(error))
    text = " ".join(str(item) for item in chain)
    fields = _fields(address, text)
    known = next((case for case in (*JOINING, *STARTING) if case.words in text.lower()), None)
    # Ray's processes end without a word to this one where they cannot write their logs.
    is_full = known is not None and known.is_passing and _free_bytes(fields) < LEAST_FREE_BYTES
    if known is not None and not is_full:
        return _sentence(known.problem, known.remedy, fields, address), known.is_passing
    if is_full or error_of(DISK, error) is not None:
        problem = "no space is left in the temporary folder {temporary}"
        return _sentence(problem, "make room there, or " + _ANOTHER_FOLDER, fields, address), False
    system = next((item for item in chain if isinstance(item, OSError) and item.errno), None)
    if system is not None and system.errno in BY_NUMBER:
        return _sentence(*BY_NUMBER[system.errno], fields, address), False
    if system is not None and system.filename:
        place = os.fsdecode(system.filename)
        problem = f"{place} cannot be used ({os.strerror(system.errno or 0)})"
        return _sentence(_plain(problem), _ANOTHER_FOLDER, fields, address), False
    said = " ".join(str(error).split())[:MOST_SHOWN] or type(error).__name__
    remedy = "see whether the head runs there" if not address.is_local else "try again"
    return _sentence(_plain(f"Ray says: {said}"), remedy, fields, address), False


def _sentence(
    problem: str, remedy: str, fields: Mapping[str, str], address: Address
) -> ResourceError:
    what = "Ray cannot start" if address.is_local else "the Ray cluster cannot be joined"
    return ResourceError(f"{what}: {problem.format_map(fields)}; {remedy.format_map(fields)}")


def _plain(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _fields(address: Address, text: str) -> dict[str, str]:
    name = f"{address.origin}: {ANYWHERE}" if address.text == ANYWHERE else address.name
    temporary = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    return {
        "name": name,
        "alone": address.remedy,
        "temporary": temporary,
        "versions": _versions(text),
    }


def _free_bytes(fields: Mapping[str, str]) -> int:
    try:
        return shutil.disk_usage(fields["temporary"]).free
    except OSError:
        return LEAST_FREE_BYTES


def _versions(text: str) -> str:
    """Both versions in a line, of a text that has them in lines of their own."""
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line.startswith(("Ray: ", "Python: "))]
    there, here = (" and ".join(found[start : start + 2]) for start in (0, 2))
    return f"{there} there, {here} here"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
