"""Ways in which a file can be broken: its bytes, its values as JSON, and what lies in its place."""

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Damage = Callable[[Path], None]

DEEP = 100_000
HUGE = 10**400
WRONG_VALUES = {
    "null": None,
    "a word": "a word",
    "a negative number": -3,
    "a fraction": 0.5,
    "a huge number": HUGE,
    "no number": float("nan"),
    "a list": [1],
    "an object": {"a": 1},
    "true": True,
}


def broken_bytes(path: Path) -> dict[str, Damage]:
    """Damages to what any file holds, or to what lies in its place."""
    whole = path.read_bytes()
    half = len(whole) // 2
    contents = {
        "empty": b"",
        "cut to a half": whole[:half],
        "without its last bytes": whole[:-3],
        "zeros": bytes(len(whole)),
        "zeros in its middle": whole[: half - 20] + bytes(40) + whole[half + 20 :],
        "no text": bytes(range(256)) * 2,
        "twice": whole + whole,
        "a page of a web server": b"<!DOCTYPE html><html>404</html>",
    }
    return {name: writing(content) for name, content in contents.items()} | {
        "a directory in its place": _directory,
        "a pipe in its place": _pipe,
        "a link to itself": _link,
    }


def broken_json(path: Path, *, also: dict[str, bytes] | None = None) -> dict[str, Damage]:
    """Damages to a JSON file: those of any file, and every value of it missing or another."""
    texts = {
        "nothing but null": b"null",
        "nothing but a list": b"[]",
        "nothing but a number": b"3",
        "nothing but an object": b"{}",
        "nested too deeply": b"[" * DEEP,
        "a number of a million digits": b'{"a": ' + b"1" * 1_000_000 + b"}",
        "UTF-16": path.read_text(encoding="utf-8").encode("utf-16"),
    }
    damages = broken_bytes(path)
    damages |= {name: writing(text) for name, text in (texts | (also or {})).items()}
    for name, content in _other_values(json.loads(path.read_text(encoding="utf-8"))):
        damages[name] = writing(json.dumps(content).encode())
    return damages


def _other_values(content: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        yield "an unknown key", {**content, "another key": 1}
        yield "a later version", {**content, "format_version": 99}
    for place in _places(content):
        name = ".".join(map(str, place))
        yield f"without {name}", _changed(content, place, None, remove=True)
        for words, value in WRONG_VALUES.items():
            yield f"{words} as {name}", _changed(content, place, value)


def _places(content: Any, above: tuple = ()) -> Iterator[tuple]:
    """Where values are, of a list its first and last alone."""
    keys: list[Any] = []
    if isinstance(content, dict):
        keys = list(content)
    elif isinstance(content, list):
        keys = sorted({0, len(content) - 1}) if content else []
    for key in keys:
        yield (*above, key)
        yield from _places(content[key], (*above, key))


def _changed(content: Any, place: tuple, value: Any, *, remove: bool = False) -> Any:
    changed = copy.deepcopy(content)
    within = changed
    for key in place[:-1]:
        within = within[key]
    if remove:
        del within[place[-1]]
    else:
        within[place[-1]] = value
    return changed


def writing(content: bytes) -> Damage:
    """The damage that puts other bytes in the place of a file's."""

    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def mend(path: Path, whole: bytes) -> None:
    """Put a file back that was damaged."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
    path.write_bytes(whole)
