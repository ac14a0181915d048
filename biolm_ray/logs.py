"""Where messages go: the terminal and a file in the run's folder."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biolm_ray.masking import masked

LOGGER = "biolm_ray"
RESULT = (logging.INFO + logging.WARNING) // 2
"""The level of results, which quiet runs say too: `log.log(RESULT, ...)`."""


class MaskedFormatter(logging.Formatter):
    """Formats messages without the passwords and keys in their addresses."""

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


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
