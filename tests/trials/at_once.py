"""Trials of two commands at once, and of commands that are ended while they work."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trials.command import CHANGED, FINISHED, GOOD, SENTENCE, STOPPED, Running, ending
from trials.environment import MODES
from trials.trial import Seen, Trial
from trials.whole import EXPERIMENT, PREDICTIONS, Whole, predicting

SIGNALS = {
    "Ctrl-C": (signal.SIGINT, STOPPED),
    "SIGTERM": (signal.SIGTERM, STOPPED),
    "SIGKILL": (signal.SIGKILL, None),
}
LONG = ("fine-tune", "--configfile", "long.yaml", "--outputpath", "out")


def concurrent_trials(whole: Whole, number: int, draw: random.Random) -> Iterator[Trial]:
    """Draw so many trials: two in one folder, a reader beside a writer, signals, in turn."""
    for index in range(number):
        delay = draw.uniform(0, 12)
        if index % 3 == 0:
            first, second = draw.choice(list(MODES)), draw.choice(list(MODES))
            name = f"{first}, then {second} after {delay / 4:.1f} s"
            yield Trial("two in one folder", name, _two(first, second, delay / 4))
        elif index % 3 == 1:
            name = f"predict beside a fine-tune after {delay:.1f} s"
            yield Trial("reader beside a writer", name, _beside(delay))
        else:
            mode, sign = draw.choice(list(MODES)), draw.choice(list(SIGNALS))
            name = f"{sign} after {delay:.1f} s | {mode}"
            yield Trial("ended by a signal", name, _ended(mode, sign, delay))


def _two(first: str, second: str, delay: float) -> Callable[[Whole, Path], Seen]:
    """Two commands in one folder: the first ends well, the other one well or in a sentence."""

    def run(whole: Whole, place: Path) -> Seen:
        whole.copy(place)
        one = Running(place, MODES[first], whole.joined)
        time.sleep(delay)
        other = Running(place, MODES[second], whole.joined)
        ended = [one.end(), other.end()]
        seen = [ending(each) for each in ended]
        output = "\n--- the other ---\n".join(each.output for each in ended)
        bad = [each for each in seen if each not in GOOD]
        if bad:
            return bad[0], output
        if FINISHED not in seen:
            return CHANGED, f"neither has done its work\n{output}"
        return (FINISHED if seen == [FINISHED, FINISHED] else SENTENCE), output

    return run


def _beside(delay: float) -> Callable[[Whole, Path], Seen]:
    """A reader of the experiment, while a training replaces it."""

    def run(whole: Whole, place: Path) -> Seen:
        whole.copy(place)
        arguments = ("fine-tune", "--configfile", "run.yaml", "--outputpath", EXPERIMENT)
        writer = Running(place, arguments, whole.joined)
        time.sleep(delay)
        reader = Running(place, predicting("elsewhere"), whole.joined).end()
        written = writer.end()
        output = f"{written.output}\n--- the reader ---\n{reader.output}"
        if ending(written) != FINISHED:
            return ending(written), output
        found = place / "elsewhere" / PREDICTIONS
        # The same data and seed give the same models again.
        if found.exists() and found.read_text(encoding="utf-8") != whole.predictions:
            return CHANGED, output
        return ending(reader), output

    return run


def _ended(mode: str, sign: str, delay: float) -> Callable[[Whole, Path], Seen]:
    """A command that is ended, and then run again."""
    number, wanted = SIGNALS[sign]

    def run(whole: Whole, place: Path) -> Seen:
        whole.copy(place)
        arguments = LONG if mode == "fine-tune" else MODES[mode]
        running = Running(place, arguments, {"RAY_ADDRESS": None})
        time.sleep(delay)
        running.send(number)
        ended = running.end()
        seen = ending(ended)
        if wanted is None and ended.code == -signal.SIGKILL:
            seen = STOPPED
        if seen not in GOOD:
            return seen, ended.output
        resumed = ("--resume", "auto") if mode in ("fine-tune", "pre-train") else ()
        again = Running(place, (*arguments, *resumed), whole.joined).end()
        output = f"{ended.output}\n--- run again ---\n{again.output}"
        return (seen if ending(again) == FINISHED else ending(again)), output

    return run
