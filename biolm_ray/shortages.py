"""What a machine has run out of: disk, memory, open files, processes; and what to do about it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from biolm_ray.errors import BiolmError, ResourceError


@dataclass(frozen=True)
class Shortage:
    """A thing that can run out, and how that shows.

    Attributes:
        problem: What to say of it, behind the place that is being worked on.
        remedy: What to do, as a sentence.
        numbers: Of the system's errors.
        words: Of libraries, which hide the system's error behind theirs, or tell it in words only.
        kinds: Classes of errors that mean nothing else.
    """

    problem: str
    remedy: str
    numbers: tuple[int, ...]
    words: tuple[str, ...] = ()
    kinds: tuple[type[Exception], ...] = ()

    def shows_in(self, error: BaseException) -> bool:
        """Whether an error, for itself, tells of it."""
        if isinstance(error, self.kinds):
            return True
        if isinstance(error, OSError) and error.errno in self.numbers:
            return True
        numbered = [f"{before}{n}{after}" for n in self.numbers for before, after in WRITTEN]
        text = str(error).lower()
        return any(words in text for words in (*self.words, *numbered))


WRITTEN = (("os error ", ")"), ("[errno ", "]"))
"""How libraries write the number of an error."""

DISK = Shortage(
    "cannot be written: no space is left",
    "Make room and run the same command again (with --resume, if it trains)",
    (errno.ENOSPC, errno.EDQUOT),
)
FILE_SIZE = Shortage(
    "cannot be written: the file would be larger than is allowed here",
    "Raise the limit (ulimit -f unlimited), or write to a file system that takes larger files, and "
    "run the same command again (with --resume, if it trains)",
    (errno.EFBIG,),
)
MEMORY = Shortage(
    "cannot be finished: no memory is left",
    "End other programs, train fewer models at a time (resources.parallel_folds: 1), or choose a "
    "smaller batchsize or blocksize; where a limit is set (ulimit -v, a job's memory), raise it",
    (errno.ENOMEM,),
    (
        "can't allocate memory",
        "cannot allocate memory",
        "std::bad_alloc",
        "failed to map segment from shared object",  # a library that does not fit any more
    ),
    (MemoryError,),
)
OPEN_FILES = Shortage(
    "cannot be finished: too many files are open",
    "Raise the limit (ulimit -n 65536) and run the same command again",
    (errno.EMFILE, errno.ENFILE),
    ("too many open files",),
)
PROCESSES = Shortage(
    "cannot be finished: no further process or thread can be started",
    "End other programs, or raise the limit (ulimit -u)",
    (),
    ("can't start new thread", "resource temporarily unavailable"),
)
SHORTAGES = (DISK, FILE_SIZE, MEMORY, OPEN_FILES, PROCESSES)


@contextmanager
def shortage_as_error(place: Path | str) -> Iterator[None]:
    """Turn whatever a machine that has run out of something makes of the block into a sentence.

    Args:
        place: What is being written, or in which folder a run works.

    Raises:
        ResourceError: Disk, memory, open files or processes have run out.
    """
    try:
        yield
    except BiolmError:
        raise
    except Exception as error:
        for shortage in SHORTAGES:
            cause = error_of(shortage, error)
            if cause is not None:
                said = " ".join(str(cause).split())[:200] or type(cause).__name__
                raise ResourceError(
                    f"{place} {shortage.problem} ({said}); what was written before is kept. "
                    f"{shortage.remedy}"
                ) from error
        raise


def error_of(shortage: Shortage, error: BaseException | None) -> BaseException | None:
    """Find what tells of a shortage in an error and what led to it, or None."""
    while error is not None:
        if shortage.shows_in(error):
            return error
        error = error.__cause__ or error.__context__
    return None
