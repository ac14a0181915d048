"""The trials of a search in a file of ours, from which it goes on after it was broken off."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, NonNegativeInt

from biolm_ray.config.schema import Range
from biolm_ray.errors import DataError
from biolm_ray.files import is_plain_name
from biolm_ray.records import Record, SealedFile, find_record, write_record

TRIALS = "trials.json"
REMEDY = (
    "it says what the trials of this search have reached: put back a copy of it, or set "
    "tune.resume: false to start over"
)

Space = Mapping[str, tuple[Any, ...] | Range]


def _plain_name(name: str) -> str:
    if not is_plain_name(name):
        raise ValueError(f"{name[:40]!r} is no name of a trial")
    return name


class Tried(Record):
    """A trial: its settings, and what it has reached.

    Attributes:
        trial: Its identifier, the name of its folder.
        settings: What it was made with, by dotted name.
        value: Mean of the metric over the folds so far; None before the first.
        folds: How many these are.
        error: What it failed with.
        ended: Whether it ran to its end, was stopped for being worse than others, or failed.
    """

    trial: Annotated[str, AfterValidator(_plain_name)]
    settings: dict[str, Any]
    value: float | None = None
    folds: NonNegativeInt = 0
    error: str | None = None
    ended: bool = False

    @property
    def counts(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.ended and self.error is None and self.value is not None


class TrialsFile(SealedFile):
    """All trials of a search, and the metric that they are judged by.

    The first version was a list of trials, with their values under the metric's name.
    """

    metric: str
    trials: tuple[Tried, ...] = ()

    @classmethod
    def as_today(cls, values: Any) -> Any:
        if not isinstance(values, list):
            return values
        trials = [_of_first_version(entry, number) for number, entry in enumerate(values)]
        metrics = {metric for metric, _ in trials} or {""}
        if len(metrics) > 1:
            return values
        return {"metric": metrics.pop(), "trials": [trial for _, trial in trials]}


def _of_first_version(entry: Any, number: int) -> tuple[str, Any]:
    """The metric and the trial that an entry of the first version tells of."""
    if not isinstance(entry, dict):
        return "", entry
    others = [name for name in entry if name not in Tried.model_fields]
    if len(others) != 1:
        return "", entry
    (metric,) = others
    told = {name: value for name, value in entry.items() if name != metric}
    return metric, {"trial": f"earlier_{number}", "ended": True, **told, "value": entry[metric]}


class Trials:
    """All trials of a search, written down after each change."""

    def __init__(self, path: Path, metric: str, earlier: Sequence[Tried] = ()) -> None:
        self._path, self._metric = path, metric
        self._tried = {each.trial: each for each in earlier}
        self._broken_off = [each for each in earlier if not each.counts]

    def __iter__(self) -> Iterator[Tried]:
        return iter(list(self._tried.values()))

    def __contains__(self, trial: str) -> bool:
        return trial in self._tried

    def start(self, trial: str, settings: dict[str, Any]) -> str | None:
        """Note that a trial begins; gives one that it takes up again, if it has its settings."""
        again = next((each for each in self._broken_off if each.settings == settings), None)
        if again is not None:
            self._broken_off.remove(again)
            del self._tried[again.trial]
        self._tried[trial] = Tried(trial=trial, settings=settings)
        self._write()
        return None if again is None else again.trial

    def update(self, trial: str, **changes: Any) -> None:
        """Note what a trial has reached."""
        self._tried[trial] = self._tried[trial].model_copy(update=changes)
        self._write()

    def entries(self) -> list[dict[str, Any]]:
        """Describe each trial, with its value under the metric's name."""
        return [
            {self._metric if name == "value" else name: value for name, value in each}
            for each in self
        ]

    def _write(self) -> None:
        write_record(self._path, TrialsFile(metric=self._metric, trials=tuple(self)))


def read_trials(path: Path, metric: str, space: Space) -> list[Tried]:
    """Read what an earlier search has left; nothing where there is no such file.

    Raises:
        DataError: The file is damaged, or does not hold trials of this search.
    """
    found = find_record(path, TrialsFile, REMEDY)
    if found is None or not found.trials:
        return []
    if found.metric != metric:
        raise DataError(f"{path}: its trials were judged by '{found.metric[:40]}'; {REMEDY}")
    names = [each.trial for each in found.trials]
    try:
        if len(set(names)) < len(names):
            raise ValueError("a trial stands there twice")
        return [_in_space(each, number, space) for number, each in enumerate(found.trials)]
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}); {REMEDY}") from None


def _in_space(each: Tried, number: int, space: Space) -> Tried:
    """Give a trial back with its settings as the space has them.

    Raises:
        ValueError: They are none of its.
    """
    if each.settings.keys() != space.keys():
        raise ValueError(f"entry {number + 1} sets {', '.join(sorted(each.settings)) or 'nothing'}")
    settings = {name: _value_in(space[name], given) for name, given in each.settings.items()}
    is_number = each.value is not None and math.isfinite(each.value)
    return each.model_copy(
        update={"settings": settings, "value": each.value if is_number else None}
    )


def _value_in(values: tuple[Any, ...] | Range, given: Any) -> Any:
    """The value of a space that was written as `given`; JSON knows no tuples."""
    if isinstance(values, Range):
        is_number = isinstance(given, int | float) and not isinstance(given, bool)
        if not is_number or not values.low <= given <= values.high:
            raise ValueError(f"{given!r:.40} lies outside of {values.low} to {values.high}")
        return int(given) if values.integer else float(given)
    for value in values:
        if json.dumps(value) == json.dumps(given):
            return value
    raise ValueError(f"{given!r:.40} is none of the values searched")
