"""How a run makes room for its results, and writes down what they are."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from biolm_ray.config.load import write_config
from biolm_ray.config.schema import Config
from biolm_ray.errors import BiolmError, ResourceError, attach
from biolm_ray.logs import RESULT
from biolm_ray.models.stored_weights import weights_file
from biolm_ray.preparation.rejects import REJECTED_FILE
from biolm_ray.results.aside import (
    check_movable,
    finish_moving,
    new_place,
    set_aside,
)
from biolm_ray.results.contents import (
    LOGS,
    describe_results,
    holds_results,
    results_to_replace,
    tables_in,
)
from biolm_ray.results.lock import Lock
from biolm_ray.results.manifest import (
    REPLACED,
    Manifest,
    ModeRecord,
    Run,
    new_run,
    read_manifest,
    record_tables,
    relative,
)
from biolm_ray.signals import held
from biolm_ray.tokenization.tokenizer import SETTINGS_FILE, TOKENIZER_FILE, Tokenizer

log = logging.getLogger("biolm_ray")

CONFIG_FILE = "config.yaml"
Written = TypeVar("Written")
TRAINED = ("pre-train", "fine-tune", "tune")


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """What a run leaves: first beside its log, and in its folder once it replaces what is there.

    Attributes:
        output: The output folder.
        mode: Of the run; its folder below the output folder has the same name.
        run: As the manifest names it.
        remove: Whether what is replaced is removed rather than kept.
        known: Ids of the runs whose results were there when this one began.
        lock: Of the output folder; None for those who work in a folder of their own.
    """

    output: Path
    mode: str
    run: Run
    remove: bool = False
    known: frozenset[str] = frozenset()
    lock: Lock | None = None
    _places: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.output / self.mode

    @property
    def replaced(self) -> Path | None:
        """Where what this run has replaced is kept; None if there is nothing."""
        kept = self._places and not self.remove
        return self.output / self._places[0] if kept else None

    def check_lock(self) -> None:
        """Make sure that results may still be changed by this run.

        Raises:
            ResourceError: Another one has begun in the folder, while this one was suspended.
        """
        if self.lock is not None:
            self.lock.check()

    def finish_moving(self) -> None:
        """End what a run that was broken off has begun to move aside, once nothing stops this one.

        Raises:
            DataError: It is not to be moved.
            ResourceError: It cannot be moved.
        """
        self.check_lock()
        finish_moving(self.output, remove=self.remove)

    def replace(self, paths: Sequence[str]) -> str | None:
        """Say what is replaced and move it aside; gives where to, None where there is nothing.

        A run has one place for all that it replaces.
        """
        self.check_lock()
        if not paths:
            return None
        if not self._places:
            self._places.append(new_place(self.output, self.mode, remove=self.remove))
        to = self._places[0]
        what = describe_results(self.output, paths)
        if self.remove:
            log.warning("replaced, and removed (run.replaced_results: remove): %s", what)
        else:
            log.info("replaced, and kept in %s: %s", self.output / to, what)
        return set_aside(self.output, self.mode, paths, remove=self.remove, to=to)

    def replace_all(self) -> str | None:
        """Do so with all results of the mode and what was made of them."""
        return self.replace(results_to_replace(self.output, self.mode))

    def replace_with(self, write: Callable[[], Written], models: Iterable[Path]) -> Written:
        """Move all results of the mode aside, and have new ones written and recorded.

        A stop takes effect when that is done, or neither the earlier results would be there nor the
        new ones.

        Args:
            write: Writes them to the folder of the mode; gives what is given back.
            models: The folders of the models that they are made by.
        """
        with held():
            self.replace_all()
            written = write()
            self.publish()
            self.record_tables(tables_in(self.folder), models)
        return written

    def announce(self, paths: Sequence[str]) -> None:
        """Say before the work begins what it will replace.

        Raises:
            DataError: It is not to be moved.
        """
        if paths:
            check_movable(self.output, paths)
            what = describe_results(self.output, paths)
            done = "removed" if self.remove else f"moved to {self.output / REPLACED}"
            log.info("this run replaces earlier results, which will be %s: %s", done, what)

    def make_room(self, paths: Sequence[str]) -> None:
        """Do so, for those who do not ask where to."""
        self.replace(paths)

    def publish(self) -> None:
        """Put the configuration of the run and the rows it has set aside beside the results."""
        self.check_lock()
        for name in (CONFIG_FILE, REJECTED_FILE):
            source, target = self.folder / LOGS / name, self.folder / name
            if source.exists():
                shutil.copyfile(source, target)
            else:
                target.unlink(missing_ok=True)

    def record_tables(self, paths: Iterable[Path], models: Iterable[Path]) -> None:
        """Write down which tables were made by which model folders.

        Raises:
            ResourceError: Another run has written one of them since this one began.
        """
        self.check_lock()
        paths = list(paths)
        written = {relative(path, self.output) for path in paths}
        record = recorded(self)
        for table in record.tables if record else ():
            if table.path in written and table.run.id not in {self.run.id, *self.known}:
                raise mixed(self, table.run)
        weights = [path for path in map(weights_file, models) if path is not None]
        record_tables(self.output, self.mode, self.run, paths, weights)


def begin_run(config: Config, version: str, lock: Lock | None = None) -> RunResults:
    """Write the run's resolved configuration beside its log.

    What a run writes there describes its results, and becomes part of them with `publish`.
    """
    output = Path(config.output_path)
    logs = output / config.mode / LOGS
    write_config(config, logs / CONFIG_FILE)
    (logs / REJECTED_FILE).unlink(missing_ok=True)
    records = (read_manifest(output) or Manifest()).modes.values()
    return RunResults(
        output=output,
        mode=config.mode,
        run=new_run(version, (logs / CONFIG_FILE).read_text(encoding="utf-8")),
        remove=config.run.replaced_results == "remove",
        known=frozenset(table.run.id for record in records for table in record.tables),
        lock=lock,
    )


@dataclass(frozen=True)
class RunTokenizer:
    """The tokenizer of a run, and whether it was fitted by it."""

    tokenizer: Tokenizer
    is_new: bool

    def save(self, results: RunResults) -> None:
        """Write it where those who train find it, and a new one to the output folder too."""
        self.tokenizer.save(results.folder)
        if self.is_new:
            self.tokenizer.save(results.output)


def publish_prepared(results: RunResults, tokenizer: RunTokenizer) -> None:
    """Leave what describes prepared data, unless that would describe results of another run."""
    if not holds_results(results.folder):
        results.publish()
    if tokenizer.is_new and read_manifest(results.output) is None:
        tokenizer.tokenizer.save(results.output)


def recorded(results: RunResults) -> ModeRecord | None:
    """Read what the manifest says of the mode of a run."""
    return (read_manifest(results.output) or Manifest()).modes.get(results.mode)


@contextmanager
def told_when_stopped(results: RunResults) -> Iterator[None]:
    """Attach to what stops a run whether it `has_begun`: whether results are its own by then.

    And where those lie that it has moved aside (`replaced`).
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        attach(stop, replaced=results.replaced)
        with suppress(BiolmError):  # of a damaged manifest, which the next run tells of
            record = recorded(results)
            attach(stop, has_begun=record is not None and record.run.id == results.run.id)
        raise


def mixed(results: RunResults, other: Run | None) -> ResourceError:
    """Say that two runs have written to the same place at once."""
    when = f" (started {other.started})" if other else ""
    return ResourceError(
        f"{results.folder}: another run{when} has begun in this folder "
        "meanwhile; its results and this run's are mixed: when neither runs any more, run one of "
        "them again (a training without --resume)"
    )


def replace_tokenizer(results: RunResults, tokenizer: Tokenizer) -> None:
    """Write a tokenizer to the output folder, and move another one that was there aside."""
    output, names = results.output, (TOKENIZER_FILE, SETTINGS_FILE)
    earlier = [name for name in names if (output / name).is_file()]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        same = all(
            (output / name).is_file()
            and (output / name).read_bytes() == (Path(folder) / name).read_bytes()
            for name in names
        )
    with held():
        _put_tokenizer(results, tokenizer, earlier, same=same)
        results.publish()
        results.record_tables([output / name for name in names], [])


def _put_tokenizer(
    results: RunResults, tokenizer: Tokenizer, earlier: Sequence[str], *, same: bool
) -> None:
    """Move the files of another tokenizer aside, if there are any, and write this one's."""
    output = results.output
    if same:
        log.log(RESULT, "tokenizer: the same as before, %s", output / TOKENIZER_FILE)
    else:
        results.replace(earlier)
        trained = [mode for mode in TRAINED if holds_results(output / mode)] if earlier else []
        if trained:
            log.warning(
                "%s is another tokenizer than before. The models in %s keep the one they were "
                "trained with, in their own folders, and predict as they did; they cannot be "
                "resumed with this one",
                output / TOKENIZER_FILE,
                " and ".join(trained),
            )
        tokenizer.save(output)
        log.log(
            RESULT,
            "tokenizer: %d tokens, saved to %s",
            len(tokenizer.vocabulary),
            output / TOKENIZER_FILE,
        )
