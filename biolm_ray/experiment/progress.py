"""What all models that train side by side are doing, shown as it happens."""

import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TextIO

from biolm_ray.wording import all_of, counted

BAR_WIDTH = 24
SAVED = "saved"
"""The figure that a model reports when it has written a checkpoint because it must leave."""
Events = dict[str, dict[str, float]]
Notes = list[tuple[str, str]]


@dataclass(frozen=True)
class Start:
    """That a model has found its place in the cluster.

    Attributes:
        attempt: Which attempt it is, counted from 1.
        nodes: Hexadecimal ids of the nodes of its workers.
        workers: Those of the workers.
    """

    attempt: int
    nodes: frozenset[str] = frozenset()
    workers: frozenset[str] = frozenset()


class Board:
    """The newest report of every model; runs as a Ray actor that takes no CPU."""

    def __init__(self) -> None:
        self._events: Events = {}
        self._starts: dict[str, Start] = {}
        self._notes: Notes = []
        self._stops = False

    def start(self, name: str, attempt: int, node: str, worker: str) -> None:
        """Take in that a worker of a model runs on a node."""
        before = self._starts.get(name, Start(attempt))
        if attempt > before.attempt:
            before = Start(attempt)
        if attempt == before.attempt:
            nodes, workers = before.nodes | {node}, before.workers | {worker}
            self._starts[name] = Start(attempt, nodes, workers)

    def report(self, name: str, event: Mapping[str, float | str]) -> None:
        """Take in how far a model is, or a sentence ("note") that is to be told."""
        figures = {key: value for key, value in event.items() if not isinstance(value, str)}
        self._events[name] = {**self._events.get(name, {}), **figures}
        self._notes += [(name, text) for text in event.values() if isinstance(text, str)]

    def news(self) -> tuple[Events, dict[str, Start], Notes]:
        """Give the newest reports, and the notes since the last call."""
        notes, self._notes = self._notes, []
        return self._events, self._starts, notes

    def stop(self) -> None:
        """Have the models write checkpoints; earlier ones do not count."""
        self._stops = True
        for event in self._events.values():
            event.pop(SAVED, None)

    def stops(self) -> bool:
        """Tell whether the run is about to be stopped."""
        return self._stops


def describe(
    name: str, event: dict[str, float], num_epochs: int, seconds_left: float | None
) -> str:
    """Say in one line how far a model is, how good, and how long it may take."""
    progress = event.get("progress", 0.0)
    parts = [f"{name:>10}  epoch {progress:5.2f}/{num_epochs}"]
    if "train_loss" in event:
        parts.append(f"train loss {event['train_loss']:.4f}")
    # Validation is that of the last whole epoch, while the next one is under way.
    judged, epoch = _validation(event), event.get("epoch", progress)
    if judged and epoch != progress:
        judged[0] = f"after epoch {epoch:.0f}: {judged[0]}"
    parts += judged
    if seconds_left:
        parts.append(f"{_at_most(seconds_left)} left")
    return "  ".join(parts)


def describe_end(name: str, metrics: Mapping[str, float]) -> str:
    """Say which epoch a trained model is of, and how good it was on the validation rows."""
    num_epochs = counted(round(metrics["epochs_trained"]), "epoch")
    judged = ", ".join(_validation(metrics))
    if not judged:
        return f"{name}: trained for {num_epochs}"
    return f"{name}: trained for {num_epochs}, best after epoch {metrics['epoch']:.0f}: {judged}"


def _validation(event: Mapping[str, float]) -> list[str]:
    shown = ("eval_loss", "eval_pearson", "eval_spearman", "eval_auroc")
    parts = [f"{key.replace('_', ' ')} {event[key]:.4f}" for key in shown if key in event]
    if "eval_perplexity" in event:
        parts.append(f"perplexity {event['eval_perplexity']:.2f}")
    return parts


def describe_estimate(
    event: Mapping[str, float], num_epochs: int, num_models: int, parallel: int
) -> str:
    """Say what training will take, from the few batches that a model has tried.

    Early stopping may end it sooner.
    """
    seconds = event["seconds_per_epoch"]
    rounds = -(-num_models // parallel)
    whole = _at_most(seconds * num_epochs * rounds)
    models = all_of(num_models, "model")
    models += f", {parallel} at a time" if parallel < num_models else ""
    return (
        f"estimate: {readable_time(seconds)} an epoch, {event['memory_gb']:.1f} GB per worker; "
        f"{whole} for {models}"
    )


def _at_most(seconds: float) -> str:
    time = readable_time(seconds)
    return time if time == LESS_THAN_A_SECOND else f"at most {time}"


class ScoringProgress:
    """Says every few seconds how many positions (or rows) are done, how fast, how long is left.

    The rate is that of all workers together.
    """

    def __init__(
        self,
        logger: logging.Logger,
        noun: str = "positions",
        num_workers: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        every_seconds: float = 10.0,
    ) -> None:
        self._logger = logger
        self._noun = noun
        self._workers = f" on {num_workers} workers" if (num_workers or 0) > 1 else ""
        self._clock = clock
        self._every_seconds = every_seconds
        self._first: tuple[float, int] | None = None
        self._said = clock()

    def __call__(self, num_done: int, num_all: int) -> None:
        now = self._clock()
        if self._first is None:
            self._first = (now, num_done)
        # Of the end the lines of the results tell.
        if now - self._said < self._every_seconds or num_done >= num_all:
            return
        rate = (num_done - self._first[1]) / max(now - self._first[0], 1e-9)
        if rate <= 0:
            return
        self._said = now
        left = readable_time((num_all - num_done) / rate)
        self._logger.info(
            "%s of %s %s, %s a second%s, %s left",
            f"{num_done:,}",
            f"{num_all:,}",
            self._noun,
            f"{rate:,.0f}",
            self._workers,
            left,
        )


def noun_of_predictions(num_rows: int, num_models: int) -> str:
    """Name what the progress of predicting counts: rows, or the predictions of several models."""
    if num_models == 1:
        return "rows"
    return f"predictions ({counted(num_rows, 'row')}, {num_models} models)"


class DataProgress:
    """Says how far the data are read or tokenized, at what rate, and how long is left.

    On a terminal one line is redrawn; elsewhere a line is added every ten seconds. What took a
    second or more is told in the end.
    """

    def __init__(
        self,
        logger: logging.Logger,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._redraws = self._stream.isatty()
        self._every_seconds = 0.2 if self._redraws else 10.0
        self._action: str | None = None
        self._started = (0.0, 0)
        self._said = 0.0

    def __call__(self, action: str, num_bytes: int, total_bytes: int, num_rows: int) -> None:
        """Take in what is being done, the bytes done and in all, and the rows so far.

        The first call of an action is made before any of it is done.
        """
        now = self._clock()
        if action != self._action:
            self._action, self._started, self._said = action, (now, num_bytes), now
            return
        seconds = now - self._started[0]
        rate = (num_bytes - self._started[1]) / max(seconds, 1e-9)
        if num_bytes >= total_bytes:
            self._action = None
            if self._redraws:
                self._stream.write("\r\x1b[2K")
            if seconds >= 1:
                self._logger.info(
                    f"{action}: {counted(num_rows, 'row')} in {readable_time(seconds)}, "
                    f"{rate / 1e6:.1f} MB/s"
                )
        elif now - self._said >= self._every_seconds and rate > 0:
            self._said = now
            share = num_bytes / total_bytes
            left = readable_time((total_bytes - num_bytes) / rate)
            facts = f"{share:.0%}, {counted(num_rows, 'row')}, {rate / 1e6:.1f} MB/s, {left} left"
            if self._redraws:
                bar = "█" * round(share * BAR_WIDTH)
                self._stream.write(f"\r\x1b[2K{action} |{bar:{BAR_WIDTH}}| {facts}")
                self._stream.flush()
            else:
                self._logger.info(f"{action}: {facts}")


LESS_THAN_A_SECOND = "less than a second"


def readable_time(seconds: float) -> str:
    """Write a duration the way people say it: 42 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 1:
        return LESS_THAN_A_SECOND
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@dataclass
class Display:
    """Redraws one line per model on a terminal; elsewhere adds a line per finished epoch."""

    num_epochs: int
    quiet: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    clock: Callable[[], float] = time.monotonic
    _first_seen: dict[str, tuple[float, float]] = field(default_factory=dict)
    _drawn: int = 0
    _last_epoch: dict[str, int] = field(default_factory=dict)

    def update(self, events: Events) -> None:
        if self.quiet:
            return
        lines = {}
        for name, event in sorted(events.items()):
            left = self._seconds_left(name, event.get("progress", 0.0))
            lines[name] = describe(name, event, self.num_epochs, left)
        if self.stream.isatty():
            self._redraw(list(lines.values()))
        else:
            self._append(lines, events)

    def interrupt(self) -> None:
        """Leave what is drawn as it is; something else is about to be written below."""
        self._drawn = 0

    def _seconds_left(self, name: str, epoch: float) -> float | None:
        now = self.clock()
        first_time, first_epoch = self._first_seen.setdefault(name, (now, epoch))
        if epoch <= first_epoch:
            return None
        return (now - first_time) / (epoch - first_epoch) * (self.num_epochs - epoch)

    def _redraw(self, lines: list[str]) -> None:
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        width = shutil.get_terminal_size().columns - 1  # a wrapped line would count twice
        self.stream.write(up + "".join(f"\x1b[2K{line[:width]}\n" for line in lines))
        self.stream.flush()
        self._drawn = len(lines)

    def _append(self, lines: dict[str, str], events: Events) -> None:
        for name, line in lines.items():
            epoch = int(events[name].get("epoch", 0))
            if epoch > self._last_epoch.get(name, 0):
                self._last_epoch[name] = epoch
                self.stream.write(line + "\n")
                self.stream.flush()
