"""The work on one table of scores: what of it is done, and the files made of it in the end."""

import csv
import glob
import gzip
import io
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow.parquet as pq

from biolm_ray.data.targets import Targets
from biolm_ray.files import atomic_path, swapped_files
from biolm_ray.inference.score_table import chosen_class, score_columns
from biolm_ray.inference.scores_file import ENDINGS as TABLE_ENDINGS
from biolm_ray.inference.scores_file import ScoresMetadata, merge_parts, scores_schema
from biolm_ray.inference.units import ENDINGS, Unit, UnitResult, finished_unit, table_path
from biolm_ray.inference.worker import ScoringJob

MakeRoom = Callable[[Sequence[Path]], None]


@dataclass(frozen=True, kw_only=True)
class LooSummary:
    """What a finished scoring run has to say.

    Attributes:
        num_positions: Scored edits, the rows of the table.
        num_reused: Those of them that an earlier run, broken off, had already scored.
        seconds: Wall time since the table before it was whole; that of the first holds the start of
            the workers.
        largest_difference: Largest deviation of a score from its independent recomputation.
        num_redone: How many times a model's fast path was found wrong on a sequence, so that whole
            passes took its place.
        paths: The CSV table, or one for each target; a parquet file stands beside each.
        noise_floors: The noise floor of each table (see `noise_floors`); none for a single model.
        shares_in_noise: Which part of the scores of each is no larger than that.
        unused_replacements: Keys of the replacement dictionary that no token can match.
        notes: What else the user should be told, in sentences, each once.
    """

    num_sequences: int
    num_positions: int
    num_reused: int
    seconds: float
    largest_difference: float
    num_redone: int
    paths: tuple[Path, ...]
    noise_floors: tuple[float, ...] = ()
    shares_in_noise: tuple[float, ...] = ()
    unused_replacements: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The table; of several targets that of the first."""
        return self.paths[0]


@dataclass
class TableWork:
    """A table that is being scored.

    Attributes:
        job: What its workers need.
        units: All its units, in the order of the input.
        targets: What the models predict; each target has a table of its own.
        out_csv: The table; of several targets each adds its name to the stem.
        unused_replacements: Keys of the replacement dictionary that no token can match.
        results: Of the units that are finished, by the unit's index.
        num_scores: Edits scored in them.
        num_tokens: Tokens they hold, as `Unit.num_tokens` counts them.
        num_reused: Edits that an earlier run, broken off, had already scored.
    """

    job: ScoringJob
    units: Sequence[Unit]
    targets: Targets
    out_csv: Path
    unused_replacements: tuple[str, ...]
    results: dict[int, UnitResult] = field(default_factory=dict)
    num_scores: int = 0
    num_tokens: int = 0
    num_reused: int = 0

    def add(self, unit: Unit, result: UnitResult) -> None:
        """Take a finished unit in."""
        self.results[unit.index] = result
        self.num_scores += result.num_scores
        self.num_tokens += result.num_tokens

    def find_finished(self) -> None:
        """Take over the units that an earlier run, broken off, has left finished."""
        averaged = len(self.job.model_folders) > 1
        for unit in self.units:
            result = finished_unit(self.job.parts, unit, self.targets.suffixes, averaged=averaged)
            if result is not None:
                self.add(unit, result)
        self.num_reused = self.num_scores

    @property
    def missing(self) -> list[Unit]:
        """Units still to be scored, the dearest first, so that none is left for the end."""
        missing = [unit for unit in self.units if unit.index not in self.results]
        return sorted(missing, key=lambda unit: unit.cost, reverse=True)

    @property
    def is_whole(self) -> bool:
        return len(self.results) == len(self.units)

    def write(self, begun: float, make_room: MakeRoom) -> LooSummary:
        """Bring all parts together, in the order of the input; the parts stay.

        An earlier table gives way once all files are whole, also one that was compressed where
        this one is not.

        Args:
            begun: When the work began, by `time.monotonic`.
            make_room: Called with the paths once all files are whole, just before they go there.
        """
        results = list(self.results.values())
        num_models = len(self.job.model_folders)
        largest_difference = max((result.largest_difference for result in results), default=0.0)
        floors = noise_floors(results, num_models)
        stems = [f"{self.out_csv.stem}{suffix}" for suffix in self.targets.suffixes]
        earlier = [f"{glob.escape(stem)}{ending}" for stem in stems for ending in TABLE_ENDINGS]
        with swapped_files(self.out_csv.parent, earlier) as fresh:
            paths = [
                self._write_target(
                    fresh / f"{stem}.csv",
                    index,
                    largest_difference,
                    floors[index] if floors else None,
                )
                for index, stem in enumerate(stems)
            ]
            typed = [fresh / f"{stem}.parquet" for stem in stems]
            shares = tuple(map(share_in_noise, typed, floors)) if floors else ()
            paths = [self.out_csv.with_name(path.name) for path in paths]
            make_room(paths)
        return LooSummary(
            num_sequences=sum(len(unit.rows) for unit in self.units),
            num_positions=self.num_scores,
            num_reused=self.num_reused,
            seconds=time.monotonic() - begun,
            largest_difference=largest_difference,
            num_redone=sum(result.num_redone for result in results),
            paths=tuple(paths),
            noise_floors=floors,
            shares_in_noise=shares,
            unused_replacements=self.unused_replacements,
            notes=(
                *self._about_classes(),
                *sorted({note for result in results for note in result.notes}),
            ),
        )

    @property
    def _class_name(self) -> str | None:
        """The class of column loo; None: the predicted one, or there are no classes."""
        number = chosen_class(self.job.settings.class_name, self.targets)
        return None if number is None else (self.targets.classes or ())[number]

    def _about_classes(self) -> tuple[str, ...]:
        """Say which class the scores in column loo are about."""
        classes, name = self.targets.classes, self._class_name
        if classes is None:
            return ()
        about = "the class predicted for the sequence (column pred)"
        if name is not None:
            about = f"class '{name[:40]}'"
        unset = "" if self.job.settings.class_name else "; interpret.class_name chooses another"
        return (f"column loo is the change of the probability of {about}{unset}",)

    def _write_target(
        self, path: Path, index: int, largest_difference: float, noise_floor: float | None
    ) -> Path:
        """Write both files of a target; gives the path of the CSV, which may be compressed."""
        settings, targets = self.job.settings, self.targets
        num_models, suffix = len(self.job.model_folders), targets.suffixes[index]
        metadata = ScoresMetadata(
            edit=settings.edit,
            window=settings.window,
            task=targets.task,
            target=targets.names[index] if targets.names else targets.label_name,
            classes=targets.classes or (),
            class_name=self._class_name,
            num_models=num_models,
            largest_difference=largest_difference,
            noise_floor=noise_floor,
        )
        texts, typed = (
            [table_path(self.job.parts, unit, suffix, ending) for unit in self.units]
            for ending in ENDINGS
        )
        schema = scores_schema(targets, averaged=num_models > 1)
        merge_parts(typed, path.with_suffix(".parquet"), schema, metadata)
        if settings.compress:
            path = path.with_name(f"{path.name}.gz")
        merge_tables(texts, score_columns(settings.edit, targets, num_models), path)
        return path

    def remove_parts(self) -> None:
        """Remove the finished units, once nothing can need them any more."""
        shutil.rmtree(self.job.parts)
        if not any(self.job.parts.parent.iterdir()):
            self.job.parts.parent.rmdir()


def merge_tables(parts: Sequence[Path], columns: Sequence[str], path: Path) -> None:
    """Write the parts one after another below one header, never holding more than a piece.

    A path that ends in .gz is compressed; the same parts always give the same bytes.
    """
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(columns)
    with atomic_path(path) as temporary, _opened(temporary) as whole:
        whole.write(header.getvalue().encode("utf-8"))
        for part in parts:
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, whole)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as stream:
        if path.suffix != ".gz":
            yield stream
            return
        with gzip.GzipFile("", "wb", 6, stream, mtime=0) as compressed:
            yield cast(BinaryIO, compressed)


def noise_floors(results: Sequence[UnitResult], num_models: int) -> tuple[float, ...]:
    """Give the noise floor of each table; none for a single model.

    It is the standard error of a mean score: the root of the mean, over all rows of the table, of
    the variance over the models, divided by their number.
    """
    num_scores = sum(result.num_scores for result in results)
    if num_models < 2 or not num_scores:
        return ()
    # The sum is exact, so that it does not depend on the order in which workers finish.
    by_table = zip(*(result.squared_deviations for result in results), strict=True)
    return tuple(math.sqrt(math.fsum(sums) / num_scores / num_models) for sums in by_table)


def share_in_noise(typed: Path, noise_floor: float) -> float:
    """Give the part of a table's scores that are no larger than its noise floor, either sign."""
    num_below = num_scores = 0
    with pq.ParquetFile(typed) as file:
        for batch in file.iter_batches(columns=["loo"]):
            scores = batch.column(0).to_numpy(zero_copy_only=False)
            num_below += int((np.abs(scores) <= noise_floor).sum())
            num_scores += len(scores)
    return num_below / max(1, num_scores)
