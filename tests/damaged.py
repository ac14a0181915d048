"""Damages of the files that we write: what can befall them, each by its name, and what comes of it.

A damage changes a copy of a whole folder. What is then done with the folder must end in a sentence
that names the damaged place (a `BiolmError`), or give the same as before.
"""

import copy
import json
import math
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from biolm_ray.errors import BiolmError

SENTENCE, UNCHANGED, OTHER = "sentence", "unchanged", "other result"
TRACEBACK, UNNAMED, JARGON, LARGE = "traceback", "unnamed", "jargon", "large or slow"
JARGON_WORDS = ("weights_only", "Traceback", "torch.load", "__", "object at 0x", "errno")
MOST_SECONDS, MOST_KILOBYTES = 5.0, 300 << 10
MOST_LETTERS = 600
HUGE_BYTES = 1 << 40

VALUES = {
    "a text": '"x"',
    "an empty text": '""',
    "a digit as text": '"1"',
    "null": "null",
    "true": "true",
    "a list": "[]",
    "a list of lists": "[[1], [2]]",
    "an object": '{"x": 1}',
    "negative": "-1",
    "zero": "0",
    "a fraction": "0.5",
    "2^31": str(2**31),
    "2^63": str(2**63),
    "5,000 digits": "9" * 5000,
    "1e400": "1e400",
    "NaN": "NaN",
    "deep": "[" * 50_000 + "]" * 50_000,
    "half a surrogate": '"\\ud800"',
}
"""What stands in place of a value, as JSON."""

_PLACE = "the place of the damage"


@dataclass(frozen=True)
class Damage:
    """A way in which a folder is damaged.

    Attributes:
        name: The file, and what befell it.
        apply: Changes the folder that it is called with.
        is_edit: Whether what is left is whole and means something else, as after an edit.
    """

    name: str
    apply: Callable[[Path], object]
    is_edit: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a damage led to.

    Attributes:
        kind: One of the words above.
        told: The message, or what was seen in its place.
    """

    kind: str
    told: str = ""


def outcomes(
    damages: Iterable[Damage], whole: Path, place: Path, use: Callable[[Path], Any]
) -> Iterator[tuple[Damage, Outcome]]:
    """Damage copies of a folder, one after the other, and see what using them leads to.

    Args:
        damages: What befalls each copy.
        whole: The folder, left as it is.
        place: Where the copies lie; each is removed again.
        use: Gives arrays, texts and numbers, in whatever nesting.
    """
    expected = use(whole)
    for damage in damages:
        shutil.copytree(whole, place, symlinks=True)
        try:
            damage.apply(place)
            yield damage, _watched(lambda: use(place), expected, place)
        finally:
            _remove(place)


def _watched(use: Callable[[], Any], expected: Any, place: Path) -> Outcome:
    begun, held = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = use()
    except BiolmError as error:
        told = str(error)
        result = Outcome(SENTENCE, told)
        if str(place) not in told:
            result = Outcome(UNNAMED, told)
        elif any(word in told for word in JARGON_WORDS) or not _is_a_line(told):
            result = Outcome(JARGON, told[:2000])
    except Exception as error:  # noqa: BLE001 - what is looked for
        result = Outcome(TRACEBACK, f"{type(error).__name__}: {error}"[:500])
    else:
        result = Outcome(UNCHANGED) if alike(found, expected) else Outcome(OTHER)
    took = time.monotonic() - begun
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held
    if took > MOST_SECONDS or grown > MOST_KILOBYTES:
        return Outcome(LARGE, f"{took:.1f} s, {grown >> 10} MB; {result}")
    return result


def _is_a_line(text: str) -> bool:
    """Whether a message can be shown and written to a log."""
    return len(text) <= MOST_LETTERS and "\n" not in text and text.isprintable()


def alike(one: Any, other: Any) -> bool:
    """Whether two results are the same, NaN equal to NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        is_number = one.dtype.kind in "fc"
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=is_number)
    return type(one) is type(other) and one == other


def _remove(place: Path) -> None:
    for folder, _, _ in os.walk(place):
        Path(folder).chmod(0o700)
    shutil.rmtree(place, ignore_errors=True)


def file_damages(name: str, other: bytes = b"of another file\n") -> Iterator[Damage]:
    """What can befall any file, whatever it holds; `other` is the content of another one."""

    def damage(what: str, apply: Callable[[Path], object], *, is_edit: bool = False) -> Damage:
        return Damage(f"{name}: {what}", lambda folder: apply(folder / name), is_edit)

    yield damage("missing", lambda path: path.unlink())
    yield damage("empty", lambda path: path.write_bytes(b""))
    yield damage("cut in half", lambda path: os.truncate(path, path.stat().st_size // 2))
    yield damage("last byte missing", lambda path: os.truncate(path, path.stat().st_size - 1))
    yield damage("first bytes flipped", lambda path: _flip(path, 0, 16))
    yield damage("bytes flipped in the middle", lambda path: _flip(path, 0.5, 4), is_edit=True)
    yield damage("last bytes flipped", lambda path: _flip(path, 1.0, 8), is_edit=True)
    yield damage("zeros", lambda path: path.write_bytes(bytes(path.stat().st_size)))
    yield damage("garbage", lambda path: path.write_bytes(np.random.default_rng(0).bytes(4000)))
    yield damage("bytes behind its end", lambda path: _append(path, b"\0more"))
    yield damage("a folder in its place", lambda path: (path.unlink(), path.mkdir()))
    yield damage("a dangling link", lambda path: (path.unlink(), path.symlink_to("nowhere")))
    yield damage("a link to itself", lambda path: (path.unlink(), path.symlink_to(path.name)))
    yield damage("not to be read", lambda path: path.chmod(0))
    yield damage("another file's content", lambda path: path.write_bytes(other))
    yield damage("UTF-16", lambda path: path.write_bytes(_as_utf16(path.read_bytes())))
    yield damage("a terabyte", lambda path: os.truncate(path, HUGE_BYTES))


def _flip(path: Path, share: float, num_bytes: int) -> None:
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    start = int(share * max(len(content) - num_bytes, 0))
    content[start : start + num_bytes] ^= 0x55
    path.write_bytes(content.tobytes())


def _append(path: Path, more: bytes) -> None:
    path.write_bytes(path.read_bytes() + more)


def _as_utf16(content: bytes) -> bytes:
    return content.decode("latin-1").encode("utf-16")


def json_damages(name: str, content: Any, most_items: int = 3) -> Iterator[Damage]:
    """What can befall a JSON file: every value of its tree is replaced, every key is lost.

    Args:
        name: Of the file, within the folder.
        content: What it holds.
        most_items: Of each list, and of objects with many keys, so many are damaged.
    """

    def damage(what: str, text: str, *, is_edit: bool = False) -> Damage:
        return Damage(f"{name}: {what}", lambda folder: _write(folder / name, text), is_edit)

    for what, text in VALUES.items():
        yield damage(f"{what} in place of all", text)
    yield damage("all of it in a list", json.dumps([content]))
    whole = json.dumps(content)
    yield damage("nested deeply", f'{{"x": {"[" * 100_000}}}')
    yield damage("not closed", whole[:-1])
    yield damage("a number of another type of JSON", whole[:-1] + ', "x": 0x10}')
    yield damage("a key that is unknown", whole[:-1] + ', "unknown": 1}')
    for version in ("0", "999", '"x"', "null", "true", "1.0", "-1"):
        changed = {key: value for key, value in content.items() if key != "format_version"}
        rest = json.dumps(changed)[1:]
        yield damage(f"format_version {version}", f'{{"format_version": {version}, {rest}')
    for steps in _places(content, most_items):
        key = ".".join(map(str, steps))
        yield damage(f"{key} missing", json.dumps(_without(content, steps)), is_edit=True)
        if isinstance(steps[-1], str):
            yield damage(f"{key} twice", _doubled(content, steps), is_edit=True)
        for what, text in VALUES.items():
            yield damage(f"{key} is {what}", _replaced(content, steps, text), is_edit=True)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _places(content: Any, most_items: int) -> Iterator[tuple[str | int, ...]]:
    if isinstance(content, dict):
        items = list(content.items())
        if len(items) > 20:
            items = items[:most_items]
    elif isinstance(content, list):
        items = list(enumerate(content))[:most_items]
    else:
        return
    for key, value in items:
        yield (key,)
        for steps in _places(value, most_items):
            yield key, *steps


def _without(content: Any, steps: tuple[str | int, ...]) -> Any:
    changed = copy.deepcopy(content)
    branch = changed
    for step in steps[:-1]:
        branch = branch[step]
    del branch[steps[-1]]
    return changed


def changed(content: Any, steps: tuple[str | int, ...], value: Any) -> Any:
    """A copy of a tree with another value at a place."""
    result = copy.deepcopy(content)
    branch = result
    for step in steps[:-1]:
        branch = branch[step]
    branch[steps[-1]] = value
    return result


def _replaced(content: Any, steps: tuple[str | int, ...], text: str) -> str:
    return json.dumps(changed(content, steps, _PLACE)).replace(f'"{_PLACE}"', text)


def _doubled(content: Any, steps: tuple[str | int, ...]) -> str:
    value = content
    for step in steps:
        value = value[step]
    key = json.dumps(steps[-1])
    return _replaced(content, steps, f'"another value", {key}: {json.dumps(value)}')


def weights_damages(path: Path) -> Iterator[Damage]:
    """What can befall weights that are still a file of tensors; `path` is the whole one."""
    weights, name = load_file(path), path.name
    floats = [key for key in weights if weights[key].is_floating_point()]
    largest = max(floats, key=lambda key: weights[key].numel())
    smallest = min(floats, key=lambda key: weights[key].numel())

    def damage(what: str, stored: dict[str, torch.Tensor]) -> Damage:
        whole = {key: value.contiguous() for key, value in stored.items()}
        return Damage(
            f"{name}: {what}",
            lambda folder: save_file(whole, folder / name, metadata={"format": "pt"}),
            is_edit=True,
        )

    for kind in (torch.int64, torch.float16, torch.float64, torch.bfloat16, torch.bool,
                 torch.uint8, torch.float8_e4m3fn, torch.complex64):  # fmt: skip
        yield damage(f"all {kind}", {key: value.to(kind) for key, value in weights.items()})
        yield damage(f"{largest} {kind}", {**weights, largest: weights[largest].to(kind)})
    for key in (largest, smallest):
        value = weights[key]
        yield damage(f"{key} missing", {k: v for k, v in weights.items() if k != key})
        yield damage(f"{key} longer", {**weights, key: torch.stack([value, value]).flatten()})
        yield damage(f"{key} empty", {**weights, key: value.flatten()[:0]})
        yield damage(f"{key} flat", {**weights, key: value.flatten()})
        yield damage(
            f"{key} turned round", {**weights, key: value.permute(tuple(range(value.dim()))[::-1])}
        )
        yield damage(f"{key} of one more axis", {**weights, key: value[None]})
        yield damage(f"{key} a single number", {**weights, key: value.flatten()[0]})
        for number in (math.nan, math.inf, 1e38):
            yield damage(
                f"{key} full of {number}", {**weights, key: torch.full_like(value, number)}
            )
    yield damage("one tensor more", {**weights, "more": torch.zeros(3)})
    yield damage("an empty name", {**weights, "": torch.zeros(3)})
    yield damage("no tensors", {})
    yield damage("many tensors more", weights | {f"m{i}": torch.zeros(1) for i in range(2000)})
    yield damage("names in capitals", {key.upper(): value for key, value in weights.items()})
    yield from _header_damages(path)


def _header_damages(path: Path) -> Iterator[Damage]:
    content, name = path.read_bytes(), path.name
    size = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    first = next(key for key in header if key != "__metadata__")

    def damage(what: str, length: int, text: bytes, *, is_edit: bool = False) -> Damage:
        written = length.to_bytes(8, "little") + text + body
        return Damage(
            f"{name}: {what}", lambda folder: (folder / name).write_bytes(written), is_edit
        )

    def with_header(what: str, changed: Any) -> Damage:
        text = json.dumps(changed).encode()
        return damage(what, len(text), text, is_edit=True)

    whole = content[8 : 8 + size]
    yield damage("header announced longer", size + 100, whole)
    yield damage("header announced without end", 2**63, whole)
    yield damage("header cut", size, whole[: size // 2])
    yield damage("header nested", 100_000, b"[" * 100_000)
    yield with_header("header a list", [header])
    yield with_header(
        "offsets beyond the file", changed(header, (first, "data_offsets"), [0, 2**40])
    )
    yield with_header("offsets negative", changed(header, (first, "data_offsets"), [-4, 4]))
    yield with_header("offsets overlapping", changed(header, (first, "data_offsets"), [0, 4]))
    yield with_header("shape huge", changed(header, (first, "shape"), [2**40, 2**40]))
    yield with_header("shape negative", changed(header, (first, "shape"), [-1]))
    yield with_header("dtype unknown", changed(header, (first, "dtype"), "F7"))
    yield with_header("metadata of numbers", {**header, "__metadata__": {"format": 1}})
    yield with_header("format tf", {**header, "__metadata__": {"format": "tf"}})


def old_weights_damages(name: str, weights: dict[str, torch.Tensor]) -> Iterator[Damage]:
    """What can befall weights in torch's own format."""
    first = max(weights, key=lambda key: weights[key].numel())

    def damage(what: str, stored: Any) -> Damage:
        return Damage(f"{name}: {what}", lambda folder: torch.save(stored, folder / name), True)

    yield damage("a list", [1, 2])
    yield damage("a tensor", torch.zeros(3))
    yield damage("numbers as names", dict(enumerate(weights.values())))
    yield damage("texts as values", dict.fromkeys(weights, "x"))
    yield damage("nothing", {})
    yield damage("code", {"x": Path("x")})
    yield damage("a function", {"x": print})
    yield damage("in a dictionary", {"state_dict": weights})
    for what, value in {
        "integers": weights[first].to(torch.int64),
        "bool": weights[first] > 0,
        "complex": weights[first].to(torch.complex64),
        "float8": weights[first].to(torch.float8_e4m3fn),
        "sparse": weights[first].to_sparse(),
        "NaN": torch.full_like(weights[first], math.nan),
        "a number": weights[first].flatten()[0],
        "empty": weights[first].flatten()[:0],
        "one more axis": weights[first][None],
        "without memory": weights[first].to("meta"),
    }.items():
        yield damage(f"{first} {what}", {**weights, first: value})
    yield damage(f"{first} missing", {k: v for k, v in weights.items() if k != first})


def vocabulary_damages(name: str, content: Any) -> Iterator[Damage]:
    """What can befall the vocabulary of a tokenizer.json."""
    vocabulary: dict[str, int] = content["model"]["vocab"]
    words = [word for word in vocabulary if not word.startswith("[")]
    last, size = words[-1], len(vocabulary)

    def damage(what: str, changes: dict[str, Any] | None, lost: tuple[str, ...] = ()) -> Damage:
        kept = {word: number for word, number in vocabulary.items() if word not in lost}
        new = {} if changes is None else {**kept, **changes}
        text = json.dumps(changed(content, ("model", "vocab"), new))
        return Damage(f"{name}: {what}", lambda folder: _write(folder / name, text), is_edit=True)

    for number in (2**31, 2**31 - 1, 2**63, -1, -(2**40), 10**30, size, size + 1, size + 100):
        yield damage(f"id {number}", {last: number})
    for value in ("7", 7.0, None, True, [7], {}):
        yield damage(f"id {value!r}", {last: value})
    yield damage("one id twice", {last: vocabulary[words[0]]})
    yield damage("an id of a special token twice", {last: 0})
    yield damage("all ids the same", dict.fromkeys(vocabulary, 0))
    yield damage("a gap", {}, lost=(words[0],))
    yield damage("one token less", {}, lost=(last,))
    yield damage("one token more", {"more": size})
    yield damage("100 tokens more", {f"more {n}": size + n for n in range(100)})
    yield damage("no tokens", None)
    for token in ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"):
        if token in vocabulary:
            yield damage(f"no {token}", {}, lost=(token,))
    yield damage("an empty token", {"": vocabulary[last]}, lost=(last,))
    yield damage(
        "special tokens swapped", {"[UNK]": vocabulary["[PAD]"], "[PAD]": vocabulary["[UNK]"]}
    )
    yield damage("tokens swapped", {words[0]: vocabulary[last], last: vocabulary[words[0]]})
    yield damage("ids shifted", {word: (vocabulary[word] + 1) % size for word in vocabulary})


def parquet_damages(
    name: str, table: pa.Table, write: Callable[[Path, pa.Table], object]
) -> Iterator[Damage]:
    """What can befall a file of rows that is still parquet.

    Args:
        name: Of the file, within the folder.
        table: What it holds.
        write: Writes a table as such a file.
    """

    def damage(what: str, other: pa.Table) -> Damage:
        return Damage(f"{name}: {what}", lambda folder: write(folder / name, other), is_edit=True)

    yield damage("a row less", table.slice(1))
    yield damage("a row more", pa.concat_tables([table, table.slice(0, 1)]))
    yield damage("no rows", table.slice(0, 0))
    yield damage("rows turned round", table.take(list(range(len(table)))[::-1]))
    yield damage("another column", pa.table({"x": [1, 2, 3]}))
    for column in table.column_names:
        yield damage(f"without {column}", table.drop_columns([column]))
        yield damage(f"{column} twice", table.append_column(column, table[column]))
        yield damage(f"{column} of nothing", _with_column(table, column, pa.nulls(len(table))))
        yield damage(
            f"{column} of texts", _with_column(table, column, pa.array(["x"] * len(table)))
        )
        yield damage(
            f"{column} of lists", _with_column(table, column, pa.array([[1]] * len(table)))
        )
        yield damage(f"{column} negative", _with_column(table, column, pa.array([-5] * len(table))))
        yield damage(
            f"{column} of NaN", _with_column(table, column, pa.array([math.nan] * len(table)))
        )
        yield damage(f"{column} huge", _with_column(table, column, pa.array([2**62] * len(table))))
        yield damage(
            f"{column} of short bytes", _with_column(table, column, pa.array([b"x"] * len(table)))
        )


def _with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def plain_parquet(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)
