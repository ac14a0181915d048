"""YAML as written: every scalar as its text, every key with its line.

A setting's type decides how its text is read, not YAML's guess: `1e-5` is a number where a number
is due, and the split `01` keeps its zero.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from biolm_ray.errors import ConfigError
from biolm_ray.files import is_of_kernel

MOST_BYTES = 1 << 20
MOST_DEPTH = 50
MOST_VALUES = 50_000
"""What a configuration may hold; far more than any needs, and little work and memory."""

_PREFIX = "tag:yaml.org,2002:"
_SCALARS = {
    _PREFIX + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value")
}
_NULLS = ("", "~", "null", "Null", "NULL")


class Quoted(str):
    """Text that stood in quotes, and so is never a number or a truth value by guess."""

    __slots__ = ()


class Block(dict[str, Any]):
    """A YAML mapping that remembers the line of each of its keys."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


def read_yaml(path: Path) -> Block:
    """Read a configuration file.

    Raises:
        ConfigError: The file is missing, is no YAML, or repeats a key.
    """
    try:
        if is_of_kernel(path):
            raise ConfigError(f"{path}: is no configuration file, but a view of the running system")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ConfigError(f"{path}: is larger than {MOST_BYTES >> 20} MB; no configuration is")
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        hint = "; for the standard input give /dev/stdin" if str(path) == "-" else ""
        raise ConfigError(f"{path}: there is no such configuration file{hint}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder, not a configuration file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    value = parse_yaml(text, str(path))
    if value is None:
        return Block()
    if not isinstance(value, Block):
        raise ConfigError(f"{path}, line 1: found {value!r}; expected sections and keys")
    return value


def parse_yaml(text: str, label: str) -> Any:
    """Turn YAML text into Block, list, str or None; `label` names the text in messages."""
    try:
        _check_size(text, label)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{label}{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{label}: not valid YAML: {error}") from None
    return None if node is None else _Reader(label).value(node)


def _check_size(text: str, label: str) -> None:
    """Stop before anything is made of a text that is nested deeply, or repeats itself by aliases.

    A few lines of anchors that hold aliases of each other stand for more values than fit into any
    memory; so each alias counts as all that it stands for.
    """
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            done = None
        elif isinstance(event, yaml.CollectionEndEvent):
            done = open_nodes.pop()
        elif isinstance(event, yaml.AliasEvent):
            done = (None, sizes.get(event.anchor, 1))
        else:
            done = (event.anchor, 1) if isinstance(event, yaml.ScalarEvent) else None
        if done is not None:
            anchor, size = done
            if anchor is not None:
                sizes[anchor] = size
            around, so_far = open_nodes[-1]
            open_nodes[-1] = around, so_far + size
        if len(open_nodes) > MOST_DEPTH or open_nodes[-1][1] > MOST_VALUES:
            line = event.start_mark.line + 1
            limit = f"values within values beyond {MOST_DEPTH} levels"
            if len(open_nodes) <= MOST_DEPTH:
                limit = f"more than {MOST_VALUES:,} values, those that aliases repeat included"
            raise ConfigError(f"{label}, line {line}: {limit}; no configuration needs as many")


class _Reader:
    """Turns YAML nodes into values; holds the open nodes, to notice one that contains itself."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.open: list[yaml.Node] = []

    def value(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if node in self.open:
            raise ConfigError(f"{self.at(node)}: this value contains itself")
        self.open.append(node)
        if isinstance(node, yaml.MappingNode):
            self.check_tag(node, {_PREFIX + "map"})
            result = self.block(node)
        else:
            self.check_tag(node, {_PREFIX + "seq"})
            result = [self.value(item) for item in node.value]
        self.open.pop()
        return result

    def scalar(self, node: yaml.ScalarNode) -> Any:
        self.check_tag(node, _SCALARS)
        if node.style is not None:
            return Quoted(node.value)
        return None if node.value in _NULLS else node.value

    def block(self, node: yaml.MappingNode) -> Block:
        block = Block()
        for key_node, value_node in node.value:
            if key_node.tag == _PREFIX + "merge":
                self.merge(block, value_node)
        written: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _PREFIX + "merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{self.at(key_node)}: a key must be a single word or number")
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in written:
                raise ConfigError(
                    f"{self.at(key_node)}: key '{key}' stands twice here, first in line "
                    f"{written[key]}; keep one"
                )
            written[key] = line
            block[key] = self.value(value_node)
            block.lines[key] = line
        return block

    def merge(self, block: Block, node: yaml.Node) -> None:
        """Take over what `<<: *anchor` points to; earlier sources win, as in YAML."""
        value = self.value(node)
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, Block):
                raise ConfigError(f"{self.at(node)}: '<<' must point to a mapping")
            for key in source:
                if key not in block:
                    block[key] = source[key]
                    block.lines[key] = source.lines[key]

    def check_tag(self, node: yaml.Node, allowed: set[str]) -> None:
        if node.tag not in allowed:
            tag = node.tag.replace(_PREFIX, "!!")
            raise ConfigError(f"{self.at(node)}: the YAML tag '{tag}' is not accepted")

    def at(self, node: yaml.Node) -> str:
        return f"{self.label}, line {node.start_mark.line + 1}"
