"""Who holds a lock: a process on a host, as written in the lock, and whether it still lives."""

import os
import secrets
import socket
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field, PositiveInt

from biolm_ray.records import RecordFile

STALE_SECONDS = 120.0
"""Without a sign of life for so long, a run on another host counts as ended."""
READERS = ("predict", "interpret")
"""Modes that work with the models of another experiment just as well."""
SECONDS_OF = {"s": 1, "min": 60, "h": 3600, "days": 86400}
ENDED = frozenset("ZX")
"""States of a process that has ended, though it is still listed (proc(5))."""

Text = Annotated[str, Field(max_length=300)]


class Holder(RecordFile):
    """A run that works in a folder.

    Attributes:
        token: Unlike that of any other holder.
        mode: What runs.
        host: The machine's name, for people.
        machine: Which start of which machine, and which of its process tables; empty if unknown.
        process: Its number.
        process_started: Of the process, to tell it from a later one of the same number; empty if
            unknown.
        started: When the run began, in UTC.
    """

    MOST_BYTES: ClassVar[int] = 1 << 16

    token: Text
    mode: Text
    host: Text
    machine: Text
    process: PositiveInt
    process_started: Text
    started: AwareDatetime

    @property
    def described(self) -> str:
        return f"process {self.process} on host {self.host}"


def this_process(mode: str) -> Holder:
    """Describe a run of this process that begins now."""
    return Holder(
        token=secrets.token_hex(16),
        mode=mode,
        host=socket.gethostname(),
        machine=this_machine(),
        process=os.getpid(),
        process_started=process_start(os.getpid()) or "",
        started=datetime.now(timezone.utc).replace(microsecond=0),
    )


def is_alive(holder: Holder) -> bool | None:
    """Tell whether a holder's process runs; None where that cannot be seen from here.

    A host's name alone says too little: containers may share it, and a machine that was started
    again has new processes under old numbers.
    """
    here = this_machine()
    if not here or holder.machine != here or not holder.process_started:
        return None
    try:
        os.kill(holder.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    started = process_start(holder.process)
    return None if started is None else started == holder.process_started


def this_machine() -> str:
    """Name this start of this machine and this table of processes; empty where that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return _answer("sysctl", "-n", "kern.bootsessionuuid")  # macOS


def process_start(process: int) -> str | None:
    """Say when a process has started, in whatever form; empty if it has ended, None if unknown."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _answer("ps", "-o", "lstart=", "-p", str(process)) or None
    # The name of the program, in parentheses, may hold anything.
    fields = status.rpartition(")")[2].split()
    return "" if fields[0] in ENDED else fields[19]


def _answer(*command: str) -> str:
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def readable_age(seconds: float) -> str:
    """Say a span of time in its largest whole unit, as 12 min."""
    unit = next((u for u in reversed(SECONDS_OF) if seconds >= 2 * SECONDS_OF[u]), "s")
    return f"{max(0, int(seconds // SECONDS_OF[unit]))} {unit}"


def readable_moment(moment: datetime, now: datetime) -> str:
    """Say a moment in UTC, with its day unless that is today's."""
    utc = moment.astimezone(timezone.utc)
    is_today = utc.date() == now.astimezone(timezone.utc).date()
    return f"{utc:%H:%M} UTC" if is_today else f"{utc:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class State:
    """What is known of a lock that was found.

    Attributes:
        place: Where it lies.
        holder: Who has it; None where the lock is damaged.
        alive: Whether the holder's process runs; None where that cannot be seen from here.
        silent_seconds: Since its last sign of life; negative where that is said to be to come.
    """

    place: str
    holder: Holder | None
    alive: bool | None
    silent_seconds: float

    @property
    def is_held(self) -> bool:
        """A process that is seen to run holds it, however slow it is; else signs of life count."""
        return self.silent_seconds < STALE_SECONDS if self.alive is None else self.alive


def refusal(output: Path, mode: str, state: State, now: datetime | None = None) -> str:
    """Say that another run works in a folder, who it is, and what can be done."""
    holder, wait = state.holder, readable_age(STALE_SECONDS)
    silent = readable_age(state.silent_seconds)
    if state.silent_seconds < 0:
        return (
            f"{state.place} is another user's, and its time lies in the future, so that nobody can "
            "tell whether a run works there; remove it if none does, or choose another outputpath"
        )
    if holder is None:
        return (
            f"{state.place} is damaged, but was written {silent} ago, so a run may be working "
            f"there; try again in {wait}, or choose another outputpath"
        )
    text = f"{output}: {holder.mode} is running here {_since(state, now)}"
    text += "; wait for it, end it, or choose another outputpath"
    if mode in READERS:
        text += f". To use its finished models: --pretrainedmodel {output} --outputpath ELSEWHERE"
    return text


def _since(state: State, now: datetime | None = None) -> str:
    """Say since when a holder is at work, and who it is."""
    holder, now = state.holder, now or datetime.now(timezone.utc)
    assert holder is not None
    age = (now - holder.started).total_seconds()
    who = "this very process" if holder.process == os.getpid() and state.alive else holder.described
    text = f"since {readable_moment(holder.started, now)}"
    text += f" ({readable_age(age)}), {who}" if age >= 1 else f", {who}"
    if state.alive is None:
        silent, wait = readable_age(state.silent_seconds), readable_age(STALE_SECONDS)
        text += f", last sign of life {silent} ago (after {wait} of silence it counts as ended)"
    return text


def describe_turn(what: str, state: State) -> str:
    """Say who is at work where this run waits for its turn."""
    if state.holder is None:
        return f"{what}: {state.place} is damaged; it is waited for as if a run were at work"
    return f"{what}: {state.holder.mode} is at work there {_since(state)}"


def describe_ended(output: Path, state: State, now: datetime | None = None) -> str:
    """Say whose lock is taken over."""
    holder, silent = state.holder, readable_age(state.silent_seconds)
    if holder is None:
        return f"{state.place} is damaged and {silent} old; it is taken over"
    when = readable_moment(holder.started, now or datetime.now(timezone.utc))
    return (
        f"{output}: {holder.mode} of {when} ({holder.described}, last sign of life {silent} ago) "
        "has ended without removing its lock; it is taken over"
    )
