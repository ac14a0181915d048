"""Run a command as a user does, and say how it has ended."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

LIMIT_SECONDS = 300
ORPHAN_SECONDS = 15
MARK = "BIOLM_RAY_TRIAL"
"""In the environment of a command and all that it starts, so that what it leaves is found."""

SENTENCE, FINISHED, STOPPED = "sentence", "finished", "stopped"
HANG, TRACEBACK, BARE, ORPHANS, CHANGED = "hang", "traceback", "bare", "orphans", "changed"
GOOD = (SENTENCE, FINISHED, STOPPED)
ENDINGS = {
    SENTENCE: "ended in a sentence",
    FINISHED: "did what was asked for",
    STOPPED: "stopped by a signal, with a sentence",
    HANG: "hung",
    TRACEBACK: "traceback, or text of a library",
    BARE: "failed without a sentence",
    ORPHANS: "left processes behind",
    CHANGED: "gave other results without a word",
}
SENTENCE_CODES = (2, 3, 4, 5)
STOPPED_CODES = (129, 130, 143)
NOBODY_READS = 141
"""The exit code of a program whose reader has gone; it has nobody to tell."""
NEVER_SHOWN = re.compile(
    r"Traceback \(most recent call last\)|^\s*File \".*\", line \d+|\*\*\* SIG|ray::|object at 0x"
    r"|weights_only|unexpected \w+Error|core dumped|Fatal Python error|StackTrace",
    re.MULTILINE,
)
QUIET = {
    "PYTHONUNBUFFERED": "1",
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
}


@dataclass(frozen=True)
class Ended:
    """How a command has ended.

    Attributes:
        code: Its exit code, negative for a signal; None where it took too long and was killed.
        output: What it printed.
        num_orphans: Processes that it has left.
    """

    code: int | None
    output: str
    num_orphans: int = 0


class Running:
    """A command that runs in a folder, with all it starts in a session of its own."""

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        environment: Mapping[str, str | None] | None = None,
        shell: str | None = None,
    ) -> None:
        """Start it.

        Args:
            folder: Its working directory.
            arguments: Those of `python -m biolm_ray`.
            environment: Changes of variables; None takes one away.
            shell: A line for bash, in which "$@" is the command; None runs it plainly.
        """
        self._mark = uuid.uuid4().hex
        self._log = folder / f"{self._mark}.log"
        self._begun = time.monotonic()
        changed = {**os.environ, **QUIET, MARK: self._mark, **(environment or {})}
        command = [sys.executable, "-m", "biolm_ray", *arguments]
        if shell is not None:
            command = ["bash", "-c", shell, "bash", *command]
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={name: value for name, value in changed.items() if value is not None},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def has_said(self, text: str) -> bool:
        """Wait until it has printed a text; False if it has ended without."""
        while time.monotonic() - self._begun < LIMIT_SECONDS:
            ended = self.process.poll() is not None
            if text in self.output:
                return True
            if ended:
                return False
            time.sleep(0.05)
        return False

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def end(self) -> Ended:
        """Wait for its end; kill it, and what it has left, when that takes too long."""
        left = max(1.0, LIMIT_SECONDS - (time.monotonic() - self._begun))
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(left)
        orphans = self._orphans() if code is not None else self._descendants()
        for process in [
            *orphans,
            *([] if code is not None else [psutil.Process(self.process.pid)]),
        ]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        return Ended(code, self.output, 0 if code is None else len(orphans))

    def _orphans(self) -> list[psutil.Process]:
        """What is still there some seconds after the end."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while (found := self._descendants()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found

    def _descendants(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                is_its = process.environ().get(MARK) == self._mark
                if is_its and process.pid != self.process.pid:
                    found.append(process)
        return [each for each in found if each.status() != psutil.STATUS_ZOMBIE]


def ending(ended: Ended) -> str:
    """Say how a command has ended, by one of ENDINGS; a pure function of what was seen."""
    if ended.code is None:
        return HANG
    if NEVER_SHOWN.search(ended.output):
        return TRACEBACK
    if ended.num_orphans:
        return ORPHANS
    if ended.code == 0:
        return FINISHED
    said = [line for line in ended.output.splitlines() if line.strip()]
    if ended.code == NOBODY_READS or (ended.code in STOPPED_CODES and said):
        return STOPPED
    is_told = any(line.startswith("error: ") for line in said)
    return SENTENCE if is_told and ended.code in SENTENCE_CODES else BARE
