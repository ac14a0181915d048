"""Check the order of the package: a module imports only from names to its left.

Run as `python tools/check_imports.py [package folder]`; it prints one line per breach and ends
with 1 if there is any. It reads the source and imports nothing.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Names in one group stand side by side and may import each other.
ORDER = (
    ("errors", "files", "imports", "logs", "masking", "records", "shortages", "signals", "wording"),
    ("results",),
    ("config",),
    ("data",),
    ("tokenization",),
    ("preparation",),
    ("models",),
    ("training",),
    ("experiment",),
    ("inference",),
    ("report",),
    ("stages",),
    ("demo",),
    ("cli",),
)
RANKS = {name: rank for rank, group in enumerate(ORDER) for name in group}
UNRANKED = ("__init__", "__main__")
HEAVY = ("torch", "ray", "transformers", "pandas", "pyarrow", "sklearn", "scipy")
# Reading a configuration and printing the help must not wait for the heavy libraries.
LIGHT = ("", "__main__", "cli", "config")
STARTS_RAY = "experiment.runtime"


@dataclass(frozen=True)
class Breach:
    """One line of source that breaks a rule."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Import:
    """A module that is imported, by its full dotted name.

    Attributes:
        target: For `from a import b` both `a` and `a.b` are recorded, since b may be a module.
        at_load: Whether importing the module runs it, rather than a function called later.
    """

    target: str
    line: int
    at_load: bool


@dataclass(frozen=True)
class Source:
    """One module: its dotted name within the package ("" for the package itself)."""

    name: str
    path: Path
    tree: ast.Module
    imports: list[Import] = field(default_factory=list)


def find_breaches(package: Path) -> list[Breach]:
    """Every breach of the rules in a package folder, in the order of its files."""
    sources = {source.name: source for source in _read_sources(package)}
    breaches = []
    for source in sources.values():
        breaches += _wrong_direction(source, package.name)
        breaches += _starting_ray(source)
        if _is_light(source.name):
            breaches += _heavy_at_load(source, sources, package.name)
    return breaches


def _read_sources(package: Path) -> Iterator[Source]:
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        full_name = f"{package.name}.{name}".rstrip(".")
        base = full_name if is_package else full_name.rpartition(".")[0]
        yield Source(name, path, tree, list(_imports(tree, base, at_load=True)))


def _imports(node: ast.AST, base: str, *, at_load: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_load)
        elif isinstance(child, ast.ImportFrom):
            origin = _origin(child, base)
            yield Import(origin, child.lineno, at_load)
            for alias in child.names:
                yield Import(f"{origin}.{alias.name}", child.lineno, at_load)
        else:
            yield from _imports(child, base, at_load=at_load and not _is_deferred(child))


def _is_deferred(node: ast.AST) -> bool:
    """Whether importing the module leaves the inside of this node alone."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _origin(node: ast.ImportFrom, base: str) -> str:
    """Where a from-import looks, with the dots of a relative one resolved."""
    if not node.level:
        return node.module or ""
    parent = base.split(".")[: len(base.split(".")) - node.level + 1]
    return ".".join([*parent, node.module] if node.module else parent)


def _wrong_direction(source: Source, package: str) -> Iterator[Breach]:
    own = source.name.split(".")[0]
    if not own or own in UNRANKED:
        return
    if own not in RANKS:
        yield Breach(source.path, 1, f"'{own}' has no place in the order")
        return
    seen = set()
    for item in source.imports:
        name, _, rest = item.target.partition(".")
        other = rest.split(".")[0]
        if name != package or (item.line, other) in seen:
            continue
        seen.add((item.line, other))
        if RANKS.get(other, -1) > RANKS[own]:
            yield Breach(source.path, item.line, f"{own} imports {other}, which stands after it")


def _is_light(name: str) -> bool:
    return name.split(".")[0] in LIGHT


def _heavy_at_load(source: Source, sources: dict[str, Source], package: str) -> Iterator[Breach]:
    """Heavy libraries that importing a module loads, directly or through other modules."""
    lines = set()
    for item in source.imports:
        if not item.at_load or item.line in lines:
            continue
        chain = _chain_to_heavy(item.target, sources, package, frozenset({source.name}))
        if chain:
            lines.add(item.line)
            way = " -> ".join(chain)
            yield Breach(source.path, item.line, f"loads a heavy library when imported: {way}")


def _chain_to_heavy(
    target: str, sources: dict[str, Source], package: str, seen: frozenset[str]
) -> list[str]:
    """The modules that lead from an imported name to a heavy library; empty if none do."""
    root, _, inner = target.partition(".")
    if root in HEAVY:
        return [root]
    if root != package:
        return []
    parts = inner.split(".") if inner else []
    for end in range(1, len(parts) + 1):  # importing a module loads the packages it lies in
        name = ".".join(parts[:end])
        if name not in sources or name in seen:
            continue
        seen |= {name}
        for item in sources[name].imports:
            chain = _chain_to_heavy(item.target, sources, package, seen) if item.at_load else []
            if chain:
                return [f"{package}.{name}", *chain]
    return []


def _starting_ray(source: Source) -> Iterator[Breach]:
    if source.name == STARTS_RAY:
        return
    calls = [
        node.lineno
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ray.init"
    ]
    imports = [item.line for item in source.imports if item.target == "ray.init"]
    for line in sorted(calls + imports):
        yield Breach(source.path, line, f"only {STARTS_RAY} starts Ray")


def main(arguments: list[str]) -> int:
    """Print the breaches of the package; the exit code is 1 if there are any."""
    default = Path(__file__).resolve().parent.parent / "biolm_ray"
    breaches = find_breaches(Path(arguments[0]) if arguments else default)
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
