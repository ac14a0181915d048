"""Trials of damage: a file of a finished or broken-off experiment, or of the input, is damaged."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from damaged import (
    Damage,
    file_damages,
    json_damages,
    parquet_damages,
    plain_parquet,
    vocabulary_damages,
    weights_damages,
)
from trials.command import CHANGED, FINISHED, Running, ending
from trials.trial import Seen, Trial
from trials.whole import BROKEN_OFF, EXPERIMENT, PREDICTIONS, Whole, predicting

OUTPUT = "out"
RESUMED = ("fine-tune", "--configfile", "long.yaml", "--outputpath", BROKEN_OFF, "--resume")
FINISHED_AGAIN = (
    "fine-tune", "--configfile", "run.yaml", "--outputpath", EXPERIMENT, "--resume",
)  # fmt: skip
SCORED = (
    "interpret", "--configfile", "run.yaml", "--pretrainedmodel", EXPERIMENT,
    "--outputpath", OUTPUT, "--handletokens", "mask", "--dev", "2",
)  # fmt: skip
TOKENIZED = ("tokenize", "--configfile", "run.yaml", "--outputpath", OUTPUT)
TRAINED = ("fine-tune", "--configfile", "run.yaml", "--outputpath", OUTPUT)


@dataclass(frozen=True)
class Target:
    """Files that are damaged, and what is then run.

    Attributes:
        kind: Of the trials.
        pattern: Of the files, below the copied folder.
        commands: One of them is run.
        rebuilt: Whether the program may do without what is damaged, and say so.
    """

    kind: str
    pattern: str
    commands: Sequence[Sequence[str]]
    rebuilt: bool = False


PREDICTED = predicting(OUTPUT)
TARGETS = (
    Target("model folder", f"{EXPERIMENT}/fine-tune/0/*", (PREDICTED, PREDICTED, SCORED)),
    Target("experiment", f"{EXPERIMENT}/*", (PREDICTED, FINISHED_AGAIN)),
    Target("training", f"{EXPERIMENT}/fine-tune/1/*", (FINISHED_AGAIN,)),
    Target("checkpoint", f"{BROKEN_OFF}/fine-tune/*/checkpoint/*", (RESUMED,), rebuilt=True),
    Target("prepared data", "prepared/**/*", (PREDICTED, TRAINED, SCORED), rebuilt=True),
    Target("input", "demo.tsv", (TOKENIZED, PREDICTED)),
    Target("configuration", "run.yaml", (TOKENIZED, PREDICTED)),
)


def damage_trials(whole: Whole, number: int, draw: random.Random) -> Iterator[Trial]:
    """Draw so many trials, of all kinds in turn."""
    for index in range(number):
        target = TARGETS[index % len(TARGETS)]
        files = [path for path in sorted(whole.folder.glob(target.pattern)) if path.is_file()]
        path = draw.choice(files)
        damage = draw.choice(list(_damages(path, draw)))
        command = draw.choice(target.commands)
        below = path.relative_to(whole.folder).parent
        yield Trial(
            f"damaged {target.kind}",
            f"{below / damage.name} | {command[0]}",
            _damaged(damage, below, command, target.rebuilt),
        )


def _damages(path: Path, draw: random.Random) -> Iterator[Damage]:
    """What can befall a file, by what it is, and some bytes of it changed at random."""
    name = path.name
    yield from file_damages(name)
    for _ in range(10):
        seed = draw.getrandbits(32)
        yield Damage(f"{name}: random bytes {seed}", _scrambler(name, seed), is_edit=True)
    if path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            yield from json_damages(name, content)
        if name == "tokenizer.json":
            yield from vocabulary_damages(name, content)
    elif path.suffix == ".safetensors":
        yield from weights_damages(path)
    elif path.suffix == ".parquet":
        yield from parquet_damages(name, pq.read_table(path), plain_parquet)


def _scrambler(name: str, seed: int) -> Callable[[Path], None]:
    def scramble(folder: Path) -> None:
        draw, path = random.Random(seed), folder / name
        content = bytearray(path.read_bytes())
        for _ in range(draw.choice((1, 1, 4, 50))):
            if content:
                content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content)

    return scramble


def _damaged(
    damage: Damage, below: Path, command: Sequence[str], rebuilt: bool
) -> Callable[[Whole, Path], Seen]:
    def run(whole: Whole, place: Path) -> Seen:
        whole.copy(place)
        damage.apply(place / below)
        ended = Running(place, command, whole.joined).end()
        seen = ending(ended)
        made = place / OUTPUT / PREDICTIONS
        is_told = rebuilt or "warning" in ended.output or damage.name.split(":")[0] in ended.output
        if seen == FINISHED and made.exists() and not is_told:
            is_same = made.read_text(encoding="utf-8") == whole.predictions
            seen = FINISHED if is_same else CHANGED
        return seen, ended.output

    return run
