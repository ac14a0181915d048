"""The trials of a search in a file of ours, from which it goes on after it was broken off."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biolm_ray.config.schema import Range
from biolm_ray.errors import ConfigError
from biolm_ray.files import write_json

TRIALS = "trials.json"

Space = Mapping[str, tuple[Any, ...] | Range]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A trial: its settings, and what it has reached.

    Attributes:
        trial: Its identifier, the name of its folder.
        settings: What it was made with, by dotted name.
        value: Mean of the metric over the folds so far; None before the first.
        folds: How many these are.
        error: What it failed with.
        ended: Whether it ran to its end, was stopped for being worse than others, or failed.
    """

    trial: str
    settings: dict[str, Any]
    value: float | None = None
    folds: int = 0
    error: str | None = None
    ended: bool = False

    @property
    def counts(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.ended and self.error is None and self.value is not None


class Trials:
    """All trials of a search, written down after each change."""

    def __init__(self, path: Path, metric: str, earlier: Sequence[Tried] = ()) -> None:
        self._path, self._metric = path, metric
        self._tried = {each.trial: each for each in earlier}
        self._broken_off = [each for each in earlier if not each.counts]

    def __iter__(self):
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
        self._tried[trial] = replace(self._tried[trial], **changes)
        self._write()

    def entries(self) -> list[dict[str, Any]]:
        """What is written down: an entry for each trial, its value under the metric's name."""
        return [
            {
                "trial": each.trial,
                "settings": each.settings,
                self._metric: each.value,
                "folds": each.folds,
                "error": each.error,
                "ended": each.ended,
            }
            for each in self
        ]

    def _write(self) -> None:
        write_json(self._path, self.entries())


def read_trials(path: Path, metric: str, space: Space) -> list[Tried]:
    """Read what an earlier search has left; nothing where there is no such file.

    Raises:
        ConfigError: The file does not hold trials of this search.
    """
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [_read_entry(entry, number, metric, space) for number, entry in enumerate(entries)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{path} does not hold the trials of this search ({error}); remove it, or set "
            "tune.resume: false to begin anew"
        ) from None


def _read_entry(entry: dict[str, Any], number: int, metric: str, space: Space) -> Tried:
    settings = entry["settings"]
    if settings.keys() != space.keys():
        raise ValueError(f"entry {number + 1} sets {', '.join(sorted(settings)) or 'nothing'}")
    trial, value = str(entry.get("trial", f"earlier_{number}")), entry[metric]
    if Path(trial).name != trial:
        raise ValueError(f"'{trial}' is no name of a trial")
    return Tried(
        trial=trial,
        settings={name: _value_in(space[name], given) for name, given in settings.items()},
        value=float(value) if value is not None and math.isfinite(value) else None,
        folds=int(entry["folds"]),
        error=entry["error"],
        ended=bool(entry.get("ended", True)),
    )


def _value_in(values: tuple[Any, ...] | Range, given: Any) -> Any:
    """The value of a space that was written as `given`; JSON knows no tuples."""
    if isinstance(values, Range):
        if not isinstance(given, int | float) or not values.low <= given <= values.high:
            raise ValueError(f"{given!r} lies outside of {values.low} to {values.high}")
        return int(given) if values.integer else float(given)
    for value in values:
        if json.loads(json.dumps(value)) == given:
            return value
    raise ValueError(f"{given!r} is none of the values searched")
